"""The main job with real peers: a study in by C-STORE, a report and a heatmap back in the PACS."""

from __future__ import annotations

import json
import re
import signal

import pytest
from nodes import (
    free_port,
    listening,
    need,
    node,
    orthanc,
    storescp,
    storescu,
    study_of,
    wait_for,
)
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_node.ledger.states import DeliveryState, State
from slides import changed_pixel_copy, new_study_copy, without_spacing

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture(scope="session")
def drawn(phantom_study):
    """Folder of a drawn slide."""
    return phantom_study.folder


def test_storescu_sends_a_study_and_storescp_gets_report_and_heatmap_of_it(drawn, tmp_path):
    need("storescu")
    study = study_of(drawn)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        sent = storescu(n.port, drawn)
        assert sent.returncode == 0, sent.stdout
        assert n.finished(study).state is State.DONE, n.log
        objects = pacs.objects()
        assert n.stop() == 0
    assert sorted(o.SOPClassUID for o in objects) == [SEG, SEG, SR]
    types = [o.SegmentationType for o in objects if o.SOPClassUID == SEG]
    assert sorted(types) == ["BINARY", "FRACTIONAL"]
    assert {o.StudyInstanceUID for o in objects} == {study}
    assert len({o.SeriesInstanceUID for o in objects}) == 3
    assert len({o.SeriesNumber for o in objects}) == 3


def test_a_second_send_of_the_same_study_changes_nothing(drawn, tmp_path):
    study = study_of(drawn)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, drawn)
        n.finished(study)
        before = pacs.digests()
        again = storescu(n.port, drawn)
        assert again.returncode == 0, again.stdout
        assert [r.revision for r in n.ledger.queries.all_revisions()] == [1]
        assert pacs.digests() == before


def test_the_same_study_with_one_changed_pixel_is_refused_0111(drawn, tmp_path):
    changed = tmp_path / "changed"
    changed_pixel_copy(drawn, changed)
    study = study_of(drawn)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, drawn)
        n.finished(study)
        refused = storescu(n.port, changed)
        assert "Unknown Status: 0x111" in refused.stderr  # DCMTK has no name for 0111
        assert [r.state for r in n.ledger.queries.all_revisions()] == [State.DONE]


def test_retry_runs_the_study_again_and_the_pacs_holds_the_same_objects(drawn, tmp_path):
    study = study_of(drawn)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, drawn)
        n.finished(study)
        before = pacs.digests()
        done = n.run("retry", study, "--json")
        assert json.loads(done.stdout)["attempt"] == 2
        wait_for(
            lambda: (r := n.ledger.queries.revision(study)).attempt == 2 and r.state is State.DONE,
            what="the second attempt",
        )
        assert pacs.digests() == before


def test_a_retry_after_a_change_sends_new_objects_that_name_the_former_ones(drawn, tmp_path):
    study = study_of(drawn)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, drawn)
        n.finished(study)
        before = {o.SOPClassUID: o for o in pacs.objects()}
        kept = pacs.digests()
        shown = n.run("studies", "show", study).stdout
        n.stop()
        section = '[model]\nengine = "onnxruntime"\nprecision = "fp32"\n'
        n.config.write_text(n.config.read_text() + section)
        # What the configuration says now is not what made the objects.
        assert n.run("studies", "show", study).stdout == shown
        n.start()
        n.run("retry", study)
        wait_for(
            lambda: (r := n.ledger.queries.revision(study)).attempt == 2 and r.state is State.DONE,
            what="the second attempt",
        )
        now = pacs.digests()
        rows = n.ledger.queries.results(study, 1)
        shown = n.run("studies", "show", study).stdout
        objects = pacs.objects()
    assert len(now) == 6
    assert {name: now[name] for name in kept} == kept, "what was sent is as it was"
    (report,) = [
        o for o in objects
        if o.SOPClassUID == SR and o.SOPInstanceUID != before[SR].SOPInstanceUID
    ]  # fmt: skip
    (named,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert named.SeriesInstanceUID == before[SR].SeriesInstanceUID
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before[SR].SOPInstanceUID
    assert len({o.SeriesInstanceUID for o in objects}) == 6
    assert [r.replaced for r in rows] == [True] * 3 + [False] * 3
    assert f"Engine    {rows[-1].engine}" in shown
    assert "onnxruntime" in rows[-1].engine
    assert "onnxruntime" not in rows[0].engine
    assert all(f"engine {rows[-1].engine}"[:64] in o.SoftwareVersions for o in [report])


def test_a_worker_in_another_time_zone_writes_the_same_bytes(drawn, tmp_path, monkeypatch):
    study = study_of(drawn)

    def objects(attempt: int) -> dict[str, bytes]:
        def are_made() -> bool:
            r = n.ledger.queries.revision(study)
            return r is not None and (r.attempt, r.state) == (attempt, State.DELIVERING)

        wait_for(are_made, within_s=120, what=f"results of attempt {attempt}")
        found = n.ledger.queries.results(study, 1)
        return {r.kind: (n.folder / "node-data" / r.path).read_bytes() for r in found}

    with node(tmp_path / "node", free_port()) as n:  # a PACS that is down: nothing is kept
        monkeypatch.setenv("TZ", "UTC")
        n.start()
        storescu(n.port, drawn)
        in_utc = objects(1)
        assert n.stop() == 0
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        n.start()
        n.run("retry", study)
        assert objects(2) == in_utc
    assert len(in_utc) == 3


def test_a_pacs_that_is_down_gets_the_results_when_it_is_back(drawn, tmp_path):
    study = study_of(drawn)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        pacs.stop()
        n.start()
        storescu(n.port, drawn)
        waiting = wait_for(
            lambda: [d for d in n.ledger.queries.deliveries(study, 1) if d.attempts >= 2],
            what="two failed attempts",
        )
        assert waiting[0].state is DeliveryState.PENDING
        assert "cannot be reached" in waiting[0].error
        shown = n.run("studies", "show", study).stdout
        assert "pending" in shown
        assert "cannot be reached" in " ".join(shown.split())
        pacs.start()
        assert n.finished(study).state is State.DONE
        assert {o.SOPClassUID for o in pacs.objects()} == {SEG, SR}


def test_a_destination_that_takes_no_segmentation_is_known_before_and_gets_the_report_alone(
    drawn, tmp_path
):
    profile = tmp_path / "sr-only.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[ReportsOnly]\n"
        "PresentationContext1 = Comprehensive3DSRStorage\\Plain\n"
        "PresentationContext2 = VerificationSOPClass\\Plain\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = ReportsOnly\n"
    )
    study = study_of(drawn)
    with (
        storescp(tmp_path / "pacs", "-xf", str(profile), "Default") as pacs,
        node(tmp_path / "node", pacs.port) as n,
    ):
        n.start()
        known = wait_for(
            lambda: n.ledger.queries.destinations().get("pacs"), what="the destination asked"
        )
        left_out = "heatmap is left out: it accepts no Segmentation Storage"
        assert left_out in known.reason
        storescu(n.port, drawn)
        wait_for(lambda: n.ledger.queries.revision(study), what="the study")
        assert left_out in n.run("studies").stdout
        storescu(n.port, drawn)
        revision = n.finished(study)
        assert revision.state is State.DONE
        assert left_out in n.run("studies", "show", study).stdout
        assert [o.SOPClassUID for o in pacs.objects()] == [SR]


def test_a_destination_whose_name_does_not_resolve_is_waited_for(drawn, tmp_path):
    study = study_of(drawn)
    with node(tmp_path / "node", 104, host="no-such-host.invalid") as n:
        n.start()
        storescu(n.port, drawn)
        (first, *_) = wait_for(
            lambda: [d for d in n.ledger.queries.deliveries(study, 1) if d.attempts],
            what="an attempt",
        )
        assert "cannot be reached" in first.error
        assert n.ledger.queries.revision(study).state is State.DELIVERING
        assert "child_died" not in n.log


def test_a_destination_that_takes_only_implicit_vr_gets_both_objects(drawn, tmp_path):
    with storescp(tmp_path / "pacs", "+xi") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, drawn)
        assert n.finished(study_of(drawn)).state is State.DONE
        assert {o.SOPClassUID for o in pacs.objects()} == {SEG, SR}


def test_a_late_level_gives_a_new_report_that_names_the_one_it_replaces(drawn, tmp_path):
    study = study_of(drawn)
    *early, late = sorted(drawn.glob("*.dcm"))
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, *early)
        assert n.finished(study).state is State.DONE
        (first,) = (o for o in pacs.objects() if o.SOPClassUID == SR)
        storescu(n.port, late)
        wait_for(lambda: n.ledger.queries.revision(study).revision == 2, what="a new revision")
        assert n.finished(study).state is State.DONE
        reports = [o for o in pacs.objects() if o.SOPClassUID == SR]
    (second,) = (o for o in reports if o.SOPInstanceUID != first.SOPInstanceUID)
    (named,) = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    (replaced,) = named.ReferencedSOPSequence
    assert replaced.ReferencedSOPInstanceUID == first.SOPInstanceUID


@pytest.mark.parametrize("damage", ["lost", "emptied", "removed"])
def test_a_new_report_names_the_one_it_replaces_though_its_file_is_not_to_be_had(
    damage, drawn, tmp_path
):
    study = study_of(drawn)
    *early, late = sorted(drawn.glob("*.dcm"))
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, *early)
        assert n.finished(study).state is State.DONE
        (old,) = (r for r in n.ledger.queries.results(study, 1) if r.sop_class_uid == SR)
        path = n.folder / "node-data" / old.path
        before = dcmread(path)
        path.unlink()
        if damage == "emptied":
            path.write_bytes(b"")
        if damage == "removed":
            with n.ledger.database.write() as db:
                db.exec_driver_sql("UPDATE results SET purged_at = 1")
        storescu(n.port, late)
        wait_for(lambda: n.ledger.queries.revision(study).revision == 2, what="a new revision")
        assert n.finished(study).state is State.DONE
        reports = [o for o in pacs.objects() if o.SOPClassUID == SR]
        assert len(reports) == 2
        assert "predecessor_lost" not in n.log
    (new,) = (o for o in reports if o.SOPInstanceUID != old.sop_instance_uid)
    (document,) = new.PredecessorDocumentsSequence
    assert document.StudyInstanceUID == study
    (series,) = document.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == before.SeriesInstanceUID
    (named,) = series.ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert named.ReferencedSOPClassUID == SR


def test_a_destination_without_jpeg_ls_gets_the_same_heatmap_decompressed(drawn, tmp_path):
    study = study_of(drawn)
    with (
        storescp(tmp_path / "pacs", "+x=") as pacs,
        node(tmp_path / "node", pacs.port) as n,
    ):
        n.start()
        storescu(n.port, drawn)
        assert n.finished(study).state is State.DONE
        received = next(o for o in pacs.objects() if o.get("SegmentationType") == "FRACTIONAL")
        result = next(r for r in n.ledger.queries.results(study, 1) if "heatmap" in r.kind)
        made = dcmread(n.folder / "node-data" / result.path)
    assert not received.file_meta.TransferSyntaxUID.is_compressed
    assert made.file_meta.TransferSyntaxUID.is_compressed
    assert received.SOPInstanceUID == made.SOPInstanceUID
    assert (received.pixel_array == made.pixel_array).all()


def test_a_slide_without_spacing_comes_back_as_a_report_that_says_so(drawn, tmp_path):
    folder = tmp_path / "nospacing"
    without_spacing(drawn, folder)
    study = study_of(folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, folder)
        assert n.finished(study).state is State.DONE, n.log
        (report,) = pacs.objects()
    assert report.SOPClassUID == SR
    text = report.to_json()
    assert "Not predictable" in text
    assert "pacing" in text


def test_a_name_that_its_character_set_does_not_explain_is_marked_and_told(drawn, tmp_path):
    folder = tmp_path / "octets"
    without_spacing(drawn, folder)
    for path in folder.rglob("*.dcm"):
        ds = dcmread(path)
        ds.pop("SpecificCharacterSet", None)
        ds[0x00100010] = RawDataElement(Tag(0x00100010), "PN", 6, b"M\xfcller", 0, False, True)
        ds.save_as(path)
    study = study_of(folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, folder)
        assert n.finished(study).state is State.DONE, n.log
        (report,) = pacs.objects()
        told = [e for e in n.ledger.queries.events(study) if e.kind == "text_not_decoded"]
        log = n.log
    assert (report.SpecificCharacterSet, report.PatientName) == ("ISO_IR 192", "M\ufffdFCller")
    assert [event.fields["attributes"] for event in told] == [["PatientName"]]
    assert "text_not_decoded" in log
    assert "ller" not in log


def test_two_studies_are_analyzed_one_after_the_other(drawn, tmp_path):
    other = tmp_path / "other"
    new_study_copy(drawn, other, "other")
    studies = [study_of(drawn), study_of(other)]
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, drawn, other)
        revisions = [n.finished(s) for s in studies]
        assert [r.state for r in revisions] == [State.DONE] * 2
        first, second = sorted(revisions, key=lambda r: r.started_at)
        assert second.started_at >= first.analyzed_at
        assert len(pacs.digests()) == 6


def test_sigterm_in_the_middle_of_a_study_exits_0_and_the_next_start_finishes_it(drawn, tmp_path):
    study = study_of(drawn)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, drawn)
        wait_for(
            lambda: n.ledger.queries.revision(study).state is not State.RECEIVING, what="closed"
        )
        assert n.stop() == 0
        assert not listening(n.port)
        n.start()
        assert n.finished(study).state is State.DONE
        assert {o.SOPClassUID for o in pacs.objects()} == {SEG, SR}


def test_children_leave_when_their_supervisor_is_killed(tmp_path):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        supervisor = n.start()
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        wait_for(lambda: not listening(n.port), what="the orphaned listener to leave")


def test_a_port_that_is_taken_ends_the_node_with_a_clear_line(tmp_path):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.config.write_text(n.config.read_text().replace(f"port = {n.port}", f"port = {pacs.port}"))
        done = n.run("serve")
    assert done.returncode == 3
    assert "cannot_start" in done.stderr
    assert "Address already in use" in done.stderr


def test_a_tampered_bundle_ends_the_node_with_the_file_and_the_reason(tmp_path):
    from bundles import write_bundle

    bundle = write_bundle(tmp_path / "node" / "tiny")
    (bundle / "card.md").write_text("changed")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.config.write_text(n.config.read_text() + '[model]\nbundle = "./tiny"\n')
        done = n.run("serve")
    assert done.returncode == 3
    assert "card.md" in done.stderr
    assert "was changed" in done.stderr


def test_orthanc_routes_a_study_and_gets_the_results_into_the_same_study(drawn, tmp_path):
    need("Orthanc", "storescu")
    study = study_of(drawn)
    with node(tmp_path / "node", 1) as n, orthanc(tmp_path / "orthanc", n.port) as pacs:
        text = n.config.read_text().replace("port = 1\n", f"port = {pacs.dicom_port}\n")
        n.config.write_text(text)
        n.start()
        loaded = storescu(pacs.dicom_port, drawn, called="PACS")
        assert loaded.returncode == 0, loaded.stdout
        (orthanc_id,) = pacs.rest("/studies")
        slide_series = json.dumps({"Resources": pacs.rest("/series")})
        pacs.rest("/modalities/node/store", "POST", slide_series)
        assert n.finished(study).state is State.DONE, n.log
        classes = [i["00080016"]["Value"][0] for i in pacs.qido(study)]
        assert sorted(c for c in classes if c in (SEG, SR)) == [SEG, SEG, SR]
        assert pacs.rest("/studies") == [orthanc_id]
        before = len(classes)
        pacs.rest("/modalities/node/store", "POST", slide_series)
        assert len(pacs.qido(study)) == before
        wsm = [r for r in n.ledger.queries.all_revisions() if r.study_instance_uid == study]
        assert [r.revision for r in wsm] == [1]


def test_check_tells_what_each_destination_accepts_and_exits_0(tmp_path):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        checked = n.run("check", "--json")
    assert checked.returncode == 0
    lines = json.loads(checked.stdout)
    assert all(line["ok"] for line in lines), lines
    said = [(line["what"], line["says"]) for line in lines]
    assert any(what == "engine" and "probe passed" in says for what, says in said), said
    assert any(what == "pacs" and "JPEG-LS" in says for what, says in said), said


def test_check_fails_and_says_why_when_the_destination_is_down(tmp_path):
    with node(tmp_path / "node", 1) as n:
        checked = n.run("check")
    assert checked.returncode == 1
    assert "BAD" in checked.stdout
    assert "cannot be reached" in checked.stdout


def test_a_serving_node_connects_to_its_destination_and_to_nothing_else(drawn, tmp_path):
    """strace sees every process and native code too."""
    need("strace", "storescu")
    trace = tmp_path / "trace"
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start(prefix=("strace", "-f", "-qq", "-e", calls, "-o", str(trace)))
        storescu(n.port, drawn)
        assert n.finished(study_of(drawn), within_s=180).state is State.DONE
    found = re.findall(
        r'sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?"([\da-f.:]+)"', trace.read_text()
    )
    # Port 0 of the unspecified address: the resolver sorts addresses, and nothing is sent.
    outward = {(host, port) for port, host in found} - {("0.0.0.0", "0"), ("::", "0")}
    assert outward == {("127.0.0.1", str(pacs.port))}


@pytest.mark.parametrize("command", [["studies"], ["studies", "show", "1.2"], ["retry", "1.2"]])
def test_commands_on_an_empty_node_answer_in_a_sentence(command, tmp_path):
    with node(tmp_path / "node", 1) as n:
        done = n.run(*command)
    assert "Traceback" not in done.stderr
    assert "no study" in done.stdout + done.stderr
    assert not (n.folder / "node-data").exists(), "a wrong data_dir is not made"
