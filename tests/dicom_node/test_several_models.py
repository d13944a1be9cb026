"""Several students in one node: each slide by those that are made for it, and what is said else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nodes import node, storescp, storescu, study_of, wait_for
from pydicom import Dataset
from several import digest, model, of_method, student, study
from validators import dciodvfy_errors, template_errors

from dicom_node.ledger.states import State
from dicom_node.view.reading import read_groups
from engines.bundle import open_bundle

SR = "1.2.840.10008.5.1.4.1.1.88.34"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {organ: student(folder / organ, organ) for organ in ("lung", "breast", "colon")}
    return made | {"any": student(folder / "any")}


@pytest.fixture(scope="module")
def of_four_organs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides") / "four"
    return study(folder, {"L": "lung", "B": "breast", "C": "colon", "X": "liver"})


@pytest.fixture(scope="module")
def of_lung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("slides") / "lung", {"L": "lung"})


def analyzed(folder: Path, slides: Path, models: str, **options):
    """The objects that a PACS has of a study, and the node that made them."""
    uid = study_of(next(p for p in sorted(slides.iterdir()) if p.is_dir()))
    with (
        storescp(folder / "pacs") as pacs,
        node(folder / "node", pacs.port, **options) as n,
    ):
        n.config.write_text(n.config.read_text() + models)
        n.start("ingest")
        assert storescu(n.port, slides).returncode == 0
        n.work()
        revision = n.finished(uid)
        assert revision.state is State.DONE, revision.reason
        return pacs, n, uid


def container(report: Dataset) -> str:
    """Container Identifier that a report says it is of."""
    text = str(report)
    return next(c for c in "LBCX" if f"'{c}'" in text)


def shown(one: Dataset) -> str:
    """What a report says, or the pixels of a map: the times of two runs differ."""
    if one.SOPClassUID == SR:
        return str([(g.comments, g.measurements, g.evaluations) for g in read_groups(one)])
    return bytes(one.PixelData).hex()


def said(report: Dataset) -> str:
    return " ".join(comment for group in read_groups(report) for comment in group.comments)


def test_slides_of_three_organs_get_the_report_of_their_model_and_a_fourth_a_refusal(
    bundles, of_four_organs, tmp_path
):
    models = "".join(model(name, bundles[name]) for name in ("lung", "breast", "colon"))
    pacs, n, uid = analyzed(tmp_path, of_four_organs, models)
    objects = pacs.objects()
    assert sorted(o.SOPClassUID for o in objects) == [SEG] * 3 + [SR] * 4
    assert len({o.SeriesInstanceUID for o in objects}) == 7
    assert len({o.SeriesNumber for o in objects}) == 7
    reports = {container(o): o for o in objects if o.SOPClassUID == SR}
    for name, of in {"lung": "L", "breast": "B", "colon": "C"}.items():
        report = reports[of]
        assert digest(bundles[name]) in report.to_json()
        assert f"The organ is {name}, by Primary Anatomic Structure Sequence" in said(report)
        assert any(group.measurements for group in read_groups(report))
    (group,) = read_groups(reports["X"])
    assert ("Reason not predictable", "No model applies") in group.evaluations
    assert not group.measurements
    assert "The organ is liver" in said(reports["X"])
    assert "Model breast: Organ: found liver, needed breast." in said(reports["X"])
    assert not any(digest(b) in reports["X"].to_json() for b in bundles.values())
    assert reports["X"].SeriesDescription == "AI report X: no model applies"
    kept = {r.model for r in n.ledger.queries.results(uid, 1)}
    assert kept == {"lung", "breast", "colon", ""}
    for path in pacs.folder.iterdir():
        assert dciodvfy_errors(path) == []
        if str(path.name).startswith("SR"):
            assert template_errors(path) == []


def test_exported_graphs_of_three_methods_answer_for_three_organs_in_one_node(
    of_four_organs, tmp_path
):
    pytest.importorskip("torch")
    labels = {"lung": "ghanet", "breast": "disentangled survival", "colon": "mkd"}
    made = {organ: of_method(tmp_path / organ, label, organ) for organ, label in labels.items()}
    models = "".join(model(organ, bundle) for organ, bundle in made.items())
    pacs, *_ = analyzed(tmp_path, of_four_organs, models)
    reports = {container(o): o for o in pacs.objects() if o.SOPClassUID == SR}
    for organ, of in {"lung": "L", "breast": "B", "colon": "C"}.items():
        first = read_groups(reports[of])[0]
        assert ("Algorithm", labels[organ]) in first.algorithm
        assert first.measurements
    assert "NA-MODEL" in reports["X"].to_json()
    for path in pacs.folder.iterdir():
        assert dciodvfy_errors(path) == []


def test_fixtures_that_the_commands_of_training_made_answer_for_three_organs_in_one_node(
    of_four_organs, tmp_path
):
    pytest.importorskip("torch")
    from drawn_cohorts import command, draw_cohort  # which need torch

    cohort = draw_cohort(tmp_path, "default")  # outcomes are drawn: the students are fixtures
    command("fit", "meanpool", "--cohort", cohort, "--out", tmp_path / "run", "--fold", 0,
            "--epochs", 1)  # fmt: skip
    made = {organ: tmp_path / organ for organ in ("lung", "breast", "colon")}
    for organ, out in made.items():
        command("export", tmp_path / "run", "--encoder", "default", "--out", out,
                "--name", f"fixture-{organ}", "--organ", organ, "--fixture")  # fmt: skip
    models = "".join(model(organ, bundle) for organ, bundle in made.items())
    pacs, *_ = analyzed(tmp_path, of_four_organs, models)
    reports = {container(o): o for o in pacs.objects() if o.SOPClassUID == SR}
    for organ, of in {"lung": "L", "breast": "B", "colon": "C"}.items():
        assert digest(made[organ]) in reports[of].to_json()
        assert any(group.measurements for group in read_groups(reports[of]))
    assert "NA-MODEL" in reports["X"].to_json()
    for bundle in made.values():
        assert open_bundle(bundle).manifest.status == "fixture"


def test_models_on_one_slide_give_series_of_their_own_and_a_silent_one_changes_nothing_of_them(
    bundles, of_lung, tmp_path
):
    live = model("lung", bundles["lung"]) + model("any", bundles["any"])
    pacs, *_ = analyzed(tmp_path / "without", of_lung, live)
    alone = sorted((o.SeriesNumber, shown(o)) for o in pacs.objects())
    assert len(alone) == 4
    assert len({o.SeriesInstanceUID for o in pacs.objects()}) == 4

    tried = model("tried", bundles["any"], silent=True, priority=5, precision="fp32")
    pacs, n, uid = analyzed(tmp_path / "with", of_lung, live + tried)
    assert sorted((o.SeriesNumber, shown(o)) for o in pacs.objects()) == alone
    results = n.ledger.queries.results(uid, 1)
    silent = [r for r in results if r.silent]
    assert [r.model for r in silent] == ["tried", "tried"]
    assert len({r.sop_instance_uid for r in results}) == 6
    sent = {d.sop_instance_uid for d in n.ledger.queries.deliveries(uid, 1)}
    assert sent == {str(o.SOPInstanceUID) for o in pacs.objects()}
    assert all((n.folder / "node-data" / r.path).is_file() for r in silent)
    runs = {run.model: run for run in n.ledger.queries.models(n.ledger.queries.revision(uid).run)}
    assert runs.keys() == {"lung", "any", "tried"}
    assert runs["tried"].silent
    assert runs["tried"].precision == "fp32"
    assert runs["lung"].bundle_digest == digest(bundles["lung"])
    assert all(run.worked_s > 0 for run in runs.values())
    listed = n.run("studies").stdout
    assert "tried" in listed
    assert "%" in listed


def test_going_live_is_told_by_the_ledger_and_a_retry_sends_what_was_silent(
    bundles, of_lung, tmp_path
):
    tried = model("tried", bundles["any"], silent=True)
    pacs, n, uid = analyzed(tmp_path, of_lung, tried)
    assert pacs.objects() == []
    assert n.ledger.queries.deliveries(uid, 1) == []
    pacs.start()
    try:
        n.config.write_text(n.config.read_text().replace("silent = true", "silent = false"))
        n.work()
        n.run("retry", uid)
        wait_for(lambda: len(pacs.objects()) == 2, what="both objects")
        kinds = [(e.kind, e.fields.get("was")) for e in n.ledger.queries.events()
                 if e.kind.startswith("model_")]  # fmt: skip
        assert kinds == [("model_silent", None), ("model_live", "silent")]
        assert {o.SOPClassUID for o in pacs.objects()} == {SR, SEG}
    finally:
        n.kill()
        pacs.stop()


def test_a_silent_model_that_fails_holds_back_nothing_of_the_others(bundles, of_lung, tmp_path):
    """It was closed for want of room, and its bundle is another when it is to be opened again."""
    spoilt = student(tmp_path / "spoilt")
    models = model("tried", spoilt, silent=True, priority=1) + model("lung", bundles["lung"])
    uid = study_of(of_lung / "L")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        text = n.config.read_text().replace("[analysis]", "[analysis]\nopen_models = 1")
        n.config.write_text(text + models)
        n.start("ingest")
        n.work()
        wait_for(lambda: "models_open" in n.log, what="the models")
        (spoilt / "card.md").write_text("another student")
        storescu(n.port, of_lung)
        revision = n.finished(uid)
        assert (revision.state, revision.attempt) == (State.DONE, 1), revision.reason
        assert "silent_model_failed" in n.log
        assert sorted(o.SOPClassUID for o in pacs.objects()) == [SEG, SR]
        assert [r.kind for r in n.ledger.queries.results(uid, 1) if r.silent] == ["report"]


def test_what_override_set_aside_is_in_the_report_and_in_no_report_of_the_same_uids(
    bundles, of_lung, tmp_path
):
    rule = 'organs = ["lung"]'
    widened = model("breast", bundles["breast"], rule=rule, override=True)
    pacs, *_ = analyzed(tmp_path, of_lung, widened)
    (report,) = (o for o in pacs.objects() if o.SOPClassUID == SR)
    assert (
        "Caution: The organs that the model is made for (Breast) were set aside by the "
        "configuration of this node."
    ) in said(report)
    narrow = model("breast", bundles["breast"], rule=rule)
    pacs, *_ = analyzed(tmp_path / "narrow", of_lung, narrow)
    (refused,) = pacs.objects()
    assert "No model applies" in said(refused)
    assert refused.SOPInstanceUID != report.SOPInstanceUID


def test_one_model_for_all_slides_is_asked_what_its_bundle_is_made_for(
    bundles, of_four_organs, tmp_path
):
    short = f'[model]\nbundle = "{bundles["lung"]}"\nallow_fixture = true\n'
    pacs, n, uid = analyzed(tmp_path, of_four_organs, short)
    reports = {container(o): o for o in pacs.objects() if o.SOPClassUID == SR}
    refused = {c for c, o in reports.items() if "NA-MODEL" in o.to_json()}
    assert refused == {"B", "C", "X"}
    assert all(digest(bundles["lung"]) in o.to_json() for o in reports.values())
    assert {r.model for r in n.ledger.queries.results(uid, 1)} == {""}


def test_models_that_are_closed_for_want_of_room_are_opened_again_and_say_the_same(
    bundles, of_four_organs, tmp_path
):
    models = "".join(model(name, bundles[name]) for name in ("lung", "breast", "colon"))
    pacs, *_ = analyzed(tmp_path / "all", of_four_organs, models)
    objects = {container(o): said(o) for o in pacs.objects() if o.SOPClassUID == SR}
    few = "[analysis]\nopen_models = 1\nfirst_retry_s = 0.5\nlongest_retry_s = 2\n"
    uid = study_of(of_four_organs / "L")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        text = n.config.read_text()
        first, _, rest = text.partition("[analysis]")
        n.config.write_text(first + few + rest[rest.index("[delivery]") :] + models)
        n.start("ingest")
        storescu(n.port, of_four_organs)
        n.work()
        assert n.finished(uid).state is State.DONE
        lines = [json.loads(line) for line in n.log.splitlines() if line.startswith("{")]
        assert [x["model"] for x in lines if x["event"] == "model_opened_again"][:2] == [
            "lung", "breast",
        ]  # fmt: skip
        again = {container(o): said(o) for o in pacs.objects() if o.SOPClassUID == SR}
    assert again == objects


def test_a_fixture_without_leave_and_a_spoilt_bundle_end_the_start_with_a_sentence(
    bundles, tmp_path
):
    spoilt = student(tmp_path / "spoilt", "lung")
    (spoilt / "card.md").write_text("another student")
    silent_fixture = model("m", bundles["lung"]).replace("allow_fixture = true\n", "")
    for models, says in (
        (silent_fixture, "a fixture, whose numbers mean nothing; set allow_fixture = true in "
                         "[[models]] m"),
        (model("m", spoilt), "card.md"),
    ):  # fmt: skip
        with node(tmp_path / "node", 4242) as n:
            n.config.write_text(n.config.read_text() + model("any", bundles["any"]) + models)
            done = n.run("worker")
        assert done.returncode == 3, done.stderr
        assert says in done.stderr
        checked = n.run("check", "--json").stdout
        assert (says in checked) == (models is not silent_fixture)


KILLS = {
    "in open_slides": 1,
    "in analyze, after some tiles": 2,
    "in analyze, after the prediction is written": 2,
    "between open_slides and analyze": 3,
    "in build, after one object": 3,
    "in build, after the rows are written": 1,
}


@pytest.fixture(scope="module")
def undisturbed(bundles, of_lung, tmp_path_factory) -> tuple[str, list[str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    models = model("lung", bundles["lung"]) + model("any", bundles["any"])
    pacs, *_ = analyzed(folder, of_lung, models)
    return models, sorted(o.SOPClassUID for o in pacs.objects())


@pytest.mark.parametrize("point", KILLS)
def test_after_kill_9_a_study_has_one_result_set_of_each_model(
    point, undisturbed, of_lung, tmp_path
):
    models, classes = undisturbed
    tried = model("tried", Path(models.partition('bundle = "')[2].partition('"')[0]), silent=True)
    study_uid = study_of(of_lung / "L")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.config.write_text(n.config.read_text() + models + tried)
        n.start("ingest")
        assert storescu(n.port, of_lung).returncode == 0
        n.crash(point, KILLS[point])
        n.work()
        assert n.finished(study_uid).state is State.DONE
        assert sorted(o.SOPClassUID for o in pacs.objects()) == classes
        results = n.ledger.queries.results(study_uid, 1)
        assert set(pacs.digests()) == {r.sop_instance_uid for r in results if not r.silent}
        assert sorted(r.model for r in results) == ["any"] * 2 + ["lung"] * 2 + ["tried"] * 2
        assert not list(n.config.parent.rglob("tiles-*"))
