"""What each destination is sent: purely, over a table of kinds and what it accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.config.loading import ConfigError
from dicom_node.config.peers import Destination
from dicom_node.deliver.choose import choices_of, plan, require_known
from dicom_node.deliver.forms.chains import chain, is_report
from dicom_node.ledger.rows import DestinationSeen, Result
from dicom_node.results import kinds
from dicom_node.results.kinds import Kind
from dicom_node.sop_classes import (
    COMPREHENSIVE_3D_SR,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    JPEG_LS_LOSSLESS,
    SEGMENTATION,
    SopClass,
)

EXPLICIT, IMPLICIT, JPEG_LS = EXPLICIT_VR_LE.uid, IMPLICIT_VR_LE.uid, JPEG_LS_LOSSLESS.uid
SR, SEG = COMPREHENSIVE_3D_SR, SEGMENTATION
TEXT = SopClass("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage", (EXPLICIT_VR_LE,))
PDF = SopClass("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage", (EXPLICIT_VR_LE,))
WSM = SopClass("1.2.840.10008.5.1.4.1.1.77.1.6", "VL Whole Slide", (EXPLICIT_VR_LE,))
SC = SopClass("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture", (EXPLICIT_VR_LE,))


def kind(name: str, sop_class: SopClass, instead_of: str = "", *, asked: bool = True) -> Kind:
    return Kind(name, sop_class, "no.module", False, asked=asked, instead_of=instead_of)


TABLE = (
    kind("heatmap", SEG, asked=False),
    kind("region", SEG, asked=False),
    kind("report", SR, asked=False),
    kind("report-text", TEXT, "report"),
    kind("summary", PDF, "report"),
    kind("overlay", WSM, "heatmap"),
    kind("capture", SC, "overlay"),
    kind("map", PDF),
)


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", TABLE)
    return TABLE


def destination(**more: object) -> Destination:
    fixed = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    return Destination.model_validate({**fixed, **more})


def accepts(*classes: SopClass, syntax: str = EXPLICIT) -> dict[str, list[str]]:
    return {k.sop_class.uid: [] for k in TABLE} | {c.uid: [syntax] for c in classes}


def sent(accepted: dict[str, list[str]] | None, **more: object) -> dict[str, str]:
    return {c.asked: c.sent for c in choices_of(destination(**more), accepted)}


def result(kind: str, uid: str) -> Result:
    return Result(uid, "1", kind, "s", f"{uid}.dcm", "x")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ((SR, SEG), {"heatmap": "heatmap", "region": "region", "report": "report"}),
        ((SR,), {"heatmap": "", "region": "", "report": "report"}),
        ((TEXT, PDF, SEG), {"heatmap": "heatmap", "region": "region", "report": "report-text"}),
        ((SC, PDF), {"heatmap": "capture", "region": "", "report": "summary"}),
        ((SR, WSM, SC), {"heatmap": "overlay", "region": "", "report": "report"}),
        ((), {"heatmap": "", "region": "", "report": "report"}),
    ],
)
def test_the_first_of_the_chain_that_is_accepted_is_sent(table, classes, expected):
    assert sent(accepts(*classes)) == expected


def test_whoever_has_not_answered_yet_gets_what_was_asked(table):
    assert set(sent(None).values()) == {"heatmap", "region", "report"}


def test_a_class_that_an_earlier_version_did_not_ask_for_is_not_taken_for_refused(table):
    earlier = {SR.uid: [EXPLICIT], SEG.uid: []}
    assert sent(earlier, objects=["report", "summary", "region"]) == {
        "report": "report",
        "summary": "summary",
        "region": "",
    }
    assert sent({**earlier, SR.uid: []})["report"] == "report-text"


def test_what_is_asked_for_is_sent_besides_and_each_only_once(table):
    assert sent(accepts(SR, SEG, PDF), objects=("report", "map", "report")) == {
        "report": "report",
        "map": "map",
    }
    both = plan([destination(objects=["report", "summary"])], seen(accepts(PDF)))
    made = [result("summary", "1.1"), result("report", "1.2")]
    assert both.routes(made) == {"pacs": {"1.1"}}


def test_a_class_in_a_syntax_that_nobody_sends_is_as_good_as_refused(table):
    assert sent(accepts(SR, SEG, syntax="1.2.840.10008.1.2.5"))["heatmap"] == ""


def test_a_site_that_wants_explicit_segmentations_is_not_sent_jpeg_ls(table):
    only_jpeg_ls = {**accepts(SR), SEG.uid: [JPEG_LS]}
    assert sent(only_jpeg_ls)["heatmap"] == "heatmap"
    assert sent(only_jpeg_ls, seg_syntax="explicit")["heatmap"] == ""
    assert sent({**only_jpeg_ls, SEG.uid: [IMPLICIT]}, seg_syntax="explicit")["heatmap"]


def test_what_is_sent_otherwise_is_told_in_one_sentence_each(table):
    told = [c.told for c in choices_of(destination(), accepts(PDF, WSM)) if c.told]
    assert told == [
        "overlay is sent in the place of heatmap: it accepts no Segmentation Storage",
        "region is left out: it accepts no Segmentation Storage",
        "summary is sent in the place of report: it accepts no Comprehensive 3D SR Storage and no "
        "Basic Text SR Storage",
    ]
    (*_, last) = choices_of(destination(), accepts(SEG))
    assert last.is_hopeless
    assert "cannot be sent in any form, and so nothing is" in last.told


def test_only_what_some_destination_needs_is_made(table):
    full, poor = destination(name="full"), destination(name="poor")
    answers = {**seen(accepts(SR, SEG), "full"), **seen(accepts(PDF, SC), "poor")}
    both = plan([full, poor], answers)
    assert both.asked == {"summary", "capture"}
    made = [result(k, k) for k in ("heatmap-tumor", "report", "summary", "capture")]
    assert both.routes(made) == {
        "full": {"heatmap-tumor", "report"},
        "poor": {"summary", "capture"},
    }
    assert list(both.told(made)) == ["poor"]
    assert plan([full], answers).asked == frozenset()


def test_a_report_that_goes_in_no_form_is_told_to_an_operator(table):
    poor = plan([destination()], seen(accepts(PDF, SC)))
    case = [result("heatmap-tumor", "1"), replace(result("report", "2"), slide="case")]
    assert poor.routes(case) == {"pacs": frozenset()}
    assert poor.lacking(case) == ["pacs gets no report of the case: there is no summary of it"]
    assert poor.told(case)["pacs"][0] == "heatmap is left out: no capture is made of it"
    slide = [result(k, k) for k in ("heatmap-tumor", "report", "summary", "capture")]
    assert poor.lacking(slide) == []
    both = [*slide, replace(result("report", "3"), slide="t", model="m")]
    assert poor.lacking(both) == ["pacs gets no report of slide t: there is no summary of it"]
    assert poor.lacking([replace(r, silent=True) for r in case]) == []
    assert plan([destination()], {}).lacking(case) == []


def test_nobody_is_told_of_what_stands_for_what_there_is_none_of(table):
    poor = plan([destination()], seen(accepts(SR, SC)))
    assert poor.told([result("report", "1")])["pacs"] == [
        "region is left out: it accepts no Segmentation Storage"
    ]


def test_a_destination_that_could_not_be_asked_is_judged_by_its_last_answer(table):
    down = DestinationSeen(1.0, False, accepts(PDF), "cannot be reached")
    assert plan([destination()], {"pacs": down}).asked == {"summary"}
    never = DestinationSeen(1.0, False, {}, "cannot be reached")
    assert plan([destination()], {"pacs": never}).asked == frozenset()


def test_chains_go_on_over_stand_ins_of_stand_ins(table):
    assert [k.name for k in chain("heatmap")] == ["heatmap", "overlay", "capture"]
    assert [k.name for k in chain("report")] == ["report", "report-text", "summary"]
    assert all(is_report(name) for name in ("report", "report-text", "summary"))
    assert not any(is_report(name) for name in ("heatmap-tumor", "overlay", "map", "no-such-kind"))


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        (["report", "picture"], "found picture, expected some of heatmap, region, report"),
        (["heatmap"], "no report: nothing is sent without one, so add report or report-text"),
    ],
)
def test_objects_that_nobody_makes_and_pictures_without_a_report_are_refused(table, objects, says):
    with pytest.raises(ConfigError, match=f"destinations.pacs.objects: .*{says}"):
        require_known([destination(objects=objects)])


def test_what_is_made_unasked_and_a_stand_in_for_the_report_are_fine(table):
    require_known([destination(), destination(objects=["summary", "overlay"])])


def test_what_is_shipped_can_be_sent_by_default_and_stands_for_kinds_that_exist():
    require_known([destination()])
    assert chain("report")[0] is kinds.REPORT
    assert all(not k.instead_of or k.instead_of in {o.name for o in kinds.KINDS}
               for k in kinds.KINDS)  # fmt: skip


def seen(accepted: dict[str, list[str]], name: str = "pacs") -> dict[str, DestinationSeen]:
    return {name: DestinationSeen(1.0, True, accepted, "")}
