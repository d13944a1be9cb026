"""Who is suspected of a worker's death: the study that was being counted, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.ledger.rows import Run
from dicom_node.work.suspect import Suspect

RUN = Run("1.2.826.0.1.3680043.8.498." + "9" * 39, 12, 345)


def test_only_what_was_being_counted_is_left(tmp_path: Path) -> None:
    path = tmp_path / "counting"
    suspect = Suspect(path)
    assert suspect.left() is None
    with suspect.on(RUN):
        assert Suspect(path).left() == RUN, "as the next worker finds it"
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
