"""Inputs that hurt a node, sent to one that runs: each costs its own study, and no word of it.

The recorded cases are taken where they are, else equal ones are made; each stands for a kind.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import plants
import poison
import psutil
import pytest
from nodes import Node, StoreScp, dicom_node, node, storescp, study_of, wait_for
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config

from dicom_node.demo.wsm import write_slide
from dicom_node.ledger.rows import Revision
from dicom_node.ledger.states import State
from inference.phantom.draw import draw
from slides import base_level, new_study_copy

OVER = (State.DONE, State.PARKED)
NAMED = {
    poison.OVERFLOW: "TotalPixelMatrixRows",
    poison.UNTERMINATED: "SpecimenDescriptionSequence",
    poison.MANY_ITEMS: "SpecimenDescriptionSequence",
    poison.NESTED: "SpecimenDescriptionSequence",
    "TotalPixelMatrixRows": "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns": "TotalPixelMatrixColumns",
    "NumberOfFrames": "NumberOfFrames",
    "Rows": "Rows",
    "SamplesPerPixel": "SamplesPerPixel",
}
"""Cases that cannot be counted, with the attribute that the sentence has to name."""


@dataclass
class Served:
    """A node that was sent every case, and what came of it."""

    node: Node
    pacs: StoreScp
    studies: dict[str, str]
    """Study Instance UID by case."""
    answers: list[Dataset]
    """To every C-STORE."""
    folders: dict[str, Path]
    children: dict[str, int]
    notes: Path

    def revision(self, case: str) -> Revision:
        found = self.node.ledger.queries.revision(self.studies[case])
        assert found is not None, case
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Every case on one node, the sound study last."""
    folder = tmp_path_factory.mktemp("cases")
    notes = folder / "notes"
    write_slide(draw(5, rows=1024, cols=1280).pixels, folder / "drawn", mpp=0.5, seed="cases")
    studies, folders = _made(folder, folder / "drawn")
    command = ["sh", "-c", f"cat >> {notes}; echo >> {notes}"]
    extra = (
        f"incomplete_after_s = 15\n[notify]\ncommand = {json.dumps(command)}\nwith_uids = true\n"
    )
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port, extra=extra) as n:
        n.start()
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        children = _children(n)
        answers = [a for case in studies if case != "nothing" for a in _sent(n, folders[case])]
        answers += _sent(n, folders["nothing"])
        ledger = n.ledger

        def over() -> bool:
            found = [ledger.queries.revision(study) for study in studies.values()]
            return all(r is None or r.state in OVER for r in found)

        wait_for(over, within_s=150, what="every study to be over")
        wait_for(lambda: notes.exists(), within_s=20, what="a note")
        yield Served(n, pacs, studies, answers, folders, children, notes)


def _made(folder: Path, drawn: Path) -> tuple[dict[str, str], dict[str, Path]]:
    studies, folders = {}, {}
    for number, case in enumerate(poison.KINDS):
        folders[case] = folder / f"poison-{number}"
        folders[case].mkdir()
        path = folders[case] / "1.dcm"
        studies[case] = poison.instance(case, drawn, path, random.Random(number))
    for number, (case, change) in enumerate(plants.DAMAGES.items()):
        folders[case] = folder / f"damage-{number}"
        new_study_copy(drawn, folders[case], case)
        studies[case] = study_of(folders[case])
        for path in folders[case].glob("*.dcm"):
            plants.plant(path)
            change(path)
    return studies, folders


def _sent(n: Node, folder: Path) -> list[Dataset]:
    """The answer to the C-STORE of each file, whose bytes nobody has parsed on the way."""
    _config.STORE_SEND_CHUNKED_DATASET = True
    entity = AE("PACS")
    paths = sorted(folder.glob("*.dcm"))
    for path in paths:
        meta = read_file_meta_info(path)
        entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", n.port, ae_title="DICOMNODE")
    assert association.is_established
    answers = [association.send_c_store(path) for path in paths]
    association.release()
    return answers


def _children(n: Node) -> dict[str, int]:
    (supervisor,) = n.processes
    found = {}
    for process in psutil.Process(supervisor.pid).children():
        line = process.cmdline()
        found |= {role: process.pid for role in ("ingest", "worker", "egress") if role in line}
    return found


def test_no_child_dies_of_any_case_and_the_sound_study_is_done(served):
    assert _children(served.node) == served.children
    assert "child_died" not in served.node.log
    assert served.revision("nothing").state is State.DONE


@pytest.mark.parametrize("case", NAMED)
def test_what_cannot_be_counted_parks_its_study_with_the_file_and_the_attribute(case, served):
    revision = served.revision(case)
    assert revision.state is State.PARKED
    assert NAMED[case] in revision.reason
    assert re.search(r"[0-9.]+ cannot be counted: file [0-9a-f]{2}/[0-9a-f]+", revision.reason)


def test_every_answer_is_success_or_a_stated_refusal(served):
    statuses = {answer.Status for answer in served.answers}
    assert statuses - {0x0000} <= {0xC005}, "the illegal UID"
    assert 0xC005 in statuses


def test_what_is_parked_or_refused_is_said_once_and_not_again_and_again(served):
    errors = [line for line in served.node.log.splitlines() if '"level": "error"' in line]
    assert len(errors) < 5 * len(served.studies)


def test_forty_words_of_a_patient_stand_in_no_log_error_file_name_or_note(served, tmp_path):
    assert plants.HARMLESS >= 40
    n = served.node
    data = n.folder / "node-data"
    told = {
        "log": n.log,
        "answers": " ".join(str(answer) for answer in served.answers),
        "notes": served.notes.read_text(errors="replace"),
        "names of files": " ".join(str(path) for path in n.folder.rglob("*")),
        "names of results": " ".join(path.name for path in served.pacs.folder.iterdir()),
        "check": str(n.run("check")),
        "purge": str(n.run("purge", "--dry-run")),
        "studies": str(n.run("studies")) + str(n.run("studies", "--json")),
    }
    for case in ("nothing", "TotalPixelMatrixRows", "ImageOrientationSlide", "frames"):
        study = served.studies[case]
        told[f"story of {case}"] = str(n.run("studies", "show", study))
        told[f"story of {case}, JSON"] = str(n.run("studies", "show", study, "--json"))
    kept = [p for p in data.rglob("*") if p.is_file() and p.suffix != ".dcm"]
    kept = [p for p in kept if p.relative_to(data).parts[0] != "spool"]
    assert [p for p in kept if p.name == "node.sqlite"]
    told |= {str(p): p.read_bytes().decode("latin-1") for p in kept}
    found = {
        where: sorted(set(re.findall(plants.WORD + r"\w*", text))) for where, text in told.items()
    }
    assert {where: words for where, words in found.items() if words} == {}


@pytest.mark.parametrize("case", ["Rows", "frames", "SharedFunctionalGroupsSequence"])
def test_a_command_that_fails_on_such_a_file_quotes_nothing_of_it(case, served, tmp_path):
    done = dicom_node("analyze", str(served.folders[case]), "--out", str(tmp_path / "out"))
    assert plants.WORD not in done.stdout + done.stderr


def test_what_leaves_the_node_says_of_the_patient_only_what_identifies_him(served):
    """Results name the patient and the study; not the words of a damaged value or of a comment."""
    for made in served.pacs.objects():
        words = set(re.findall(plants.WORD + r"[A-Za-z]\w*", made.to_json()))
        assert words <= {f"{plants.WORD}StudyDate"}  # attributes of the study are copied


def test_the_sound_study_is_a_slide_of_which_something_was_planted(served):
    ds = dcmread(base_level(served.folders["nothing"]))
    assert len(re.findall(plants.WORD, str(ds) + str(ds.file_meta))) >= 40 - len("UN")
