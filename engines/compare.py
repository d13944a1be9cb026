"""Every engine against the bundle's probe: how far off, how fast, in tolerance?

Engines of a GPU run a whole control slide, too, and are held against OpenVINO in fp32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median

import numpy as np
from numpy.typing import NDArray

from engines.arrays import difference
from engines.bundle import Bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.executor import ENCODER
from engines.here import devices
from engines.here.control import ControlUnusable, SlideAnswer, cost, outside
from engines.here.records import ControlCost, Record, Records, Row, Verdict
from engines.known import DEFAULT, ENGINES, Engine
from engines.names import Engine as EngineId
from engines.names import FormName
from engines.runtime import Runtime, open_unexamined

Control = Callable[[Runtime], SlideAnswer]
"""A whole slide on a runtime. Raises ControlUnusable where the student says nothing of it."""

_BLOCKS = 8
"""Blocks that a lane encodes in one timed run: as many as a GPU takes at once."""
_RUNS = 5
_LONG_ENOUGH_S = 5.0
"""After so long two timed runs will do."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One engine in one precision; figures are None where it is absent."""

    engine: EngineId
    precision: FormName
    verdict: Verdict
    """`outside`: beyond the tolerance of the probe, or on the control slide beyond what a cheaper
    precision may cost; `refused`: beyond the limits of the bundle."""
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
    control: ControlCost | None = None
    """None for engines of the CPU, and where no control slide was run."""


def compare(
    bundle: Bundle, threads: int = 0, control: Control | None = None
) -> Iterator[Comparison]:
    """fp32 and every precision of the bundle on every engine, absent ones with their reason."""
    cheaper = [p.name for p in bundle.manifest.precisions if p.name != "fp32"]
    precisions: list[FormName] = ["fp32", *dict.fromkeys(cheaper)]
    against = _Against(bundle, threads, control)
    for engine in ENGINES:
        for precision in precisions:
            yield _compare(bundle, engine, precision, threads, against)


def keep(bundle: Bundle, rows: list[Comparison], records: Records, *, retime: bool) -> list[Record]:
    """Keeps what was found of every engine that is here; what is kept now. One whose library or
    device is not here is absent, whatever its rows say.

    Speeds that were timed before, of the same bundle on the same device with the same library and
    driver, stay unless `retime`. Raises EngineMissing where nothing can be written.
    """
    now = datetime.now(UTC).date().isoformat()
    kept = []
    for engine in ENGINES.values():
        own = [r for r in rows if r.engine == engine.name and r.verdict != "absent"]
        if any(r.verdict != "refused" for r in own):
            try:
                record = _record(bundle, engine, own, now)
            except EngineMissing:
                continue
            kept.append(records.keep(record, retime=retime))
    return kept


def _record(bundle: Bundle, engine: Engine, rows: list[Comparison], now: str) -> Record:
    device = devices.cpu() if engine.is_of_cpu else devices.gpu()
    return Record(
        bundle=bundle.digest,
        engine=engine.name,
        library=engine.library(),
        device=device.name,
        driver=device.driver,
        compared_on=now,
        rows=tuple(
            Row(
                precision=r.precision,
                verdict=r.verdict,
                reason=r.reason,
                share_of_tolerance=_number(r.share_of_tolerance),
                tiles_per_s=r.tiles_per_s,
                timed_on="" if r.tiles_per_s is None else now,
                control=r.control,
            )
            for r in rows
        ),
    )


def _number(value: float | None) -> float | None:
    """None for what no file can hold: answers of another shape are infinitely far off."""
    return value if value is not None and np.isfinite(value) else None


class _Against:
    """The control slide, and what the reference says of it, computed when it is first needed."""

    def __init__(self, bundle: Bundle, threads: int, control: Control | None) -> None:
        self._bundle, self._threads, self._control = bundle, threads, control
        self._expected: SlideAnswer | None = None

    def judged(self, row: Comparison, runtime: Runtime) -> Comparison:
        """The row with what the control slide showed, where an engine of a GPU passed the probe."""
        if self._control is None or row.verdict != "ok" or ENGINES[row.engine].is_of_cpu:
            return row
        try:
            found = cost(runtime.manifest, self._control(runtime), self._reference(self._control))
        except ControlUnusable as unusable:
            return replace(row, reason=str(unusable))
        reason = outside(found, runtime.manifest.precision_limits)
        return replace(row, control=found, verdict="outside" if reason else "ok", reason=reason)

    def _reference(self, control: Control) -> SlideAnswer:
        if self._expected is None:
            with open_unexamined(self._bundle, ENGINES[DEFAULT], "fp32", self._threads) as runtime:
                runtime.sit_probe()
                self._expected = control(runtime)
        return self._expected


def _compare(
    bundle: Bundle, engine: EngineId, precision: FormName, threads: int, against: _Against
) -> Comparison:
    form = bundle.manifest.precision(precision, engine)
    outside = form.within(bundle.manifest.precision_limits) if form else ""
    if outside:
        return Comparison(engine, precision, "refused", outside)
    try:
        with open_unexamined(bundle, ENGINES[engine], precision, threads) as runtime:
            return against.judged(_measured(runtime, engine, precision), runtime)
    except EngineMissing as error:
        return Comparison(engine, precision, "absent", str(error))
    except BundleRejected as error:
        return _failed(engine, precision, str(error))
    except DeviceFailed as error:  # of the bundle's own probe: there is no patient in it
        why = f": {error.__cause__}" if error.__cause__ else ""
        return _failed(engine, precision, f"{error}{why}")


def _failed(engine: EngineId, precision: FormName, reason: str) -> Comparison:
    """An engine that gave no numbers: it is absent where its library is, whatever was found
    first."""
    try:
        ENGINES[engine].library()
    except EngineMissing as missing:
        return Comparison(engine, precision, "absent", str(missing))
    return Comparison(engine, precision, "failed", reason)


def _measured(runtime: Runtime, engine: EngineId, precision: FormName) -> Comparison:
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
        precision=precision,
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
