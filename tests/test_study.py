"""When a study closes, with a clock that the test turns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.facts import read_facts
from dicom_node.ledger import Ledger
from dicom_node.records import Conflict, DeliveryState, ReceivedInstance, Result, Run, State
from dicom_node.study import close_ready, gather_evidence

STUDY = "1.2.3"
QUIET_S = 10.0
DEADLINE_S = 600.0


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def write_image(
    path: Path,
    uid: str,
    *,
    frames: int = 6,
    declared: int = 6,
    organization: str = "TILED_FULL",
    part: tuple[int, int | None] | None = None,
    table: str = "basic",
    compressed: bool = True,
) -> Path:
    """A WSM of 2 x 3 tiles of 8 x 8 (matrix 16 x 24) whose frames are not real JPEGs."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, STUDY, "1.2.3.1"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.ContainerIdentifier = "S-1"
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.BitsAllocated = 3, 8
    ds.NumberOfFrames = declared
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = 16, 24
    ds.DimensionOrganizationType = organization
    if part is not None:
        ds.ConcatenationUID = "1.2.3.9"
        ds.InConcatenationNumber = part[0]
        if part[1] is not None:
            ds.InConcatenationTotalNumber = part[1]
    pixels = [bytes([0xFF, 0xD8, n, 0xFF, 0xD9, 0]) for n in range(frames)]
    if not compressed:
        ds.PixelData = b"\0" * (frames * 8 * 8 * 3)
        ds["PixelData"].VR = "OB"
    elif table == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(
            pixels
        )
    else:
        ds.PixelData = encapsulate(pixels, has_bot=table == "basic")
    dcmwrite(path, ds, enforce_file_format=True)
    return path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    return Ledger.open(tmp_path / "node.sqlite", clock=clock)


@pytest.fixture
def arrive(tmp_path, clock, ledger):
    """An instance is written to the spool and recorded, as ingest would."""

    def arrive(uid: str, **image: object) -> None:
        path = write_image(tmp_path / f"{uid}.dcm", uid, **image)
        ledger.record_instance(
            ReceivedInstance(
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.6",
                study_instance_uid=STUDY,
                series_instance_uid="1.2.3.1",
                transfer_syntax_uid="1.2.840.10008.1.2.4.50",
                size_bytes=path.stat().st_size,
                path=path.name,
                calling_ae="PACS",
                peer="127.0.0.1",
                received_at=datetime.fromtimestamp(clock(), UTC),
            )
        )

    return arrive


@pytest.fixture
def close(tmp_path, ledger):
    """One round of the worker: which revisions close now."""

    def close() -> list[int]:
        closed = close_ready(ledger, tmp_path, quiet_time_s=QUIET_S, incomplete_after_s=DEADLINE_S)
        return [r.revision for r in closed]

    return close


def test_a_complete_study_closes_once_it_has_been_quiet(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S - 1
    assert close() == []
    clock.now += 1
    assert close() == [1]
    assert close() == []
    revision = ledger.revision(STUDY)
    assert revision.state is State.QUEUED
    assert revision.evidence["instances"] == 1
    assert revision.evidence["slides"][0]["levels"][0]["frames"] == 6
    assert revision.evidence["slides"][0]["levels"][0]["expected_frames"] == 6


def test_bytes_still_arriving_from_the_sender_hold_the_study_open(arrive, close, clock, ledger):
    arrive("1.1")
    transfer = ledger.open_transfer(calling_ae="PACS", peer="127.0.0.1")
    for _ in range(9):  # one instance that takes 90 s to arrive
        clock.now += QUIET_S
        ledger.touch_transfer(transfer)
        assert close() == []
    ledger.close_transfer(transfer)
    assert close() == [1]


def test_a_transfer_of_another_sender_does_not_hold_the_study_open(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    ledger.open_transfer(calling_ae="OTHER", peer="127.0.0.2")
    assert close() == [1]


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_frames_are_counted_with_any_kind_of_offset_table(arrive, close, clock, table):
    arrive("1.1", table=table)
    clock.now += QUIET_S
    assert close() == [1]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_study_with_missing_frames_waits_and_says_which(arrive, close, clock, ledger, compressed):
    arrive("1.1", frames=4, compressed=compressed)
    clock.now += QUIET_S
    assert close() == []
    assert "1.1: 4 of 6 frames present" in ledger.revision(STUDY).reason


def test_a_tiled_full_image_with_too_few_declared_frames_waits(arrive, close, clock, ledger):
    arrive("1.1", frames=5, declared=5)
    clock.now += QUIET_S
    assert close() == []
    assert "5 frames, TILED_FULL of 16 x 24 needs 6" in ledger.revision(STUDY).reason


def test_a_tiled_sparse_image_may_leave_tiles_out(arrive, close, clock):
    arrive("1.1", frames=5, declared=5, organization="TILED_SPARSE")
    clock.now += QUIET_S
    assert close() == [1]


def test_a_concatenation_waits_for_its_missing_part(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 3))
    arrive("1.3", frames=2, declared=2, part=(3, 3))
    clock.now += QUIET_S
    assert close() == []
    assert "part 2 of 3 missing" in ledger.revision(STUDY).reason
    arrive("1.2", frames=2, declared=2, part=(2, 3))
    clock.now += QUIET_S
    assert close() == [1]


def test_a_concatenation_that_does_not_say_its_total_closes_on_the_frame_count(
    arrive, close, clock
):
    arrive("1.1", frames=4, declared=4, part=(1, None))
    clock.now += QUIET_S
    assert close() == []
    arrive("1.2", frames=2, declared=2, part=(2, None))
    clock.now += QUIET_S
    assert close() == [1]


def test_a_study_that_stays_incomplete_is_parked_with_what_is_missing(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 3))
    clock.now += DEADLINE_S
    assert close() == []
    revision = ledger.revision(STUDY)
    assert revision.state is State.PARKED
    assert "part 2, 3 of 3 missing" in revision.reason


def test_a_malformed_instance_is_named_and_does_not_stop_the_rounds(
    arrive, close, clock, ledger, tmp_path
):
    arrive("1.1")
    (tmp_path / "1.1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nonsense" * 20)
    clock.now += QUIET_S
    assert close() == []
    assert "1.1 cannot be counted" in ledger.revision(STUDY).reason
    clock.now += DEADLINE_S
    assert close() == []
    assert ledger.revision(STUDY).state is State.PARKED


def test_retry_of_an_incomplete_study_counts_it_again(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 2))
    clock.now += DEADLINE_S
    close()
    assert ledger.revision(STUDY).state is State.PARKED
    ledger.retry(STUDY)
    assert ledger.revision(STUDY).state is State.RECEIVING
    close()
    assert "part 2 of 2 missing" in ledger.revision(STUDY).reason


def test_a_sender_that_never_pauses_cannot_hold_a_complete_study_for_ever(
    arrive, close, clock, ledger
):
    arrive("1.1")
    transfer = ledger.open_transfer(calling_ae="PACS", peer="127.0.0.1")
    for _ in range(59):
        clock.now += QUIET_S
        ledger.touch_transfer(transfer)
        assert close() == []
    clock.now += QUIET_S
    ledger.touch_transfer(transfer)
    assert close() == [1]


def test_only_the_current_attempt_moves_a_study(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    first = ledger.revision(STUDY).run
    assert ledger.start_analysis(first, "an engine", "a digest")
    ledger.retry(STUDY)
    second = ledger.revision(STUDY).run
    assert not ledger.park(first, "too late")
    assert not ledger.try_later(first, "too late", 0)
    assert not ledger.start_delivery(first, [], [])
    assert ledger.revision(STUDY).state is State.QUEUED
    assert ledger.start_analysis(second, "an engine", "a digest")


def test_a_superseded_revision_is_never_analyzed(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    run = ledger.revision(STUDY).run
    arrive("1.2")
    assert not ledger.start_analysis(run, "an engine", "a digest")
    assert ledger.revision(STUDY, 1).state is State.SUPERSEDED


def test_a_delivered_object_stays_delivered_when_a_second_sending_fails(
    ledger, arrive, close, clock
):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    run = ledger.revision(STUDY).run
    ledger.start_analysis(run, "an engine", "a digest")
    made = [Result("2.1", "class", "report", "slide", "path", "sha")]
    assert ledger.start_delivery(run, made, ["pacs"])
    ledger.record_delivery("2.1", "pacs", DeliveryState.DELIVERED, status="0000", error=None)
    ledger.record_delivery("2.1", "pacs", DeliveryState.PENDING, status=None, error="late")
    (delivery,) = ledger.deliveries(STUDY, 1)
    assert delivery.state is DeliveryState.DELIVERED
    assert delivery.attempts == 1
    assert ledger.finish_delivery(run) is State.DONE


def test_a_late_instance_opens_a_new_revision_with_all_instances(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    assert close() == [1]
    arrive("1.2")
    assert ledger.revision(STUDY, 1).state is State.SUPERSEDED
    clock.now += QUIET_S
    assert close() == [2]
    assert ledger.revision(STUDY).evidence["instances"] == 2


def test_a_late_instance_leaves_a_finished_revision_as_it_was(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    run = Run(STUDY, 1, 1)
    ledger.start_analysis(run, "an engine", "a digest")
    ledger.start_delivery(run, [], [])
    ledger.finish_delivery(run)
    arrive("1.2")
    assert ledger.revision(STUDY, 1).state is State.DONE
    assert ledger.revision(STUDY, 2).state is State.RECEIVING


def test_an_instance_that_arrives_while_counting_keeps_the_study_open(arrive, clock, ledger):
    arrive("1.1")
    evidence = {"instances": 1, "slides": []}
    arrive("1.2")
    assert not ledger.close_revision(STUDY, 1, evidence)
    assert ledger.revision(STUDY).state is State.RECEIVING


def test_a_known_uid_is_never_recorded_twice(arrive, ledger):
    arrive("1.1")
    stored = ledger.find_instance("1.1")
    assert stored.path == "1.1.dcm"
    with pytest.raises(Conflict):
        arrive("1.1")
    assert len(ledger.instances(STUDY, 1)) == 1
    assert ledger.find_instance("1.2") is None


def test_two_containers_in_one_study_are_two_slides(tmp_path):
    first = read_facts(write_image(tmp_path / "a.dcm", "1.1"))
    path = write_image(tmp_path / "b.dcm", "1.2")
    from dataclasses import replace

    second = replace(read_facts(path), container_identifier="S-2")
    slides = gather_evidence([second, first])
    assert [s.container_identifier for s in slides] == ["S-1", "S-2"]
    assert len({s.key for s in slides}) == 2
