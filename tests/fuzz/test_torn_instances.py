"""Mutated instances cost no child of a node its life, and no other sender its time.

These are the same ones every time; `tests/long/torn_instances.py` sends any others.
"""

from __future__ import annotations

from pathlib import Path

from torn_node import hunt

FIRST, MUTANTS = 7_000_000, 150


def test_no_child_dies_of_mutated_instances_and_nobody_else_waits(tmp_path: Path) -> None:
    seen = hunt(FIRST, MUTANTS, tmp_path, say=False)
    assert seen.faults == [], seen.told()
    assert sum(seen.statuses.values()) == MUTANTS
    # A sender of which everything is refused, or everything is sound, would find nothing.
    assert seen.statuses["0000"] > MUTANTS / 4
    assert sum(n for s, n in seen.statuses.items() if s.startswith("C")) > MUTANTS / 20
    assert seen.states["parked"] > MUTANTS / 20
