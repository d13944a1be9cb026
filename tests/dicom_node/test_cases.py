"""A student of cases in a node: one bag of the slides of a study, one report, and when it comes
again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from case_students import by_hand, case_student
from nodes import Node, dicom_node, node, storescp, storescu, study_of, wait_for
from pydicom import Dataset, dcmread
from several import model, student, study
from validators import dciodvfy_errors, template_errors

from dicom_node.ledger.states import State
from dicom_node.view.reading import Group, read_groups
from engines.bundle import open_bundle
from engines.runtime import open_runtime
from inference import predict
from inference.seen import Seen
from inference.slide.files import group
from inference.slide.headers import read_header
from slides import as_concatenation

SR = "1.2.840.10008.5.1.4.1.1.88.34"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture(scope="module")
def lung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case_student(tmp_path_factory.mktemp("bundles") / "lung", "lung")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of lung, one of liver."""
    folder = tmp_path_factory.mktemp("slides") / "case"
    return study(folder, {"A": "lung", "B": "lung", "X": "liver"})


def one_model(bundle: Path) -> str:
    return f'[model]\nbundle = "{bundle}"\nallow_fixture = true\nprecision = "fp32"\n'


def run_on(n: Node, models: str) -> None:
    n.config.write_text(n.config.read_text() + models)
    n.start("ingest")
    n.work()


def reports_of(objects: list[Dataset]) -> list[Dataset]:
    return [o for o in objects if o.SOPClassUID == SR]


def by_title(report: Dataset) -> dict[str, Group]:
    return {group.title: group for group in read_groups(report)}


def risk_by_hand(bundle: Path, *folders: Path) -> float:
    """What ONNX Runtime says of the features of these slides, in the order of their keys."""
    keyed = {}
    with open_runtime(open_bundle(bundle), engine="onnxruntime") as runtime:
        for folder in folders:
            (slide,) = group(read_header(path) for path in sorted(folder.iterdir()))
            seen = predict.look(slide.paths, runtime)
            assert isinstance(seen, Seen)
            keyed[slide.key] = np.array(seen.values[0]["features"])
    answer = by_hand(bundle, np.concatenate([keyed[key] for key in sorted(keyed)]))
    return float(answer["risk"][0])


def value_of(report: Dataset, name: str) -> float:
    (value,) = (m.value for g in read_groups(report) for m in g.measurements
                if g.title == "case 1" and m.name == name)  # fmt: skip
    return float(value)


def test_a_study_has_one_report_of_all_its_slides_with_the_value_of_one_bag(lung, slides, tmp_path):
    uid = study_of(slides / "A")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        run_on(n, one_model(lung))
        assert storescu(n.port, slides).returncode == 0
        revision = n.finished(uid)
        assert revision.state is State.DONE, revision.reason
        objects = pacs.objects()
        assert sorted(o.SOPClassUID for o in objects) == [SEG] * 4 + [SR]
        (report,) = reports_of(objects)
        expected = risk_by_hand(lung, slides / "A", slides / "B")
        assert value_of(report, "Risk score") == pytest.approx(expected, rel=2e-3)
        alone = [risk_by_hand(lung, slides / name) for name in ("A", "B")]
        assert all(abs(one - expected) > 0.005 for one in alone), "the bag is of both"
        groups = by_title(report)
        assert "1 of 3 slides of the case left out" in groups["case 1"].comments[0]
        told = " ".join(groups["case 1"].comments)
        assert "(container X): Slide of another model" in told
        assert "(container A)" in told
        assert "(container B)" in told
        (left_out,) = (g for g in groups.values() if ("Use in the case", "Left out")
                       in g.evaluations)  # fmt: skip
        assert "Organ: found liver, needed lung" in " ".join(left_out.comments)
        assert report.CompletionFlag == "COMPLETE"
        assert "case" in n.run("studies", "show", uid).stdout
        assert "report of the case" in n.run("studies", "show", uid).stdout
        assert not list(n.folder.rglob("tiles-*"))
        for path in pacs.folder.iterdir():
            assert dciodvfy_errors(path) == []
            if path.name.startswith("SR"):
                assert template_errors(path) == []


def test_a_late_slide_gives_a_new_report_that_replaces_the_one_before(lung, slides, tmp_path):
    uid = study_of(slides / "A")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        run_on(n, one_model(lung))
        storescu(n.port, slides / "A")
        n.finished(uid)
        (first,) = reports_of(pacs.objects())
        storescu(n.port, slides / "B")
        wait_for(lambda: n.ledger.queries.revision(uid).revision == 2, what="a new revision")
        assert n.finished(uid).state is State.DONE
        (second,) = (r for r in reports_of(pacs.objects())
                     if r.SOPInstanceUID != first.SOPInstanceUID)  # fmt: skip
        (named,) = second.PredecessorDocumentsSequence
        replaced = named.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert replaced.ReferencedSOPInstanceUID == first.SOPInstanceUID
        assert value_of(first, "Risk score") == pytest.approx(
            risk_by_hand(lung, slides / "A"), rel=2e-3
        )
        assert value_of(second, "Risk score") == pytest.approx(
            risk_by_hand(lung, slides / "A", slides / "B"), rel=2e-3
        )


def test_an_incomplete_slide_is_left_out_and_its_last_part_gives_a_whole_report(
    lung, slides, tmp_path
):
    whole, split = tmp_path / "whole", tmp_path / "split"
    shutil.copytree(slides / "A", whole)
    parts = as_concatenation(slides / "B", split, 2)
    last = max(parts, key=lambda path: dcmread(path).get("InConcatenationNumber") or 0)
    kept_back = tmp_path / "last"
    kept_back.mkdir()
    last.rename(kept_back / last.name)
    uid = study_of(whole)
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, extra="incomplete_after_s = 2") as n,
    ):
        run_on(n, one_model(lung))
        assert storescu(n.port, whole, split).returncode == 0
        assert n.finished(uid).state is State.PARKED, "an operator is told what is missing"
        (first,) = reports_of(pacs.objects())
        assert first.CompletionFlag == "PARTIAL"
        said = by_title(first)["case 1"].comments[0]
        assert said.startswith("Caution: 1 of 2 slides of the case left out: ")
        assert "Slide incomplete" in said
        assert value_of(first, "Risk score") == pytest.approx(risk_by_hand(lung, whole), rel=2e-3)
        storescu(n.port, kept_back)
        wait_for(lambda: n.ledger.queries.revision(uid).revision == 2, what="a new revision")
        assert n.finished(uid).state is State.DONE
        (second,) = (r for r in reports_of(pacs.objects())
                     if r.SOPInstanceUID != first.SOPInstanceUID)  # fmt: skip
        assert second.CompletionFlag == "COMPLETE"
        assert "PredecessorDocumentsSequence" in second
        expected = risk_by_hand(lung, slides / "A", slides / "B")
        assert value_of(second, "Risk score") == pytest.approx(expected, rel=2e-3)


def test_slides_of_two_patients_have_no_report_together_and_the_study_is_parked(
    lung, slides, tmp_path
):
    mixed = tmp_path / "mixed"
    shutil.copytree(slides, mixed)
    for path in (mixed / "B").iterdir():
        ds = dcmread(path)
        ds.PatientID = "SOMEBODY-ELSE"
        ds.save_as(path)
    any_slide = model("slides", student(tmp_path / "any"))
    models = model("cases", lung) + any_slide
    uid = study_of(mixed / "A")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        run_on(n, models)
        storescu(n.port, mixed)
        revision = n.finished(uid)
        assert revision.state is State.PARKED
        assert "case: files of different patients: PatientID" in (revision.reason or "")
        assert "SOMEBODY-ELSE" not in (revision.reason or "")
        assert sorted(o.SOPClassUID for o in pacs.objects()) == [SEG] * 3 + [SR] * 3


KILLS = {
    "in analyze, after some tiles": 6,
    "in analyze, after the case is kept": 1,
    "in build, after one object": 2,
    "in build, after the rows are written": 1,
}


@pytest.fixture(scope="module")
def undisturbed(lung, slides, tmp_path_factory) -> list[str]:
    """What the objects of a case say where nothing happened."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        run_on(n, one_model(lung))
        storescu(n.port, slides)
        assert n.finished(study_of(slides / "A")).state is State.DONE
        return sorted(map(shown, pacs.objects()))


def shown(one: Dataset) -> str:
    """What a report says, or the pixels of a map: the times of two nodes differ."""
    if one.SOPClassUID == SR:
        return str([(g.title, g.comments, g.measurements) for g in read_groups(one)])
    return bytes(one.PixelData).hex()


@pytest.mark.parametrize("point", KILLS)
def test_after_kill_9_a_case_has_one_result_set(point, undisturbed, lung, slides, tmp_path):
    uid = study_of(slides / "A")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.config.write_text(n.config.read_text() + one_model(lung))
        n.start("ingest")
        assert storescu(n.port, slides).returncode == 0
        n.crash(point, KILLS[point])
        n.work()
        assert n.finished(uid).state is State.DONE
        assert sorted(map(shown, pacs.objects())) == undisturbed
        results = n.ledger.queries.results(uid, 1)
        assert set(pacs.digests()) == {r.sop_instance_uid for r in results}
        assert not list(n.folder.rglob("tiles-*"))


def test_a_silent_case_sends_nothing_and_goes_live_by_a_switch_and_a_retry(lung, slides, tmp_path):
    uid = study_of(slides / "A")
    live = model("slides", student(tmp_path / "any"))
    silent = model("cases", lung, silent=True)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        run_on(n, live + silent)
        storescu(n.port, slides)
        assert n.finished(uid).state is State.DONE
        sent = {str(o.SOPInstanceUID) for o in pacs.objects()}
        assert len(sent) == 6
        kept = [r for r in n.ledger.queries.results(uid, 1) if r.silent]
        assert sorted((r.kind, r.slide == "case") for r in kept) == sorted(
            [("heatmap-tumor", False), ("attention", False)] * 2 + [("report", True)]
        )
        n.kill()
        n.config.write_text(n.config.read_text().replace("silent = true", "silent = false"))
        n.start("ingest")
        n.work()
        assert n.run("retry", uid).returncode == 0
        wait_for(lambda: len(n.ledger.queries.deliveries(uid, 1)) == 11, what="the case is live")
        assert n.finished(uid).state is State.DONE
        assert sent < {str(o.SOPInstanceUID) for o in pacs.objects()}
        numbers = [int(o.SeriesNumber) for o in pacs.objects()]
        assert len(numbers) == len(set(numbers))
        (case,) = (o for o in reports_of(pacs.objects()) if "case 1" in by_title(o))
        assert "AI case report" in case.SeriesDescription


def test_files_of_several_slides_are_analyzed_as_one_case(lung, slides, tmp_path):
    two = tmp_path / "two"
    for name in ("A", "B"):
        shutil.copytree(slides / name, two / name)
    done = dicom_node("analyze", str(two), "--bundle", str(lung), "--out", str(tmp_path / "out"),
                      "--precision", "fp32", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    report = dcmread(answer["objects"]["report"])
    expected = risk_by_hand(lung, slides / "A", slides / "B")
    assert value_of(report, "Risk score") == pytest.approx(expected, rel=2e-3)
    assert len(answer["objects"]) == 5
    assert "Slides used (2)" in " ".join(by_title(report)["case 1"].comments)


def test_route_and_check_tell_that_a_model_is_of_cases(lung, slides, tmp_path):
    with node(tmp_path / "node", 4242) as n:
        n.config.write_text(n.config.read_text() + model("cases", lung))
        routed = n.run("route", str(slides)).stdout
        assert "runs       cases, for the whole case: one report of all slides" in routed
        told = json.loads(n.run("route", str(slides), "--json").stdout)
        assert [taken["is_of_cases"] for one in told for taken in one["taken"]] == [True, True]
        assert "every file as listed; one report of all slides of a study" in n.run("check").stdout
