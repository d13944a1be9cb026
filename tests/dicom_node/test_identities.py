"""Random histories of changes, retries and kills: one UID has one content."""

from __future__ import annotations

from pathlib import Path

import pytest
from identities import Pacs, run
from result_inputs import refusal, report, to_bytes, volume

HISTORIES, STEPS = 30, 8
_SEEDS = 10


@pytest.mark.parametrize("first", range(0, HISTORIES, HISTORIES // _SEEDS))
def test_no_uid_has_two_contents_whatever_is_changed_and_whenever_it_is_killed(
    first: int, tmp_path: Path
) -> None:
    builds = uids = 0
    for seed in range(first, first + HISTORIES // _SEEDS):
        history = run(tmp_path / str(seed), seed, steps=STEPS)
        assert history.wrong == []
        builds, uids = builds + history.builds, uids + len(history.pacs.contents)
    assert builds >= HISTORIES // _SEEDS
    assert uids >= HISTORIES // _SEEDS, "nothing came to the PACS"


def test_a_uid_with_two_contents_would_be_found() -> None:
    pacs, made = Pacs(), report(volume(), refusal(volume()))
    pacs.store(to_bytes(made))
    pacs.store(to_bytes(made))
    assert pacs.ambiguous == []
    made.PatientComments = "another content"
    pacs.store(to_bytes(made))
    assert pacs.ambiguous == [str(made.SOPInstanceUID)]
