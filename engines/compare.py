"""Every engine against the bundle's probe: how far off, how fast, in tolerance?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.executor import ENCODER
from engines.names import Engine as EngineId
from engines.names import PrecisionName
from engines.runtime import ENGINES, Runtime, difference, open_unexamined

_BLOCKS = 8
"""Blocks that a lane encodes in one timed run: as many as a GPU takes at once."""
_RUNS = 5
_LONG_ENOUGH_S = 5.0
"""After so long two timed runs will do."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One engine in one precision; figures are None where it is absent."""

    engine: str
    precision: str
    verdict: Literal["ok", "outside", "failed", "refused", "absent"]
    """`outside`: beyond the tolerance of the probe; `refused`: beyond the limits of the bundle."""
    reason: str = ""
    """Why it is absent, refused or failed, or which tensors are outside."""
    description: str = ""
    lanes: int | None = None
    max_error: float | None = None
    """Largest absolute difference of any tensor from the probe."""
    share_of_tolerance: float | None = None
    """Largest difference over its own tolerance; above 1 is outside."""
    cosine: float | None = None
    """Smallest cosine of any tile's vectors with the expected ones."""
    ms_per_tile: float | None = None
    """Wall time of the encoder, all lanes busy."""
    tiles_per_s: float | None = None


def compare(bundle: Bundle, threads: int = 0) -> Iterator[Comparison]:
    """fp32 and every precision of the bundle on every engine, absent ones with their reason."""
    cheaper = [p.name for p in bundle.manifest.precisions if p.name != "fp32"]
    precisions: list[PrecisionName] = ["fp32", *dict.fromkeys(cheaper)]
    for engine in ENGINES:
        for precision in precisions:
            yield _compare(bundle, engine, precision, threads)


def _compare(
    bundle: Bundle, engine: EngineId, precision: PrecisionName, threads: int
) -> Comparison:
    form = bundle.manifest.precision(precision, engine)
    outside = form.within(bundle.manifest.precision_limits) if form else ""
    if outside:
        return Comparison(engine, precision, "refused", outside)
    try:
        with open_unexamined(bundle, ENGINES[engine], precision, threads) as runtime:
            return _measured(runtime, engine)
    except EngineMissing as error:
        return Comparison(engine, precision, "absent", str(error))
    except BundleRejected as error:
        return Comparison(engine, precision, "failed", str(error))
    except DeviceFailed as error:  # of the bundle's own probe: there is no patient in it
        why = f": {error.__cause__}" if error.__cause__ else ""
        return Comparison(engine, precision, "failed", f"{error}{why}")


def _measured(runtime: Runtime, engine: str) -> Comparison:
    errors: dict[str, float] = {}
    cosines = [1.0]
    for key, found, expected in runtime.answer_probe():
        errors[key] = difference(found, expected)
        if key.startswith(ENCODER) and found.ndim > 1 and found.shape == expected.shape:
            cosines.append(_cosine(found, expected))
    shares = {key: error / runtime.tolerance(key) for key, error in errors.items()}
    outside = [key for key, share in shares.items() if not share <= 1]  # NaN is outside too
    tiles_per_s = _tiles_per_s(runtime)
    return Comparison(
        engine=engine,
        precision=runtime.precision,
        verdict="outside" if outside else "ok",
        reason=f"outside: {', '.join(outside)}" if outside else "",
        description=runtime.engine,
        lanes=runtime.lanes,
        max_error=float(np.max(list(errors.values()))),
        share_of_tolerance=float(np.max(list(shares.values()))),
        cosine=min(cosines),
        ms_per_tile=1000 / tiles_per_s,
        tiles_per_s=tiles_per_s,
    )


def _cosine(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Smallest cosine between rows of [N, D]; vectors of nothing but zeros agree."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (found, expected))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = np.einsum("nd,nd->n", a, b)
    cosines = np.divide(dots, lengths, out=np.ones_like(dots), where=lengths > 0)
    return float(np.min(cosines, initial=1.0))


def _tiles_per_s(runtime: Runtime) -> float:
    """Median over runs of the encoder alone, one caller a lane, on the probe's tiles repeated."""
    probe = runtime.bundle.probe()
    tiles = runtime.manifest.input.batch * _BLOCKS
    inputs = {
        t.name: np.resize(a, (tiles, *a.shape[1:]))
        for t in runtime.manifest.graphs[ENCODER].inputs
        for a in [probe[f"{ENCODER}/in/{t.name}"]]
    }
    speeds: list[float] = []
    with ThreadPoolExecutor(runtime.lanes) as callers:
        started = time.monotonic()
        while len(speeds) <= _RUNS:
            if len(speeds) > 2 and time.monotonic() - started > _LONG_ENOUGH_S:
                break
            begin = time.monotonic()
            for done in [
                callers.submit(runtime.run, ENCODER, inputs) for _ in range(runtime.lanes)
            ]:
                done.result()
            speeds.append(tiles * runtime.lanes / (time.monotonic() - begin))
    return median(speeds[1:])  # the first run warms caches up
