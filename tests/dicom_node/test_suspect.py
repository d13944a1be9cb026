"""Who is suspected of a worker's death: the study that was being counted, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Run
from dicom_node.ledger.states import State
from dicom_node.work.suspect import Suspect, note_death

RUN = Run("1.2.826.0.1.3680043.8.498." + "9" * 39, 12, 345)


def test_only_what_was_being_counted_is_left(tmp_path: Path) -> None:
    path = tmp_path / "counting"
    suspect = Suspect(path)
    assert suspect.left() is None
    with suspect.on(RUN):
        left = Suspect(path).left()
        assert left is not None
        assert left.run == RUN, "as the next worker finds it"
    assert Suspect(path).left() is None


def test_an_error_that_is_caught_leaves_nobody_suspected(tmp_path: Path) -> None:
    suspect = Suspect(tmp_path / "counting")
    with pytest.raises(ValueError, match="of the parser"), suspect.on(RUN):
        raise ValueError("of the parser")
    assert suspect.left() is None


def test_a_file_that_cannot_be_written_or_makes_no_sense_suspects_nobody(tmp_path: Path) -> None:
    with Suspect(tmp_path / "absent" / "counting").on(RUN):
        pass
    for content in (b"", b"\xff" * 128, b"1.2/3", bytes(5000), b"/1/1\n" * 40):
        path = tmp_path / "counting"
        path.write_bytes(content)
        assert Suspect(path).left() is None, content


def test_the_file_keeps_its_size_so_that_a_full_disk_has_room_for_the_name(tmp_path: Path) -> None:
    path = tmp_path / "counting"
    suspect = Suspect(path)
    size = path.stat().st_size
    with suspect.on(RUN):
        assert path.stat().st_size == size


def died(path: Path, run: Run) -> None:
    """Leave the file as a worker leaves it that dies while it counts."""
    with Suspect(path).on(run):
        content = path.read_bytes()
    path.write_bytes(content)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger.open(tmp_path / "node.sqlite")
    one = ReceivedInstance("1.2.1", "1", "1.2", "1.2.9", "1.2", 5, "ab/c.dcm", "PACS", "::1")
    ledger.arrivals.record(one)
    return ledger


def test_a_death_is_counted_once_however_often_the_next_worker_is_killed_before_it_forgets_it(
    ledger: Ledger, tmp_path: Path
) -> None:
    path, run = tmp_path / "counting", Run("1.2", 1, 0)
    died(path, run)
    for _ in range(5):  # each is killed between the note and `clear`
        death = Suspect(path).left()
        assert death is not None
        assert note_death(ledger, death, most_crashes=2)
    assert len([e for e in ledger.queries.events("1.2") if e.kind == "count_interrupted"]) == 1


def test_deaths_in_other_counts_are_counted_each_and_park_the_study(
    ledger: Ledger, tmp_path: Path
) -> None:
    path, run = tmp_path / "counting", Run("1.2", 1, 0)
    is_due = []
    for _ in range(3):
        died(path, run)
        death = Suspect(path).left()
        assert death is not None
        is_due.append(note_death(ledger, death, most_crashes=2))
    assert is_due == [True, True, False]
    found = ledger.queries.revision("1.2")
    assert found is not None
    assert found.state is State.PARKED


def test_what_an_earlier_version_has_left_is_counted(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "counting"
    path.write_bytes(b"1.2/1/0".ljust(128, b"\0"))
    death = Suspect(path).left()
    assert death is not None
    assert note_death(ledger, death, most_crashes=2)
    assert note_death(ledger, death, most_crashes=2)
    assert len([e for e in ledger.queries.events("1.2") if e.kind == "count_interrupted"]) == 2
