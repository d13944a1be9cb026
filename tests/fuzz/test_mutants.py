"""Mutants of slides: a right number or a stated refusal, whatever was changed.

A mutant is a function of its number, which is all that is needed to see one again that fails. These
are the same ones every time; `tests/long/fuzz.py` hunts among all others.

    python tests/long/fuzz.py --only NUMBER
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fuzz_process import FuzzProcess
from fuzzing import Verdict

FIRST, MUTANTS, PROCESSES = 500_500, 1_200, 2
_SEEN: Counter[str] = Counter()


@pytest.mark.timeout(3600)  # of a machine that does much else
def test_a_mutant_gives_a_right_number_or_a_stated_refusal(tmp_path: Path) -> None:
    def share(n: int) -> list[Verdict]:
        with FuzzProcess(tmp_path / str(n), objects_every=10) as process:
            numbers = range(FIRST + n, FIRST + MUTANTS, PROCESSES)
            return [process.verdict(number) for number in numbers]

    with ThreadPoolExecutor(PROCESSES) as pool:
        verdicts = [verdict for part in pool.map(share, range(PROCESSES)) for verdict in part]
    _SEEN.update(verdict.outcome for verdict in verdicts)
    assert [verdict for verdict in verdicts if verdict.faults] == []


def test_mutants_end_in_every_way() -> None:
    """A fuzzer whose mutants are all refused, or all sound, would find nothing."""
    if sum(_SEEN.values()) < MUTANTS:
        pytest.skip("needs all mutants of this file to have run")
    print(_SEEN)
    assert _SEEN["numbers"] > MUTANTS / 5
    assert _SEEN["refused"] > MUTANTS / 10
    assert _SEEN["stopped"] > MUTANTS / 20
    assert _SEEN["unwritable"] < MUTANTS / 10
