"""What a running node writes is private, and names no patient outside of the objects."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from nodes import ROOT, Node, node, storescp, storescu, study_of, wait_for
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from dicom_node.ledger.states import State
from slides import new_study_copy

PLANT = "ZZPLANT"


def planted(folder: Path, dest: Path, seed: str, **damage: tuple[str, object]) -> Path:
    """Another study of the same slide: a patient to look for, and attributes that are damaged."""
    copy = dest / f"{seed}-copy"
    new_study_copy(folder, copy, seed)
    for path in copy.glob("*.dcm"):
        ds = dcmread(path)
        ds.PatientName, ds.PatientID = f"{PLANT}NAME^ANNA", f"{PLANT}ID"
        ds.IssuerOfPatientID = f"{PLANT}ISSUER"
        ds.PatientComments = f"{PLANT}COMMENT"
        for keyword, (vr, value) in damage.items():
            _put(ds, keyword, vr, value)
        ds.save_as(path)
    return copy


def _put(ds: Dataset, keyword: str, vr: str, value: object) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    ds.add(DataElement(tag, vr, value))


def test_a_damaged_study_leaves_no_word_of_its_patient_in_log_ledger_or_file_names(
    phantom_study, tmp_path
):
    folders = [
        planted(phantom_study.folder, tmp_path, "sound"),
        planted(
            phantom_study.folder,
            tmp_path,
            "number",
            TotalPixelMatrixRows=("UT", f"{PLANT}ROWS"),
        ),
        planted(
            phantom_study.folder,
            tmp_path,
            "scale",
            SharedFunctionalGroupsSequence=("UT", f"{PLANT}GROUPS"),
        ),
        planted(
            phantom_study.folder,
            tmp_path,
            "date",
            StudyDate=("UT", f"{PLANT}DATE"),
            ContentDate=("UT", f"{PLANT}DATE"),
            PhotometricInterpretation=("CS", f"{PLANT}COLOR"),
        ),
    ]
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        for folder in folders:
            storescu(n.port, folder)
        states = [n.finished(study_of(folder)).state for folder in folders]
        assert states[0] is State.DONE
        assert states[1] is State.PARKED
        told = n.log + told_by(n)
        assert PLANT not in told
        assert "TotalPixelMatrixRows is no number" in told
        names = [str(path) for path in n.folder.rglob("*")]
        assert not [name for name in names if PLANT in name]
        for o in pacs.objects():
            text = o.to_json().replace(f"{PLANT}NAME", "").replace(f"{PLANT}ID", "")
            assert str(n.folder) not in text, "no path of this machine leaves it"


def told_by(n: Node) -> str:
    """All that the ledger and the commands tell people."""
    ledger = n.ledger
    told = json.dumps([asdict(e) for e in ledger.queries.events()])
    told += " ".join(str(r.reason) for r in ledger.queries.all_revisions())
    return told + n.run("studies", "--json").stdout + n.run("studies").stdout


def test_at_a_lax_umask_all_that_a_node_writes_is_its_owners_alone(
    phantom_study, tmp_path, monkeypatch
):
    """Also what is there for a moment only, after a kill, and outside of the data folder."""
    elsewhere = [tmp_path / name for name in ("temp", "home", "cache")]
    for folder, variable in zip(elsewhere, ("TMPDIR", "HOME", "XDG_CACHE_HOME"), strict=True):
        folder.mkdir()
        monkeypatch.setenv(variable, str(folder))
    new_study_copy(phantom_study.folder, tmp_path / "other", "other")
    lax = ("sh", "-c", 'umask 022; exec "$@"', "sh")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        data = n.folder / "node-data"
        (data / "results").mkdir(parents=True)  # as version 0.1.0 left it
        (data / "results").chmod(0o755)
        data.chmod(0o755)
        n.start(prefix=lax)
        with looked_at([data, *elsewhere]) as seen:
            storescu(n.port, phantom_study.folder)
            assert n.finished(study_of(phantom_study.folder)).state is State.DONE
            storescu(n.port, tmp_path / "other")
            wait_for(lambda: list(data.rglob("tiles-*")), what="tiles that are kept")
            n.kill()
            n.start(prefix=lax)
            assert n.finished(study_of(tmp_path / "other")).state is State.DONE
            analyze = ("analyze", str(phantom_study.folder), "--out", str(tmp_path / "out"))
            command = [*lax, sys.executable, "-m", "dicom_node", *analyze]
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        made = [data, *data.rglob("*"), *(tmp_path / "out").rglob("*")]
        made += [path for folder in elsewhere for path in folder.rglob("*")]
        assert len(made) > 260
        assert [str(path) for path in made if path.stat().st_mode & 0o077] == []
        assert sorted(seen) == []


@contextmanager
def looked_at(folders: list[Path]) -> Iterator[set[str]]:
    """Paths that were open to others at some moment meanwhile."""
    seen: set[str] = set()
    stop = threading.Event()
    began = {folder for folder in folders[:1] if folder.stat().st_mode & 0o077}
    assert not began, "the node has started"

    def look() -> None:
        while not stop.wait(0.05):
            for path in (path for folder in folders for path in folder.rglob("*")):
                with suppress(FileNotFoundError):
                    if path.lstat().st_mode & 0o077 and not path.is_symlink():
                        seen.add(str(path))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_a_second_node_on_a_data_folder_is_refused_at_once_and_the_first_goes_on(
    phantom_study, tmp_path
):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, phantom_study.folder)
        second = n.run("serve")
        assert second.returncode == 3
        (line,) = second.stderr.splitlines()
        assert json.loads(line)["reason"].startswith("another node runs on")
        assert f"process {n.processes[0].pid}" in line
        assert n.finished(study_of(phantom_study.folder)).state is State.DONE
        assert n.log.count("model_ready") == 1
        assert n.ledger.queries.events(study_of(phantom_study.folder))[-1].kind == "study_done"


def test_a_worker_that_is_stopped_while_it_waits_for_another_never_works(tmp_path):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("worker")
        wait_for(lambda: "model_ready" in n.log, what="the first worker")
        second = n.start("worker")
        wait_for(lambda: "waiting_for_lock" in n.log, what="the second worker to wait")
        second.terminate()
        assert second.wait(20) == 0
        assert n.log.count("model_ready") == 1


def test_a_supervisor_killed_while_a_sender_is_connected_is_followed_by_one_that_waits(
    phantom_study, tmp_path
):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port, drain_s=4) as n:
        first = n.start()
        entity = AE("PACS")
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", n.port, ae_title="DICOMNODE")
        assert association.is_established
        first.kill()
        first.wait()
        n.launch()  # the old listener drains for four seconds more
        wait_for(lambda: n.log.count('"event": "listening"') == 2, what="the new listener")
        assert "node_refused_to_start" not in n.log
        storescu(n.port, phantom_study.folder)
        assert n.finished(study_of(phantom_study.folder)).state is State.DONE


def test_a_copied_data_folder_is_no_held_lock(tmp_path):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        shutil.copytree(n.folder / "node-data", tmp_path / "copy" / "node-data")
        assert n.stop() == 0
        shutil.rmtree(n.folder / "node-data")
        shutil.copytree(tmp_path / "copy" / "node-data", n.folder / "node-data")
        n.start()
