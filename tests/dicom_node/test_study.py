"""When a study closes, with a clock that the test turns."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.errors import Conflict
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.ledger.studies import Studies
from dicom_node.study import closing
from dicom_node.study.closing import close_ready
from dicom_node.study.evidence import PatientsDiffer, gather_evidence, slides_of
from dicom_node.study.facts import Uncountable, read_facts

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
    study: str = STUDY,
    change: Callable[[Dataset], object] = lambda ds: None,
) -> Path:
    """A WSM of 2 x 3 tiles of 8 x 8 (matrix 16 x 24) whose frames are not real JPEGs."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, study, f"{study}.1"
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
    change(ds)
    dcmwrite(path, ds, enforce_file_format=True)
    return path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(where, clock):
    return Ledger.open(where, clock=clock)


@pytest.fixture
def arrive(tmp_path, clock, ledger):
    """An instance is written to the spool and recorded, as ingest would."""

    def arrive(uid: str, *, study: str = STUDY, **image: object) -> None:
        path = write_image(tmp_path / f"{uid}.dcm", uid, study=study, **image)
        ledger.arrivals.record(
            ReceivedInstance(
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.6",
                study_instance_uid=study,
                series_instance_uid=f"{study}.1",
                transfer_syntax_uid="1.2.840.10008.1.2.4.50",
                size_bytes=path.stat().st_size,
                path=path.name,
                calling_ae="PACS",
                peer="127.0.0.1",
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
    revision = ledger.queries.revision(STUDY)
    assert revision.state is State.QUEUED
    assert revision.evidence.instances == 1
    assert revision.evidence.slides[0].levels[0].frames == 6
    assert revision.evidence.slides[0].levels[0].expected_frames == 6


def test_bytes_still_arriving_from_the_sender_hold_the_study_open(arrive, close, clock, ledger):
    arrive("1.1")
    transfer = ledger.arrivals.open_transfer(calling_ae="PACS", peer="127.0.0.1")
    for _ in range(9):  # one instance that takes 90 s to arrive
        clock.now += QUIET_S
        ledger.arrivals.touch_transfer(transfer)
        assert close() == []
    ledger.arrivals.close_transfer(transfer)
    assert close() == [1]


def test_a_transfer_of_another_sender_does_not_hold_the_study_open(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    ledger.arrivals.open_transfer(calling_ae="OTHER", peer="127.0.0.2")
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
    assert "1.1: 4 of 6 frames present" in ledger.queries.revision(STUDY).reason


def test_a_tiled_full_image_with_too_few_declared_frames_waits(arrive, close, clock, ledger):
    arrive("1.1", frames=5, declared=5)
    clock.now += QUIET_S
    assert close() == []
    assert "5 frames, TILED_FULL of 16 x 24 needs 6" in ledger.queries.revision(STUDY).reason


def test_a_tiled_sparse_image_may_leave_tiles_out(arrive, close, clock):
    arrive("1.1", frames=5, declared=5, organization="TILED_SPARSE")
    clock.now += QUIET_S
    assert close() == [1]


def test_a_concatenation_waits_for_its_missing_part(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 3))
    arrive("1.3", frames=2, declared=2, part=(3, 3))
    clock.now += QUIET_S
    assert close() == []
    assert "part 2 of 3 missing" in ledger.queries.revision(STUDY).reason
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


def test_a_study_that_stays_incomplete_is_closed_with_what_is_missing(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 3))
    clock.now += QUIET_S
    assert close() == []
    clock.now += DEADLINE_S
    assert close() == [1]
    revision = ledger.queries.revision(STUDY)
    assert revision.state is State.QUEUED
    assert "part 2, 3 of 3 missing" in revision.evidence.missing[0]
    assert "study_incomplete" in [e.kind for e in ledger.queries.events(STUDY)]


def test_a_malformed_instance_is_named_and_does_not_stop_the_rounds(
    arrive, close, clock, ledger, tmp_path
):
    arrive("1.1")
    (tmp_path / "1.1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nonsense" * 20)
    clock.now += QUIET_S
    assert close() == []
    assert "1.1 cannot be counted" in ledger.queries.revision(STUDY).reason
    clock.now += DEADLINE_S
    assert close() == []
    assert ledger.queries.revision(STUDY).state is State.PARKED


def test_retry_of_an_incomplete_study_counts_it_again_as_a_new_revision(
    arrive, close, clock, ledger
):
    arrive("1.1", frames=2, declared=2, part=(1, 2))
    clock.now += DEADLINE_S
    close()
    ledger.studies.park(ledger.queries.revision(STUDY).run, "reported")
    assert ledger.studies.retry(STUDY) is None
    assert ledger.queries.revision(STUDY, 1).state is State.SUPERSEDED
    assert ledger.queries.revision(STUDY).state is State.RECEIVING
    arrive("1.2", frames=4, declared=4, part=(2, 2))
    clock.now += QUIET_S
    assert close() == [2]
    assert ledger.queries.revision(STUDY).evidence.missing == ()


def test_a_count_that_a_restored_file_overtook_closes_nothing(arrive, clock, ledger):
    arrive("1.1")
    before = ledger.queries.revision(STUDY)
    clock.now += 1
    ledger.arrivals.restore(STUDY, lambda: None)
    counted = Evidence(1, missing=("what the damaged file lacked",))
    assert not ledger.studies.close(before.run, counted, as_of=before.last_instance_at)
    now = ledger.queries.revision(STUDY)
    assert now.state is State.RECEIVING
    assert ledger.studies.close(now.run, Evidence(1), as_of=now.last_instance_at)


def test_a_file_that_cannot_be_restored_leaves_the_study_as_it_was(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 2))
    clock.now += DEADLINE_S
    close()

    def fails() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        ledger.arrivals.restore(STUDY, fails)
    assert ledger.queries.revision(STUDY).revision == 1


def test_a_revision_that_has_a_successor_is_superseded_and_not_parked(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 2))
    clock.now += DEADLINE_S
    close()
    run = ledger.queries.revision(STUDY).run
    ledger.studies.start_analysis(run, "engine", "digest")
    arrive("1.2", frames=4, declared=4, part=(2, 2))
    ledger.deliveries.start(run, [], [], trouble="incomplete")
    ledger.deliveries.finish(run)
    assert ledger.queries.revision(STUDY, 1).state is State.SUPERSEDED
    assert ledger.queries.revision(STUDY).state is State.RECEIVING


def test_what_an_earlier_revision_has_to_send_is_not_sent_after_what_replaces_it(
    arrive, close, clock, ledger
):
    for number in (1, 2):
        arrive(f"1.{number}")
        clock.now += QUIET_S
        close()
        run = ledger.queries.revision(STUDY).run
        ledger.studies.start_analysis(run, "engine", "digest")
        made = [Result(f"2.{number}", "1", "report", "s", f"{number}.dcm", "x")]
        assert ledger.deliveries.start(run, made, ["pacs"])
    assert ledger.queries.revision(STUDY, 1).state is State.SUPERSEDED
    assert [d.sop_instance_uid for d in ledger.queries.due_deliveries("pacs")] == ["2.2"]


def test_a_refusal_of_an_object_that_is_not_made_any_more_parks_nothing(
    arrive, close, clock, ledger
):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    for attempt, uid, destination in ((1, "2.1", "old"), (2, "2.2", "new")):
        run = ledger.queries.revision(STUDY).run
        assert run.attempt == attempt
        ledger.studies.start_analysis(run, "engine", "digest")
        made = [Result(uid, "1", "report", "s", f"{uid}.dcm", "x")]
        ledger.deliveries.start(run, made, [destination])
        state = DeliveryState.REFUSED if attempt == 1 else DeliveryState.DELIVERED
        ledger.deliveries.record(uid, destination, state, status="0122", error="no")
        ended = ledger.deliveries.finish(run)
        assert ended is (State.PARKED if attempt == 1 else State.DONE)
        if attempt == 1:
            ledger.studies.retry(STUDY)


def test_a_restored_file_of_an_incomplete_study_opens_a_new_revision(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 2))
    clock.now += DEADLINE_S
    close()
    ledger.arrivals.restore(STUDY, lambda: None)
    last = ledger.queries.revision(STUDY)
    assert (last.revision, last.state) == (2, State.RECEIVING)


def test_a_sender_that_never_pauses_cannot_hold_a_complete_study_for_ever(
    arrive, close, clock, ledger
):
    arrive("1.1")
    transfer = ledger.arrivals.open_transfer(calling_ae="PACS", peer="127.0.0.1")
    for _ in range(59):
        clock.now += QUIET_S
        ledger.arrivals.touch_transfer(transfer)
        assert close() == []
    clock.now += QUIET_S
    ledger.arrivals.touch_transfer(transfer)
    assert close() == [1]


def test_only_the_current_attempt_moves_a_study(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    first = ledger.queries.revision(STUDY).run
    assert ledger.studies.start_analysis(first, "an engine", "a digest")
    ledger.studies.retry(STUDY)
    second = ledger.queries.revision(STUDY).run
    assert not ledger.studies.park(first, "too late")
    assert not ledger.studies.try_later(first, "too late", 0)
    assert not ledger.deliveries.start(first, [], [])
    assert ledger.queries.revision(STUDY).state is State.QUEUED
    assert ledger.studies.start_analysis(second, "an engine", "a digest")


def test_a_superseded_revision_is_never_analyzed(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    run = ledger.queries.revision(STUDY).run
    arrive("1.2")
    assert not ledger.studies.start_analysis(run, "an engine", "a digest")
    assert ledger.queries.revision(STUDY, 1).state is State.SUPERSEDED


def test_a_delivered_object_stays_delivered_when_a_second_sending_fails(
    ledger, arrive, close, clock
):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    run = ledger.queries.revision(STUDY).run
    ledger.studies.start_analysis(run, "an engine", "a digest")
    made = [Result("2.1", "class", "report", "slide", "path", "sha")]
    assert ledger.deliveries.start(run, made, ["pacs"])
    ledger.deliveries.record("2.1", "pacs", DeliveryState.DELIVERED, status="0000", error=None)
    ledger.deliveries.record("2.1", "pacs", DeliveryState.PENDING, status=None, error="late")
    (delivery,) = ledger.queries.deliveries(STUDY, 1)
    assert delivery.state is DeliveryState.DELIVERED
    assert delivery.attempts == 1
    assert ledger.deliveries.finish(run) is State.DONE


def test_a_late_instance_opens_a_new_revision_with_all_instances(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    assert close() == [1]
    arrive("1.2")
    assert ledger.queries.revision(STUDY, 1).state is State.SUPERSEDED
    clock.now += QUIET_S
    assert close() == [2]
    assert ledger.queries.revision(STUDY).evidence.instances == 2


def test_a_late_instance_leaves_a_finished_revision_as_it_was(arrive, close, clock, ledger):
    arrive("1.1")
    clock.now += QUIET_S
    close()
    run = Run(STUDY, 1, 1)
    ledger.studies.start_analysis(run, "an engine", "a digest")
    ledger.deliveries.start(run, [], [])
    ledger.deliveries.finish(run)
    arrive("1.2")
    assert ledger.queries.revision(STUDY, 1).state is State.DONE
    assert ledger.queries.revision(STUDY, 2).state is State.RECEIVING


def test_an_instance_that_arrives_while_counting_keeps_the_study_open(arrive, clock, ledger):
    arrive("1.1")
    counted = Evidence(1)
    arrive("1.2")
    assert not ledger.studies.close(Run(STUDY, 1, 0), counted)
    assert ledger.queries.revision(STUDY).state is State.RECEIVING


def test_a_known_uid_is_never_recorded_twice(arrive, ledger):
    arrive("1.1")
    stored = ledger.arrivals.find("1.1")
    assert stored.path == "1.1.dcm"
    with pytest.raises(Conflict):
        arrive("1.1")
    assert len(ledger.queries.instances(STUDY, 1)) == 1
    assert ledger.arrivals.find("1.2") is None


def test_two_containers_in_one_study_are_two_slides(tmp_path):
    first = read_facts(write_image(tmp_path / "a.dcm", "1.1"))
    other = _flavor("VOLUME", "1.2.3.1", "S-2")
    second = read_facts(write_image(tmp_path / "b.dcm", "1.2", change=other))
    slides = gather_evidence([second, first])
    assert [s.container_identifier for s in slides] == ["S-1", "S-2"]
    assert len({s.key for s in slides}) == 2


def element(keyword: str, vr: str, value: object) -> Callable[[Dataset], object]:
    """Gives an attribute another value representation than the standard's."""
    return lambda ds: ds.add(DataElement(tag_for_keyword(keyword), vr, value))


OTHER = "1.2.4"


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("TotalPixelMatrixRows", "UT", "9" * 400),
        ("TotalPixelMatrixColumns", "LT", "-1"),
        ("TotalPixelMatrixFocalPlanes", "UT", "4294967296"),
        ("NumberOfOpticalPaths", "UC", "many"),
        ("NumberOfFrames", "UT", str(2**31)),
        ("Rows", "UL", 65536),
        ("Columns", "FD", float("inf")),
        ("Columns", "FD", 8.5),
        ("Rows", "US", [8, 8]),
        ("Rows", "OB", b"\0\0"),
        ("InConcatenationTotalNumber", "UL", 20_000_000),
        ("InConcatenationTotalNumber", "SL", -2),
        ("InConcatenationNumber", "UT", "9" * 5000),
    ],
)
def test_a_number_that_its_attribute_cannot_hold_parks_its_study_and_no_other(
    keyword, vr, value, arrive, close, clock, ledger
):
    arrive("1.1", change=element(keyword, vr, value))
    arrive("1.5", study=OTHER)
    clock.now += QUIET_S
    close()
    parked, other = ledger.queries.revision(STUDY), ledger.queries.revision(OTHER)
    assert parked.state is State.PARKED
    assert "1.1 cannot be counted" in parked.reason
    assert f"{keyword} is no number from 0 to" in parked.reason
    assert len(parked.reason) < 200
    assert other.state is State.QUEUED


def test_a_text_of_digits_in_the_place_of_a_number_is_that_number(arrive, close, clock):
    arrive("1.1", change=element("TotalPixelMatrixRows", "UT", "16"))
    clock.now += QUIET_S
    assert close() == [1]


def test_a_sequence_without_end_is_a_malformed_file_and_no_sick_disk(
    arrive, close, clock, ledger, tmp_path
):
    arrive("1.1")
    path = tmp_path / "1.1.dcm"
    whole = path.read_bytes()
    at = whole.index(struct.pack("<HH", 0x0048, 0x0006))
    path.write_bytes(whole[:at] + b"\x40\x00\x60\x05SQ\0\0\xff\xff\xff\xff" + b"\0" * 40)
    clock.now += QUIET_S
    close()
    assert ledger.queries.revision(STUDY).state is State.PARKED
    assert "1.1 cannot be counted" in ledger.queries.revision(STUDY).reason


def test_any_error_in_counting_one_study_parks_it_and_lets_the_others_close(
    arrive, close, clock, ledger, monkeypatch
):
    def count(path: Path) -> object:
        if path.name == "1.1.dcm":
            raise ZeroDivisionError("ZZPHINAME^ZZFIRST")
        return read_facts(path)

    monkeypatch.setattr(closing, "read_facts", count)
    arrive("1.1")
    arrive("1.5", study=OTHER)
    clock.now += QUIET_S
    close()
    assert ledger.queries.revision(OTHER).state is State.QUEUED
    parked = ledger.queries.revision(STUDY)
    assert parked.state is State.PARKED
    assert "ZeroDivisionError at test_study.py" in parked.reason
    assert "ZZPHI" not in str(ledger.queries.events(STUDY)) + parked.reason


def test_a_file_that_the_disk_does_not_give_is_said_once_and_parks_the_study_in_the_end(
    arrive, close, clock, ledger, tmp_path, capsys
):
    arrive("1.1")
    (tmp_path / "1.1.dcm").unlink()
    clock.now += QUIET_S
    for _ in range(20):
        assert close() == []
    assert ledger.queries.revision(STUDY).reason == (
        "the spool cannot be read: ENOENT: No such file or directory"
    )
    assert capsys.readouterr().out.count("spool_unreadable") == 1
    clock.now += DEADLINE_S
    close()
    assert ledger.queries.revision(STUDY).state is State.PARKED


@pytest.mark.parametrize(("number", "total"), [(1, 65535), (65535, 65535), (65535, None)])
def test_what_is_missing_is_counted_and_not_listed_without_end(
    number, total, arrive, close, clock, ledger
):
    arrive("1.1", frames=1, declared=1, part=(number, total))
    clock.now += QUIET_S
    close()
    revision = ledger.queries.revision(STUDY)
    assert revision.state is State.RECEIVING
    assert "and 65529 more" in revision.reason
    assert len(revision.reason) < 300
    assert len(json.dumps(revision.evidence.written())) < 2000


def test_of_many_incomplete_images_the_first_are_named_and_the_rest_is_counted(
    arrive, close, clock, ledger
):
    for n in range(30):
        arrive(f"1.{n}", frames=1, declared=6)
    clock.now += QUIET_S
    close()
    revision = ledger.queries.revision(STUDY)
    assert revision.reason.count("frames present") == 5
    assert revision.reason.endswith("and 25 more")


def of(**patient: str) -> Callable[[Dataset], object]:
    """Gives an image a patient."""

    def change(ds: Dataset) -> None:
        for keyword, value in patient.items():
            setattr(ds, keyword, value)

    return change


JANE = {"PatientID": "ZZID1", "PatientName": "ZZDOE^JANE", "PatientBirthDate": "19500101"}


@pytest.mark.parametrize(
    "other",
    [
        {**JANE, "PatientID": "ZZID2"},
        {**JANE, "PatientName": "ZZROE^JANE"},
        {**JANE, "PatientBirthDate": "19600101"},
    ],
)
def test_a_slide_with_files_of_two_patients_is_parked_without_their_names(
    other, arrive, close, clock, ledger, capsys
):
    arrive("1.1", change=of(**JANE))
    arrive("1.2", change=of(**other))
    arrive("1.5", study=OTHER, change=of(**JANE))
    clock.now += QUIET_S
    close()
    parked = ledger.queries.revision(STUDY)
    assert parked.state is State.PARKED
    (differing,) = {k for k in JANE if JANE[k] != other[k]}
    assert f"files of different patients: {differing} differ between 1.1 and 1.2" in parked.reason
    told = parked.reason + str(ledger.queries.events()) + json.dumps(parked.evidence.written())
    told += capsys.readouterr().out
    assert not any(value in told for value in ("ZZ", "19500101", "19600101"))
    assert ledger.queries.revision(OTHER).state is State.QUEUED


def test_a_label_of_another_patient_in_a_series_of_its_own_parks_its_slide(
    arrive, close, clock, ledger
):
    def label(ds: Dataset) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
        ds.SeriesInstanceUID = "1.2.3.2"
        of(PatientID="ZZID2")(ds)

    arrive("1.1", change=of(PatientID="ZZID1"))
    arrive("1.2", change=label)
    clock.now += QUIET_S
    close()
    assert ledger.queries.revision(STUDY).state is State.PARKED
    assert "PatientID differ" in ledger.queries.revision(STUDY).reason


def test_a_late_level_of_another_patient_stops_the_new_revision(arrive, close, clock, ledger):
    arrive("1.1", change=of(**JANE))
    clock.now += QUIET_S
    assert close() == [1]
    arrive("1.2", change=of(**{**JANE, "PatientID": "ZZID2"}))
    clock.now += QUIET_S
    assert close() == []
    assert ledger.queries.revision(STUDY).state is State.PARKED


def test_two_slides_of_two_patients_in_one_study_close_and_the_operator_is_told(
    arrive, close, clock, ledger
):
    def second(ds: Dataset) -> None:
        ds.SeriesInstanceUID, ds.ContainerIdentifier = "1.2.3.2", "S-2"
        of(**{**JANE, "PatientID": "ZZID2"})(ds)

    arrive("1.1", change=of(**JANE))
    arrive("1.2", change=second)
    clock.now += QUIET_S
    assert close() == [1]
    (event,) = [e for e in ledger.queries.events(STUDY) if e.kind == "study_of_two_patients"]
    assert event.fields == {"attributes": ["PatientID"]}


def _flavor(flavor: str, series: str, container: str) -> Callable[[Dataset], object]:
    def change(ds: Dataset) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
        ds.SeriesInstanceUID, ds.ContainerIdentifier = series, container

    return change


def test_images_of_a_container_without_a_volume_stay_a_slide_beside_another(tmp_path):
    images = [("1.1", "VOLUME", "1.2.3.1", "S-1"), ("1.2", "LABEL", "1.2.3.2", "S-1")]
    images += [("1.3", "LABEL", "1.2.3.3", "S-2"), ("1.4", "OVERVIEW", "1.2.3.4", "S-2")]
    images += [("1.5", "OVERVIEW", "1.2.3.5", "")]
    facts = [
        read_facts(write_image(tmp_path / f"{uid}.dcm", uid, change=_flavor(*what)))
        for uid, *what in images
    ]
    uids = [set(slide.input_uids) for slide in slides_of(facts)]
    assert uids == [{"1.1", "1.2", "1.5"}, {"1.3", "1.4"}]


def test_the_evidence_of_a_study_is_written_as_it_always_was(arrive, close, clock, ledger):
    """What an earlier version stored is read by this one, and the key goes into UIDs."""
    arrive("1.1", frames=4, declared=4, part=(1, 2))
    arrive("1.2", frames=2, declared=2, part=(2, 2))
    arrive("1.3", change=_flavor("LABEL", "1.2.3.2", ""))
    clock.now += QUIET_S
    assert close() == [1]
    image = {"rows": 16, "cols": 24, "organization": "TILED_FULL", "frames": 6}
    image |= {"expected_frames": 6, "missing": []}
    volume = {"sop_instance_uids": ["1.1", "1.2"], "flavor": "VOLUME"}
    label = {"sop_instance_uids": ["1.3"], "flavor": "LABEL"}
    kept = json.loads(json.dumps(ledger.queries.revision(STUDY).evidence.written()))
    assert kept["slides"] == [
        {
            "key": "e2e68704",
            "series_instance_uid": "1.2.3.1",
            "container_identifier": "S-1",
            "levels": [{**volume, **image, "parts": 2, "expected_parts": 2}],
        },
        {
            "key": "652969e8",
            "series_instance_uid": "1.2.3.2",
            "container_identifier": "",
            "levels": [{**label, **image, "parts": 1, "expected_parts": 1}],
        },
    ]


def test_retry_of_what_was_never_counted_says_so(arrive, close, clock, ledger):
    arrive("1.1", frames=2, declared=2, part=(1, 2))
    clock.now += DEADLINE_S
    close()
    assert ledger.studies.retry(STUDY) is None
    assert ledger.queries.revision(STUDY).state is State.RECEIVING


def test_files_of_two_patients_are_refused_wherever_a_slide_is_put_together(tmp_path):
    facts = [
        read_facts(write_image(tmp_path / "a.dcm", "1.1", change=of(**JANE))),
        read_facts(write_image(tmp_path / "b.dcm", "1.2", change=of(PatientID="ZZID2"))),
    ]
    with pytest.raises(PatientsDiffer, match="PatientID"):
        gather_evidence(facts)


@pytest.mark.parametrize(
    ("vr", "value"),
    [("UT", "\x01" * 1_000_000), ("LO", ["A", "B"]), ("SQ", [Dataset()]), ("UL", 7)],
)
def test_what_is_no_short_text_is_no_container_and_stays_out_of_the_ledger(
    vr, value, arrive, close, clock, ledger
):
    if vr == "SQ":
        value[0].PatientName = "ZZDOE^JANE"
    arrive("1.1", change=element("ContainerIdentifier", vr, value))
    arrive("1.5", study=OTHER)
    clock.now += QUIET_S
    close()
    parked = ledger.queries.revision(STUDY)
    assert "ContainerIdentifier is no text of up to 256 characters" in parked.reason
    assert "ZZ" not in json.dumps(parked.evidence.written()) + parked.reason
    assert len(json.dumps(parked.evidence.written())) < 1000
    assert ledger.queries.revision(OTHER).state is State.QUEUED


def test_an_error_in_storing_what_was_counted_parks_one_study_too(
    arrive, close, clock, ledger, monkeypatch
):
    settle = Studies.close

    def fails(self: Studies, run: Run, evidence: Evidence, **others: float) -> bool:
        if run.study == STUDY:
            raise ValueError("string or blob too big")
        return settle(self, run, evidence, **others)

    monkeypatch.setattr(Studies, "close", fails)
    arrive("1.1")
    arrive("1.5", study=OTHER)
    clock.now += QUIET_S
    close()
    assert ledger.queries.revision(STUDY).state is State.PARKED
    assert ledger.queries.revision(OTHER).state is State.QUEUED


def test_a_file_that_was_replaced_by_a_whole_one_is_counted_again(
    arrive, close, clock, ledger, tmp_path
):
    arrive("1.1")
    path = tmp_path / "1.1.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    clock.now += QUIET_S
    assert close() == []
    assert "1.1" in ledger.queries.revision(STUDY).reason
    (tmp_path / "spare").write_bytes(whole)

    def replace() -> None:
        (tmp_path / "spare").replace(path)

    ledger.arrivals.restore(STUDY, replace)
    clock.now += QUIET_S
    assert close() == [1]


@pytest.mark.parametrize("keyword", ["ConcatenationUID", "SeriesInstanceUID"])
def test_a_text_in_the_place_of_a_uid_is_not_repeated(keyword, tmp_path):
    path = write_image(
        tmp_path / "a.dcm", "1.1", part=(1, 2), change=element(keyword, "LT", "ZZDOE^JANE")
    )
    with pytest.raises(Uncountable, match=f"{keyword} is no UID$"):
        read_facts(path)


def test_a_text_that_no_database_can_keep_is_kept_readable(ledger, arrive):
    arrive("1.1")
    unstorable = "left\0right\udc80"
    evidence = Evidence(1, missing=(unstorable,))
    assert ledger.studies.park_uncounted(Run(STUDY, 1, 0), evidence, unstorable)
    ledger.events.record("note", text=unstorable, fields={unstorable: 1})
    revision = ledger.queries.revision(STUDY)
    assert revision.reason == "left\ufffdright\ufffd"
    assert revision.evidence.missing == ("left\ufffdright\ufffd",)
    assert "left" in ledger.queries.events()[-1].fields["text"]


def test_a_study_whose_executor_is_gone_is_freed_by_a_retry(ledger, arrive, where):
    arrive("1.1")
    assert ledger.studies.close(Run(STUDY, 1, 0), Evidence(1))
    gone = Ledger.open(where, owner="gone")
    assert gone.studies.start_analysis(ledger.queries.revision(STUDY).run, "engine", "digest")
    assert ledger.queries.my_analyses() == []
    assert ledger.studies.retry(STUDY) == 2
    run = ledger.queries.revision(STUDY).run
    assert ledger.studies.start_analysis(run, "engine", "digest")
    assert not gone.studies.park(run, "too late")
