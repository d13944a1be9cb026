"""What was answered is taken back: `dicom-node recall`, the outbox, and a PACS."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from form_inputs import EDITS, built, slide_files
from nodes import node, storescu, study_of, wait_for
from pacs_profiles import EXPLICIT, PDF, SEG, SR_3D, SR_TEXT, ProfiledPacs, running
from pydicom import Dataset
from result_inputs import PROVENANCE
from structlog.testing import capture_logs

from dicom_node import cli
from dicom_node.commands import check
from dicom_node.commands.keeping import withdrawing
from dicom_node.commands.screen.findings import Finding
from dicom_node.config.loading import load_config
from dicom_node.config.whole import Config
from dicom_node.deliver import dimse
from dicom_node.deliver.finishing import tend
from dicom_node.deliver.lanes import Lanes
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.keeping.withdrawals import Withdrawals
from dicom_node.ledger.ledger import Ledger, WorkerLedger
from dicom_node.ledger.rows import ModelRun, ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.processes.worker import warn_of_recalled
from dicom_node.results.files import write
from dicom_node.results.making import BuiltObject
from dicom_node.results.sources import predecessor_in
from engines.bundle import open_bundle
from slides import PhantomStudy

KOS = "1.2.840.10008.5.1.4.1.1.88.59"
DIGEST = PROVENANCE.bundle_digest.removeprefix("sha256:")
OTHER = "f" * 64
STUDY = "1.2"


@pytest.fixture(scope="module")
def objects(
    phantom_study: PhantomStudy, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, BuiltObject]:
    folder = tmp_path_factory.mktemp("recalled")
    slide = slide_files(phantom_study.folder, folder / "slide", EDITS["latin"])
    return built(slide, wanted=frozenset({"report-text", "summary"}))


class Node:
    """A node's folder, without its processes: what the commands and the lanes see."""

    def __init__(self, folder: Path, pacs: ProfiledPacs) -> None:
        self.toml = folder / "node.toml"
        self.toml.write_text(
            f"""
[node]
ae_title = "DICOMNODE"
data_dir = "{folder}"
[[senders]]
ae_title = "PACS"
networks = ["127.0.0.0/8"]
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
commitment = "never"
[delivery]
first_retry_s = 0.2
longest_retry_s = 0.5
"""
        )
        self.config: Config = load_config(self.toml)
        self.ledger = Ledger.open(self.config.ledger_at)

    def answer(
        self, made: dict[str, BuiltObject], only: set[str], *, silent: bool = False
    ) -> list[Result]:
        """As the worker leaves it: the objects are on the disk, and due."""
        results = [self._kept(b, silent) for b in made.values() if b.kind in only]
        self.ledger.arrivals.record(
            ReceivedInstance("1.9", "1", STUDY, "1.8", "1", 1, "1.dcm", "A", "p")
        )
        self.ledger.studies.close(Run(STUDY, 1, 0), Evidence(1))
        run = Run(STUDY, 1, 1)
        ran = ModelRun("", DIGEST, "engine", "fp32", silent)
        assert self.ledger.studies.start_analysis(run, "engine", DIGEST, [ran])
        assert self.ledger.deliveries.start(run, results, ["pacs"])
        return results

    def _kept(self, one: BuiltObject, silent: bool) -> Result:
        ds = one.dataset
        path = self.config.node.data_dir / f"{one.kind}.dcm"
        write(ds, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Result(
            str(ds.SOPInstanceUID), str(ds.SOPClassUID), one.kind, one.slide, path.name, digest,
            silent=silent, series_instance_uid=str(ds.SeriesInstanceUID),
        )  # fmt: skip

    def ask(self) -> None:
        (destination,) = self.config.destinations
        answer = dimse.ask(destination, "DICOMNODE")
        self.ledger.deliveries.note_destination("pacs", True, answer.accepted, "")

    @contextmanager
    def delivering(self) -> Iterator[None]:
        stop = threading.Event()
        lanes = Lanes(self.config, self.ledger, stop, draw=lambda: 0.5)
        lanes.start()
        try:
            yield
        finally:
            stop.set()
            assert lanes.join(60)

    def deliver(self) -> State:
        """Send what is due; where the study stands then."""
        with self.delivering():

            def over() -> State | None:
                for one in self.ledger.queries.in_state(State.DELIVERING):
                    tend(self.ledger, one, {"pacs"})
                revision = self.ledger.queries.revision(STUDY)
                assert revision is not None
                return revision.state if revision.state in (State.DONE, State.PARKED) else None

            found: State = wait_for(over, within_s=60, what="an end")
        return found

    def recall(self, *words: str) -> int:
        return cli.main(["recall", *words, "--config", str(self.toml)])

    def rows(self) -> dict[str, Result]:
        return {r.kind: r for r in self.ledger.queries.results(STUDY, 1)}


def taking(*classes: str) -> ProfiledPacs:
    return ProfiledPacs({sop_class: [EXPLICIT] for sop_class in classes})


def of_class(came: list[Dataset], sop_class: str) -> list[Dataset]:
    return [ds for ds in came if ds.SOPClassUID == sop_class]


def test_a_report_that_a_pacs_has_is_replaced_and_its_objects_are_rejected(
    objects, tmp_path, capsys
):
    with running(taking(SR_3D, SEG, KOS)) as pacs:
        here = Node(tmp_path, pacs)
        made = here.answer(objects, {"report", "heatmap-tumor"})
        assert here.deliver() is State.DONE
        assert here.recall("--bundle", DIGEST[:12]) == 0
        assert "2 objects of 1 studies would be withdrawn" in capsys.readouterr().out
        assert len(pacs.came) == 2, "it was only told"
        assert here.recall("--bundle", DIGEST[:12], "--because", "bad threshold", "--yes") == 0
        assert here.ledger.queries.revision(STUDY).state is State.DELIVERING
        assert here.deliver() is State.DONE
        replacing, note = pacs.came[2:]
        assert predecessor_in(replacing) == objects["report"].dataset.SOPInstanceUID
        assert replacing.PatientID == objects["report"].dataset.PatientID
        assert note.SOPClassUID == KOS
        assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
        named = {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
                 for i in note.ContentSequence if "ReferencedSOPSequence" in i}  # fmt: skip
        assert named == {r.sop_instance_uid for r in made}
        capsys.readouterr()
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        assert "nothing was answered that is not withdrawn already" in capsys.readouterr().out
        assert here.deliver() is State.DONE
        assert len(pacs.came) == 4, "a second recall sends nothing"
        assert cli.main(["studies", "show", STUDY, "--config", str(here.toml)]) == 0
        shown = capsys.readouterr().out
    assert "WITHDRAWN" in shown
    (event,) = (e for e in here.ledger.queries.events(STUDY) if e.kind == "result_withdrawn")
    assert event.fields["reason"].endswith("found to be faulty: bad threshold")
    assert here.ledger.queries.recalled() == {DIGEST: event.at}


def test_a_bundle_that_was_recalled_and_is_still_configured_is_told_by_check_and_at_the_start(
    tmp_path,
):
    with running(taking(SR_3D)) as pacs:
        here = Node(tmp_path, pacs)
    own = open_bundle("default").digest
    (entry,) = here.config.students

    def told_by_check() -> list[Finding]:
        recalled = here.ledger.queries.recalled()
        return list(islice(check._model(here.config, entry, "", recalled), 2))

    assert not any("recalled" in line.says for line in told_by_check())
    here.ledger.events.record(
        "result_withdrawn", study_instance_uid=STUDY, cause="bundle", bundle_digest=own
    )
    _, line = told_by_check()
    assert line.ok
    assert line.warns
    assert f"{own[:12]} was recalled on" in line.says
    assert "name another bundle in the configuration and start the node again" in line.says
    worker = WorkerLedger.open(here.config.ledger_at)
    with capture_logs() as said:
        warn_of_recalled(worker, [("", own), ("other", OTHER)])
    assert [(e["event"], e["log_level"]) for e in said] == [("recalled_bundle", "warning")]
    assert said[0]["reason"] == line.says


def test_each_form_is_replaced_in_its_own_class(objects, tmp_path):
    with running(taking(SR_TEXT, PDF)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report-text", "summary"})
        assert here.deliver() is State.DONE
        assert here.recall("--study", STUDY, "--reason", "slide", "--yes") == 0
        assert here.deliver() is State.DONE
    for sop_class, kind in ((SR_TEXT, "report-text"), (PDF, "summary")):
        old, new = of_class(pacs.came, sop_class)
        assert predecessor_in(new) == old.SOPInstanceUID == objects[kind].dataset.SOPInstanceUID
        assert "WITHDRAWN" in new.SeriesDescription
    assert of_class(pacs.came, KOS) == [], "it takes none"


def test_what_nobody_has_yet_is_taken_out_of_the_outbox(objects, tmp_path, capsys):
    with running(taking(SR_3D, SEG, KOS)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report", "heatmap-tumor"})
        here.ask()
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        assert here.deliver() is State.DONE
        assert pacs.came == []
    assert "delivered to nobody" in capsys.readouterr().out
    assert here.rows()["report"].withdrawn_at is not None


def test_an_object_that_was_on_its_way_while_it_was_withdrawn_is_withdrawn_there_too(
    objects, tmp_path
):
    with running(taking(SR_3D, SEG)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report"})
        here.ask()
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        uid = str(objects["report"].dataset.SOPInstanceUID)
        here.ledger.deliveries.record(
            uid, "pacs", DeliveryState.DELIVERED, status="0000", error=None
        )
        assert here.deliver() is State.DONE
    (sent,) = pacs.came
    assert predecessor_in(sent) == uid


def test_silent_results_are_only_marked(objects, tmp_path):
    with running(taking(SR_3D, SEG, KOS)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report", "heatmap-tumor"}, silent=True)
        assert here.deliver() is State.DONE
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        assert here.deliver() is State.DONE
        assert pacs.came == []
    assert all(r.withdrawn_at for r in here.rows().values())


def test_a_report_whose_file_is_gone_is_told_and_the_others_are_withdrawn(
    objects, tmp_path, capsys
):
    with running(taking(SR_3D, SR_TEXT, SEG)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report", "report-text", "heatmap-tumor"})
        assert here.deliver() is State.DONE
        (tmp_path / "report.dcm").unlink()
        assert here.recall("--bundle", DIGEST, "--yes") == 1
        said = capsys.readouterr()
        assert "its file is not here any more" in said.err
        assert "NOT withdrawn" in said.out
        assert here.deliver() is State.DONE
    assert len(pacs.came) == 4
    assert pacs.came[-1].SOPClassUID == SR_TEXT


def test_what_another_bundle_made_stays(objects, tmp_path, capsys):
    with running(taking(SR_3D, SEG)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report"})
        assert here.deliver() is State.DONE
        assert here.recall("--bundle", OTHER, "--yes") == 1
    assert "no study was analyzed with a bundle whose digest begins" in capsys.readouterr().err
    assert here.rows()["report"].withdrawn_at is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--study", STUDY], "--study needs --reason"),
        (["--study", "1.2.3", "--reason", "slide"], "no study 1.2.3"),
        (["--bundle", DIGEST, "--reason", "patient"], "is of a study"),
        (["--bundle", ""], "no study was analyzed with a bundle"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(words, says, objects, tmp_path, capsys):
    with running(taking(SR_3D)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report"})
        assert here.recall(*words, "--yes", "--json") == 1
    assert says in json.loads(capsys.readouterr().err)["error"]


def test_a_beginning_that_several_digests_have_is_not_guessed_at(objects, tmp_path, capsys):
    with running(taking(SR_3D)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report"})
        run = Run(STUDY, 1, 2)
        here.ledger.studies.retry(STUDY)
        other = ModelRun("", DIGEST[:10] + OTHER[:54], "engine", "fp32", False)
        assert here.ledger.studies.start_analysis(run, "engine", other.bundle_digest, [other])
        assert here.recall("--bundle", DIGEST[:10], "--yes") == 1
    said = capsys.readouterr().err
    assert "2 bundles have a digest that begins with" in said
    assert DIGEST in said


@pytest.mark.parametrize("point", ["before the rows", "after the rows"])
def test_a_recall_that_was_killed_loses_and_doubles_nothing(point, objects, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with running(taking(SR_3D, SEG, KOS)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report", "heatmap-tumor"})
        assert here.deliver() is State.DONE
        with monkeypatch.context() as patched:
            if point == "before the rows":
                patched.setattr(withdrawing, "rejection_of", die)
            else:
                withdraw = Withdrawals.withdraw
                patched.setattr(
                    Withdrawals,
                    "withdraw",
                    lambda *a: (withdraw(*a), die()),  # type: ignore[func-returns-value]
                )
            with pytest.raises(Killed):
                here.recall("--bundle", DIGEST, "--yes")
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        assert here.deliver() is State.DONE
    assert len(of_class(pacs.came, SR_3D)) == 2
    assert len(of_class(pacs.came, KOS)) == 1


def test_a_retry_does_not_take_a_withdrawal_out_of_the_outbox(objects, tmp_path):
    with running(taking(SR_3D, SEG, KOS)) as pacs:
        here = Node(tmp_path, pacs)
        here.answer(objects, {"report", "heatmap-tumor"})
        assert here.deliver() is State.DONE
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        here.ledger.studies.retry(STUDY)
        run = Run(STUDY, 1, 2)
        ran = ModelRun("", OTHER, "engine", "fp32", False)
        assert here.ledger.studies.start_analysis(run, "engine", OTHER, [ran])
        with here.delivering():
            wait_for(lambda: len(pacs.came) == 4, within_s=30, what="sent during the analysis")
        assert here.ledger.deliveries.start(run, [], ["pacs"])
        assert here.deliver() is State.DONE
    assert [ds.SOPClassUID for ds in pacs.came[2:]] == [SR_3D, KOS]


def again(here: Node, one: BuiltObject, digest: str) -> Result:
    """Another attempt has made another report in the place of the first; it is due."""
    ds = deepcopy(one.dataset)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID[:60]}.1"
    last = ds.ContributingEquipmentSequence[-1]
    last.ContributionDescription = f"Inference with bundle {digest}"
    path = here.config.node.data_dir / "again.dcm"
    write(ds, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    made = Result(
        str(ds.SOPInstanceUID), str(ds.SOPClassUID), one.kind, one.slide, path.name, sha256,
        series_instance_uid=str(ds.SeriesInstanceUID),
    )  # fmt: skip
    attempt = here.ledger.studies.retry(STUDY)
    assert attempt is not None
    run = Run(STUDY, 1, attempt)
    ran = ModelRun("", digest, "engine", "fp32", False)
    assert here.ledger.studies.start_analysis(run, "engine", digest, [ran])
    assert here.ledger.deliveries.start(run, [made], ["pacs"])
    return made


def test_the_last_report_that_a_pacs_has_is_replaced_and_not_one_that_it_never_got(
    objects, tmp_path
):
    with running(taking(SR_3D)) as pacs:
        here = Node(tmp_path, pacs)
        (first,) = here.answer(objects, {"report"})
        assert here.deliver() is State.DONE
        second = again(here, objects["report"], DIGEST)
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        assert here.deliver() is State.DONE
        uids = [ds.SOPInstanceUID for ds in pacs.came]
    assert predecessor_in(pacs.came[-1]) == first.sop_instance_uid
    assert second.sop_instance_uid not in uids
    assert len(uids) == 2


def test_what_a_report_of_another_bundle_has_replaced_is_rejected_and_not_replaced_again(
    objects, tmp_path
):
    with running(taking(SR_3D, KOS)) as pacs:
        here = Node(tmp_path, pacs)
        (faulty,) = here.answer(objects, {"report"})
        assert here.deliver() is State.DONE
        good = again(here, objects["report"], OTHER)
        assert here.recall("--bundle", DIGEST, "--yes") == 0
        assert here.deliver() is State.DONE
        sent = {str(ds.SOPInstanceUID): ds for ds in pacs.came}
    (note,) = of_class(pacs.came, KOS)
    named = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
             for i in note.ContentSequence if "ReferencedSOPSequence" in i]  # fmt: skip
    assert named == [faulty.sop_instance_uid]
    assert set(sent) == {faulty.sop_instance_uid, good.sop_instance_uid, note.SOPInstanceUID}


def test_a_node_withdraws_and_a_retry_makes_a_report_that_names_the_withdrawal(
    phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with (
        running(taking(SR_3D, SEG, KOS)) as pacs,
        node(tmp_path / "node", pacs.port) as n,
    ):
        n.start()
        wait_for(lambda: n.ledger.queries.destinations(), what="the destination asked")
        storescu(n.port, phantom_study.folder)
        assert n.finished(study).state is State.DONE
        done = n.run("recall", "--study", study, "--reason", "bundle", "--yes")
        assert done.returncode == 0, done.stderr
        wait_for(lambda: of_class(pacs.came, KOS), what="the note")
        assert n.finished(study).state is State.DONE
        assert n.run("retry", study).returncode == 0
        wait_for(lambda: len(of_class(pacs.came, SR_3D)) == 3, within_s=90, what="a new report")
        assert n.finished(study).state is State.DONE
    first, replacing, new = of_class(pacs.came, SR_3D)
    assert predecessor_in(replacing) == first.SOPInstanceUID
    assert predecessor_in(new) == replacing.SOPInstanceUID
    maps = [ds.SOPInstanceUID for ds in of_class(pacs.came, SEG)]
    assert len(set(maps)) == len(maps), "no map that was withdrawn is sent again"
