"""What the encoder says of a slide's tiles, and which of them it says it of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.tensors import Tensor
from inference.condition.focus import FOCUS, Focus
from inference.slide.rules.likeness import tiles_differ
from inference.tiles.agreement import MEAN
from inference.tiles.encoding import Encoding, Runtime
from inference.tiles.order import Source
from inference.tiles.planning import Plan
from inference.tiles.values import Resume, TileValues
from inference.types import Progress, Reason

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder said of the tiles that could be read and are believed, by source."""

    cells: tuple[NDArray[np.int32], ...]
    values: tuple[Mapping[str, Array], ...]
    """[N, ...] by tensor name."""
    warnings: tuple[str, ...]
    refusal: tuple[Reason, str] | None
    """Why the tiles must not be judged: they are not what another level shows."""


def encode(
    plan: Plan,
    wanted: Sequence[Tensor],
    runtime: Runtime,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    resume: Path | None,
    read: str = "",
) -> Encoded:
    """The wanted outputs of the encoder for the tiles of a plan. What `resume` has is taken up only
    where it was kept with the same `read`.

    Raises FramesUnreadable, Stopped, OSError, and what the runtime raises.
    """
    layout = {t.name: (t.dtype, _row_shape(t)) for t in wanted} | {MEAN: (np.float32, (3,))}
    values = [
        TileValues(
            len(source.cells),
            layout if n else {**layout, FOCUS: (np.uint8, ())},
            None if resume is None else Resume(resume / str(n), _resume_key(source, runtime, read)),
        )
        for n, source in enumerate(plan.sources)
    ]
    focus = Focus(len(plan.sources[0].cells), runtime.manifest.input.mpp)
    encoding = Encoding(plan.sources, values, runtime, focus)
    encoding.run(progress, stop)
    warnings = []
    if encoding.unreadable:
        total = sum(len(source.cells) for source in plan.sources)
        warnings.append(
            f"{len(encoding.unreadable)} of {total} tiles could not be read and were left out; "
            f"the first: {encoding.first_fault()}"
        )
    kept, unlike, compared = [], 0, 0
    for n, expected in enumerate(plan.expected):
        readable = encoding.readable(n)
        if expected is not None:
            told = expected.among(readable)
            found = told.contradicted(values[n].arrays[MEAN])
            unlike, compared = unlike + int(found.sum()), compared + told.count
            readable &= ~found
        kept.append(readable)
    refusal, caution = tiles_differ(unlike, compared)
    warnings += [caution] if caution else []
    return Encoded(
        cells=tuple(s.cells[mask] for s, mask in zip(plan.sources, kept, strict=True)),
        values=tuple(
            v.arrays if mask.all() else {name: array[mask] for name, array in v.arrays.items()}
            for v, mask in zip(values, kept, strict=True)
        ),
        warnings=tuple(warnings),
        refusal=(Reason.LEVELS_DIFFER, refusal) if refusal else None,
    )


def _resume_key(source: Source, runtime: Runtime, read: str) -> dict[str, str]:
    """All that the values of a source are a function of."""
    places = hashlib.sha256(np.ascontiguousarray(source.rectangles).tobytes())
    return {
        # Of other rules for pixels no value is kept: until 0.1.0 those of a thread's error, until
        # 0.1.1 those of damaged frames and of what was not scanned.
        "kept_by": "0.1.2",
        "focus": "1",  # another number where other tiles are looked at, or in another way
        "level": json.dumps([*source.level.sop_instance_uids, source.level.rows]),
        "places": places.hexdigest(),
        "bundle": runtime.bundle.digest,
        "engine": runtime.engine,
        "read": read,
    }


def _row_shape(tensor: Tensor) -> tuple[int, ...]:
    """Shape of one tile's values."""
    return tuple(int(size) for size in tensor.shape[1:])
