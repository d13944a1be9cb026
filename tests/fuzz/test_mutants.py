"""Mutants of slides: a right number or a stated refusal, whatever was changed.

A mutant is a function of its number, which is all that is needed to see one again that fails. These
are the same ones every time; `tests/long/fuzz.py` hunts among all others, and still finds some.

    python tests/long/fuzz.py --only NUMBER
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_process import FuzzProcess

FIRST, MUTANTS = 500_500, 600
_SEEN: Counter[str] = Counter()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzProcess]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with FuzzProcess(folder, objects_every=10) as running:
        yield running


@pytest.mark.timeout(3600)  # of a machine that does much else
def test_a_mutant_gives_a_right_number_or_a_stated_refusal(process: FuzzProcess) -> None:
    failed = []
    for number in range(FIRST, FIRST + MUTANTS):
        verdict = process.verdict(number)
        _SEEN[verdict.outcome] += 1
        failed += [verdict] if verdict.faults else []
    assert failed == []


def test_mutants_end_in_every_way() -> None:
    """A fuzzer whose mutants are all refused, or all sound, would find nothing."""
    if sum(_SEEN.values()) < MUTANTS:
        pytest.skip("needs all mutants of this file to have run")
    print(_SEEN)
    assert _SEEN["numbers"] > MUTANTS / 5
    assert _SEEN["refused"] > MUTANTS / 10
    assert _SEEN["stopped"] > MUTANTS / 20
    assert _SEEN["unwritable"] < MUTANTS / 10
