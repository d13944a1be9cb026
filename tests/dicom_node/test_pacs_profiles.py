"""Six PACS, and more: each study ends with something readable there, or parked with a reason."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from nodes import node, storescu, study_of, wait_for
from pacs_profiles import (
    EXPLICIT,
    IMPLICIT,
    JPEG_LS,
    PDF,
    SC,
    SEG,
    SR_3D,
    SR_ENHANCED,
    SR_TEXT,
    WSM,
    ProfiledPacs,
    running,
)
from pydicom import Dataset, dcmread
from result_inputs import PROVENANCE, manifest, prediction, values
from structlog.testing import capture_logs

from dicom_node.config.whole import Config
from dicom_node.deliver.choose import plan
from dicom_node.deliver.dimse import ask
from dicom_node.deliver.finishing import tend
from dicom_node.deliver.lanes import Lanes
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Delivery, ReceivedInstance, Result, Revision, Run
from dicom_node.ledger.states import DeliveryState, Proof, State
from dicom_node.results import kinds
from dicom_node.results.build import build_objects
from dicom_node.results.files import write
from dicom_node.results.making import BuiltObject, Making
from dicom_node.sop_classes import EXPLICIT_VR_LE, SopClass
from inference.slide.files import SlideFiles
from inference.types import Heatmap, Patch
from slides import SlideStudy

STUDY = "1.2"
REPORTS = {SR_3D, SR_ENHANCED, SR_TEXT, PDF}
ALL = {SR_3D: [EXPLICIT, IMPLICIT], SEG: [JPEG_LS, EXPLICIT, IMPLICIT]}


def explicit(*classes: str) -> dict[str, list[str]]:
    return {sop_class: [EXPLICIT] for sop_class in classes}


PROFILES: dict[str, tuple[ProfiledPacs, State, set[str], str]] = {
    # what it is, where the study ends, what the PACS has then at least (or nothing), and what
    # people are told
    "takes all": (ProfiledPacs(ALL), State.DONE, {"report", "heatmap"}, ""),
    "only SC and PDF": (
        ProfiledPacs(explicit(SC, PDF)), State.DONE, {"summary", "capture"},
        "summary is sent in the place of report",
    ),
    "no 3D SR": (
        ProfiledPacs(explicit(SR_ENHANCED, SR_TEXT, SEG)), State.DONE,
        {"report-enhanced", "heatmap"}, "report-enhanced is sent in the place of report",
    ),
    "no SEG": (
        ProfiledPacs(explicit(SR_3D, WSM, SC)), State.DONE, {"report", "overlay"},
        "overlay is sent in the place of heatmap",
    ),
    "explicit only": (ProfiledPacs(explicit(SR_3D, SEG)), State.DONE, {"report", "heatmap"}, ""),
    "slow": (ProfiledPacs(ALL, takes_s=2.0), State.DONE, {"report", "heatmap"}, ""),
    "knows nothing": (ProfiledPacs({}), State.PARKED, set(), "accepts no Comprehensive 3D SR"),
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "node.sqlite")


def config_of(folder: Path, pacs: ProfiledPacs, **destination: Any) -> Config:
    where = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    return Config.model_validate(
        {
            "node": {"ae_title": "DICOMNODE", "data_dir": folder},
            "destinations": [{**where, "commitment": "never", **destination}],
            "delivery": {"first_retry_s": 0.2, "longest_retry_s": 0.5},
        }
    )


def making_of(slide: SlideStudy) -> Making:
    """A drawn slide with a prediction that no model made."""
    headers = {path: dcmread(path, stop_before_pixels=True) for path in slide.paths}
    base = max(headers, key=lambda path: int(headers[path].get("TotalPixelMatrixRows", 0)))
    source, uids = headers[base], tuple(str(h.SOPInstanceUID) for h in headers.values())
    heatmap = Heatmap("tumor", values(source), (Patch(1, 1, 1.0), Patch(3, 4, 0.9)))
    outline = np.array([[9, 9], [9, 900], [900, 900], [900, 9], [9, 9]], float)
    result = prediction(
        source, heatmaps=(heatmap,), tissue_outlines=(outline,), base=str(source.SOPInstanceUID)
    )
    files = SlideFiles("s1", tuple(headers), uids, base)
    return Making(source, result, manifest(), PROVENANCE, files, number=0)


def make(ledger: Ledger, config: Config, slide: SlideStudy, *, asked: bool = True) -> list[Result]:
    """As the worker does: objects of a slide, by what the destination has answered."""
    (destination,) = config.destinations
    if asked:
        answer = ask(destination, "DICOMNODE")
        ledger.deliveries.note_destination("pacs", True, answer.accepted, answer.reason)
    goes = plan([destination], ledger.queries.destinations())
    making = making_of(slide)
    made = [_kept(b, config) for b in build_objects(replace(making, wanted=goes.asked))]
    ledger.arrivals.record(ReceivedInstance("1.9", "1", STUDY, "1.8", "1", 1, "1.dcm", "A", "p"))
    ledger.studies.close(Run(STUDY, 1, 0), Evidence(1))
    run = Run(STUDY, 1, 1)
    ledger.studies.start_analysis(run, "engine", "digest")
    assert ledger.deliveries.start(
        run, made, ["pacs"], only=goes.routes(made), told=goes.told(made)
    )
    return made


def _kept(built: BuiltObject, config: Config) -> Result:
    ds = built.dataset
    path = config.node.data_dir / f"{built.kind}.dcm"
    write(ds, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    uid, sop_class = str(ds.SOPInstanceUID), str(ds.SOPClassUID)
    return Result(uid, sop_class, built.kind, built.slide, path.name, digest)


@contextmanager
def delivering(ledger: Ledger, config: Config) -> Iterator[None]:
    stop = threading.Event()
    lanes = Lanes(config, ledger, stop, draw=lambda: 0.5)
    lanes.start()
    try:
        yield
    finally:
        stop.set()
        assert lanes.join(60)


def ended(ledger: Ledger) -> Revision:
    """The revision, once it is done or parked."""

    def over() -> Revision | None:
        for one in ledger.queries.in_state(State.DELIVERING):
            tend(ledger, one, {"pacs"})
        revision = ledger.queries.revision(STUDY)
        return revision if revision and revision.state in (State.DONE, State.PARKED) else None

    return wait_for(over, within_s=60, what="an end")  # type: ignore[no-any-return]


def kinds_of(pacs: ProfiledPacs, made: list[Result]) -> set[str]:
    by_uid = {r.sop_instance_uid: kinds.kind_of(r.kind) for r in made}
    found = (by_uid[str(ds.SOPInstanceUID)] for ds in pacs.came)
    return {kind.name for kind in found if kind}


def told(ledger: Ledger) -> str:
    return " ".join(str(e.fields) for e in ledger.queries.events(STUDY))


def rows(ledger: Ledger) -> dict[str, Delivery]:
    made = {r.sop_instance_uid: r.kind for r in ledger.queries.results(STUDY, 1)}
    return {made[d.sop_instance_uid]: d for d in ledger.queries.deliveries(STUDY, 1)}


@pytest.mark.parametrize("name", PROFILES)
def test_each_pacs_has_something_readable_in_the_end_or_the_study_says_why_not(
    name, ledger, tmp_path, phantom_study
):
    profile, state, has, says = PROFILES[name]
    with running(deepcopy(profile)) as pacs:
        config = config_of(tmp_path, pacs)
        made = make(ledger, config, phantom_study)
        with delivering(ledger, config):
            revision = ended(ledger)
        came = kinds_of(pacs, made)
        assert revision.state is state, revision.reason
        assert came >= has, came
        assert bool(came) is bool(has)
        assert says in f"{revision.reason} {told(ledger)}"
        assert all(ds.SOPClassUID in REPORTS for ds in pacs.came[:1]), "the report goes first"


def test_a_node_leaves_a_document_and_a_picture_where_nothing_else_is_known(
    phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with running(ProfiledPacs(explicit(SC, PDF))) as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        wait_for(lambda: n.ledger.queries.destinations(), what="the destination asked")
        storescu(n.port, phantom_study.folder)
        revision = n.finished(study)
        assert revision.state is State.DONE, revision.reason
        first, *others = pacs.came
        assert first.SOPClassUID == PDF
        assert {ds.SOPClassUID for ds in others} == {SC}
        assert {ds.StudyInstanceUID for ds in pacs.came} == {study}
        said = n.run("studies", "show", study).stdout
    assert "summary is sent in the place of report: it accepts no Comprehensive 3D SR" in said


def test_a_pacs_that_was_not_asked_before_and_refuses_the_report_gets_no_heatmap(
    ledger, tmp_path, phantom_study
):
    with running(ProfiledPacs(explicit(SR_TEXT, SEG))) as pacs:
        config = config_of(tmp_path, pacs)
        make(ledger, config, phantom_study, asked=False)
        with delivering(ledger, config):
            revision = ended(ledger)
        assert pacs.came == []
    assert revision.state is State.PARKED
    heatmap = rows(ledger)["heatmap-tumor"]
    assert heatmap.state is DeliveryState.REFUSED
    assert heatmap.error is not None
    assert heatmap.error.startswith("not sent without its report: ")
    assert "accepts no Comprehensive 3D SR Storage" in heatmap.error


def test_a_heatmap_waits_as_long_as_its_report_is_not_there(ledger, tmp_path, phantom_study):
    with running(ProfiledPacs(ALL, answers=0xA700)) as pacs:
        config = config_of(tmp_path, pacs)
        make(ledger, config, phantom_study)
        with delivering(ledger, config):
            wait_for(lambda: len(pacs.came) > 2, within_s=30, what="several tries")
            assert {ds.SOPClassUID for ds in pacs.came} == {SR_3D}
            pacs.answers = 0x0000
            assert ended(ledger).state is State.DONE
        assert [ds.SOPClassUID for ds in pacs.came][-2:] == [SR_3D, SEG]


def test_a_lane_whose_heatmaps_await_a_report_asks_on_for_proofs(
    ledger, tmp_path, phantom_study, monkeypatch
):
    rounds: list[int] = []
    monkeypatch.setattr("dicom_node.deliver.lanes.Prover.round", lambda _: rounds.append(1))
    with running(ProfiledPacs(ALL, answers=0xA700)) as pacs:
        config = config_of(tmp_path, pacs)
        slow = config.delivery.model_copy(update={"first_retry_s": 900, "longest_retry_s": 900})
        config = config.model_copy(update={"delivery": slow})
        make(ledger, config, phantom_study)
        with delivering(ledger, config):
            wait_for(lambda: pacs.came, within_s=30, what="the first try")
            rounds.clear()
            wait_for(lambda: len(rounds) > 1, within_s=30, what="proofs asked for")
        assert len(pacs.came) == 1
        assert rows(ledger)["heatmap-tumor"].state is DeliveryState.PENDING


def test_a_report_that_is_refused_by_status_keeps_the_heatmap_back(ledger, tmp_path, phantom_study):
    with running(ProfiledPacs(ALL, answers=0xA900)) as pacs:
        config = config_of(tmp_path, pacs)
        make(ledger, config, phantom_study)
        with delivering(ledger, config):
            revision = ended(ledger)
        assert {ds.SOPClassUID for ds in pacs.came} == {SR_3D}
    assert revision.state is State.PARKED
    assert "not sent without its report: pacs answered A900" in str(revision.reason)


# -- a class that is taken, and an object that is refused ------------------------------------------


def build_again(ledger: Ledger, config: Config, slide: SlideStudy) -> list[Result]:
    """As the worker does after a form was refused."""
    revision = ledger.queries.revision(STUDY)
    assert revision is not None
    assert revision.state is State.QUEUED
    refused = ledger.queries.refused_kinds(STUDY, 1)
    goes = plan(config.destinations, ledger.queries.destinations(), refused)
    wanted = replace(making_of(slide), wanted=goes.asked)
    made = [_kept(b, config) for b in build_objects(wanted)]
    ledger.studies.start_analysis(revision.run, "engine", "digest")
    assert ledger.deliveries.start(
        revision.run, made, ["pacs"], only=goes.routes(made), told=goes.told(made)
    )
    return made


def queued_again(ledger: Ledger) -> bool:
    revision = ledger.queries.revision(STUDY)
    return revision is not None and revision.state is State.QUEUED


@pytest.mark.parametrize("status", [0x0122, 0xA900, 0xC000])
def test_a_pacs_that_takes_the_class_and_refuses_the_object_gets_the_next_form(
    status, ledger, tmp_path, phantom_study
):
    refusing = ProfiledPacs(explicit(SR_3D, SR_TEXT, SEG), answers_to={SR_3D: status})
    with running(refusing) as pacs, capture_logs() as said:
        config = config_of(tmp_path, pacs)
        make(ledger, config, phantom_study)
        with delivering(ledger, config):
            wait_for(lambda: queued_again(ledger), within_s=30, what="the next form asked for")
            build_again(ledger, config, phantom_study)
            revision = ended(ledger)
        assert revision.state is State.DONE, revision.reason
        assert [ds.SOPClassUID for ds in pacs.came] == [SR_3D, SR_TEXT, SEG]
    code = f"{status:04X}"
    assert f"report-text is sent in the place of report: it answered {code} to report" in told(
        ledger
    )
    (line,) = [e for e in said if e["event"] == "refused_by_status"]
    assert line["reason"] == (
        f"pacs answered {code} to report: the next form that it accepts is made, report-text"
    )


def test_a_pacs_that_refuses_every_form_is_not_asked_for_ever(ledger, tmp_path, phantom_study):
    every = {SR_3D: 0xC000, SR_TEXT: 0xC000}
    with running(ProfiledPacs(explicit(SR_3D, SR_TEXT, SEG), answers_to=every)) as pacs:
        config = config_of(tmp_path, pacs)
        make(ledger, config, phantom_study)
        with delivering(ledger, config):
            wait_for(lambda: queued_again(ledger), within_s=30, what="the next form asked for")
            build_again(ledger, config, phantom_study)
            revision = ended(ledger)
        assert revision.state is State.PARKED
        assert "pacs answered C000" in str(revision.reason)
        assert [ds.SOPClassUID for ds in pacs.came] == [SR_3D, SR_TEXT]
    ledger.studies.retry(STUDY)
    assert ledger.queries.refused_kinds(STUDY, 1) == {}, "a person has asked for a new try"


def test_a_node_sends_the_next_form_by_itself_and_analyzes_nothing_twice(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    refusing = ProfiledPacs(explicit(SR_3D, SR_TEXT, SEG), answers_to={SR_3D: 0xA900})
    with running(refusing) as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        wait_for(lambda: n.ledger.queries.destinations(), what="the destination asked")
        storescu(n.port, phantom_study.folder)
        revision = n.finished(study)
        assert revision.state is State.DONE, revision.reason
        assert [ds.SOPClassUID for ds in pacs.came][:2] == [SR_3D, SR_TEXT]
        assert {ds.SOPClassUID for ds in pacs.came[2:]} == {SEG}
        done = [e for e in n.ledger.queries.events(study) if e.kind == "results_built"]
        assert len(done) == 2
        (kept,) = (tmp_path / "node").rglob("prediction-*.npz")
        assert kept.stat().st_mtime < done[0].at, "what was predicted is used once more"
        said = n.run("studies", "show", study).stdout
    assert "report-text is sent in the place of report: it answered A900 to report" in said


def test_explicit_segmentations_arrive_so_with_the_same_pixels(ledger, tmp_path, phantom_study):
    with running(ProfiledPacs(ALL)) as pacs:
        config = config_of(tmp_path, pacs, seg_syntax="explicit")
        make(ledger, config, phantom_study)
        with delivering(ledger, config):
            assert ended(ledger).state is State.DONE
        (sent,) = (ds for ds in pacs.came if ds.SOPClassUID == SEG)
    assert sent.file_meta.TransferSyntaxUID == EXPLICIT
    own = dcmread(tmp_path / "heatmap-tumor.dcm")
    assert own.file_meta.TransferSyntaxUID == JPEG_LS
    assert (sent.pixel_array == own.pixel_array).all()


# -- a table of the tests' own ---------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch):
    """A kind that stands for the report: a Basic Text SR."""

    def make_text(making: Making) -> list[BuiltObject]:
        report = next(b.dataset for b in making.made if b.kind == "report")
        ds = deepcopy(report)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SR_TEXT
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{report.SOPInstanceUID}.1"
        text = Dataset()
        text.RelationshipType, text.ValueType, text.TextValue = "CONTAINS", "TEXT", "Read me."
        text.ConceptNameCodeSequence = deepcopy(ds.ConceptNameCodeSequence)
        ds.ContentSequence = [text]
        del ds.ContentTemplateSequence
        return [BuiltObject("text", making.slide.key, ds)]

    module = ModuleType("a_text")
    module.make = make_text  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_text", module)
    text = SopClass(SR_TEXT, "Basic Text SR Storage", (EXPLICIT_VR_LE,))
    line = kinds.Kind(
        "text", text, "a_text", needs_prediction=False, asked=True, instead_of="report"
    )
    monkeypatch.setattr(kinds, "KINDS", (kinds.HEATMAP, kinds.REPORT, line))


def test_what_stands_for_the_report_goes_first_and_the_heatmap_follows_it(
    stand_in, ledger, tmp_path, phantom_study
):
    with running(ProfiledPacs(explicit(SR_TEXT, SEG))) as pacs:
        config = config_of(tmp_path, pacs)
        make(ledger, config, phantom_study)
        with delivering(ledger, config):
            assert ended(ledger).state is State.DONE
        assert [ds.SOPClassUID for ds in pacs.came] == [SR_TEXT, SEG]
    assert "text is sent in the place of report" in told(ledger)


def test_after_an_answer_a_retry_sends_what_stands_for_what_was_refused(
    stand_in, ledger, tmp_path, phantom_study
):
    with running(ProfiledPacs(explicit(SR_TEXT, SEG))) as pacs:
        config = config_of(tmp_path, pacs)
        make(ledger, config, phantom_study, asked=False)
        with delivering(ledger, config):
            parked = ended(ledger)
        assert parked.state is State.PARKED
        assert "`dicom-node retry` sends it" in str(parked.reason)
        assert set(plan(config.destinations, ledger.queries.destinations()).asked) == {"text"}


# -- 0111 ------------------------------------------------------------------------------------------

CONTENT = ("SOPClassUID", "ContentDate", "ContentTime", "InstanceNumber")


def held_otherwise(made: list[Result], folder: Path, **other: Any) -> dict[str, Dataset]:
    """What a PACS has under the UIDs of some results: the same, but for some attributes."""
    found = {r.sop_instance_uid: dcmread(folder / r.path) for r in made}
    for ds in found.values():
        for keyword, value in other.items():
            setattr(ds, keyword, value)
    return found


def duplicates(
    ledger: Ledger, tmp_path: Path, phantom_study: SlideStudy, pacs: ProfiledPacs, **other: Any
) -> Revision:
    """Where a study ends at a PACS that says of all that it has it already."""
    with running(pacs):
        config = config_of(tmp_path, pacs)
        made = make(ledger, config, phantom_study)
        pacs.holds = held_otherwise(made, tmp_path, **other)
        with delivering(ledger, config):
            return ended(ledger)


@pytest.mark.parametrize("way", ["query", "retrieval"])
def test_other_content_under_our_uid_is_an_alarm(way, ledger, tmp_path, phantom_study):
    pacs = ProfiledPacs(ALL, answers=0x0111, finds=True, gets=way == "retrieval",
                        tells=CONTENT if way == "query" else ())  # fmt: skip
    changed = {"ContentTime": "111111"} if way == "query" else {"ContentSequence": []}
    revision = duplicates(ledger, tmp_path, phantom_study, pacs, **changed)
    assert revision.state is State.PARKED
    assert "holds other content under the SOP Instance UID" in rows(ledger)["report"].error
    (alarm,) = (e for e in ledger.queries.events(STUDY) if e.kind == "other_content")
    expected = "ContentTime is 111111" if way == "query" else "ContentSequence differs"
    assert expected in alarm.fields["reason"]
    assert {ds.SOPClassUID for ds in pacs.came} == {SR_3D}, "no heatmap beside a foreign report"


@pytest.mark.parametrize(
    ("finds", "gets", "says", "proof"),
    [
        (False, False, "which is believed: it answers no query", None),
        (True, False, "that its content is ours is believed", Proof.FOUND),
        (True, True, "its content was compared", Proof.FOUND),
        (False, True, "its content was compared", Proof.FOUND),
    ],
)
def test_what_is_not_answered_is_no_alarm_and_what_is_the_same_is_said_to_be(
    finds, gets, says, proof, ledger, tmp_path, phantom_study
):
    pacs = ProfiledPacs(ALL, answers=0x0111, finds=finds, gets=gets)
    # An archive may correct whose it is.
    assert (
        duplicates(ledger, tmp_path, phantom_study, pacs, PatientName="Other^Name").state
        is State.DONE
    )
    for row in rows(ledger).values():
        assert says in str(row.error)
        assert row.proof is proof


def test_an_answer_with_whole_seconds_and_empty_keys_is_no_alarm(ledger, tmp_path, phantom_study):
    pacs = ProfiledPacs(ALL, answers=0x0111, finds=True, tells=(*CONTENT, "NumberOfFrames"))
    other = {"ContentTime": "223015.000", "ContentDate": "", "NumberOfFrames": None}
    assert duplicates(ledger, tmp_path, phantom_study, pacs, **other).state is State.DONE


def test_the_same_pixels_in_another_syntax_are_the_same_content(ledger, tmp_path, phantom_study):
    pacs = ProfiledPacs(explicit(SR_3D, SEG), answers=0x0111, gets=True)
    with running(pacs):
        config = config_of(tmp_path, pacs)
        made = make(ledger, config, phantom_study)
        pacs.holds = held_otherwise(made, tmp_path)
        for ds in pacs.holds.values():
            if ds.SOPClassUID == SEG:
                ds.decompress(generate_instance_uid=False)
        with delivering(ledger, config):
            assert ended(ledger).state is State.DONE
    assert "its content was compared" in str(rows(ledger)["heatmap-tumor"].error)


def test_one_other_pixel_is_an_alarm(ledger, tmp_path, phantom_study):
    pacs = ProfiledPacs(explicit(SR_3D, SEG), answers=0x0111, gets=True)
    with running(pacs):
        config = config_of(tmp_path, pacs)
        made = make(ledger, config, phantom_study)
        pacs.holds = held_otherwise(made, tmp_path)
        for ds in pacs.holds.values():
            if ds.SOPClassUID == SEG:
                ds.decompress(generate_instance_uid=False)
                ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]
        with delivering(ledger, config):
            assert ended(ledger).state is State.PARKED
    assert "PixelData differs" in str(rows(ledger)["heatmap-tumor"].error)
    assert rows(ledger)["report"].state is DeliveryState.DELIVERED
