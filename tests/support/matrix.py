"""Tests over many points of one kind: some of them always, the rest where there is time."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def thinned(points: Iterable[str], every: int) -> list[object]:
    """The points for `parametrize`: one of `every` is always run, the others are marked `long`
    (`sh tests/run.sh whole`)."""
    return [
        point if n % every == 0 else pytest.param(point, marks=pytest.mark.long)
        for n, point in enumerate(points)
    ]
