"""What others report of PACS, tried against the node: what it must stand, and what it must not do.

fo-dicom#284 and pynetdicom#704: odd lengths; pynetdicom#629: rejected for a while; fo-dicom#581:
broken off in the middle; dcm4che#906: a document of odd length; pynetdicom#769: long UIDs; and
references to what is not there.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from form_inputs import EDITS, built, slide_files
from nodes import node, storescu, study_of
from pacs_profiles import EXPLICIT, JPEG_LS, PDF, SEG, SR_3D, ProfiledPacs, running
from pydicom import Dataset, dcmread
from pypdf import PdfReader

from dicom_node.config.peers import Destination
from dicom_node.deliver.dimse import send
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.results.files import write
from dicom_node.sop_classes import KEY_OBJECT_SELECTION
from dicom_node.view.items import evidence_of
from slides import PhantomStudy

KO = KEY_OBJECT_SELECTION.uid
TAKES = {SR_3D: [EXPLICIT], SEG: [JPEG_LS, EXPLICIT], PDF: [EXPLICIT], KO: [EXPLICIT]}
_MOST_OF_A_UID = 64


@contextmanager
def delivered(folder: Path, study: Path, pacs_port: int, config: str = "") -> Iterator[Any]:
    """A node that has received a slide, and was told more in its configuration."""
    with node(folder, pacs_port) as n:
        n.config.write_text(n.config.read_text() + config)
        n.start()
        storescu(n.port, study)
        yield n


@pytest.mark.parametrize("most", [4097, 16383])
def test_a_receiver_that_states_an_odd_length_of_pdus_gets_fragments_of_even_length(
    most: int, phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    with running(ProfiledPacs(TAKES, most=most)) as pacs:
        where = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
        for kind, one in built(slide, wanted=frozenset({"summary"})).items():
            write(one.dataset, tmp_path / f"{kind}.dcm")
            to = Destination.model_validate(where)
            assert send(tmp_path / f"{kind}.dcm", to, "DICOMNODE").status == "0000"
    assert max(pacs.fragments) > most // 2
    assert max(pacs.fragments) + 6 <= most
    assert [length for length in pacs.fragments if length % 2] == []


def test_a_pacs_that_rejects_for_a_while_gets_everything_once(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    with (
        running(ProfiledPacs(TAKES, rejects=4)) as pacs,
        delivered(tmp_path / "node", phantom_study.folder, pacs.port) as n,
    ):
        revision = n.finished(study_of(phantom_study.folder))
        assert revision.state is State.DONE, revision.reason
        uids = [str(ds.SOPInstanceUID) for ds in pacs.came]
        assert pacs.rejects == 0
    assert len(uids) == len(set(uids)) == 3


def test_a_pacs_that_breaks_off_at_one_class_has_the_rest_and_the_study_says_so(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    study = study_of(phantom_study.folder)
    with (
        running(ProfiledPacs(TAKES, aborts=(SEG,))) as pacs,
        delivered(tmp_path / "node", phantom_study.folder, pacs.port, "give_up_after_s = 3\n") as n,
    ):
        revision = n.finished(study)
        rows = n.ledger.queries.deliveries(study, 1)
        assert [str(ds.SOPClassUID) for ds in pacs.holds.values()] == [SR_3D]
    assert revision.state is State.PARKED
    assert "gave no answer to C-STORE" in str(revision.reason)
    assert {d.state for d in rows} == {DeliveryState.DELIVERED, DeliveryState.REFUSED}


def test_at_a_destination_with_the_grid_of_a_level_every_reference_of_the_set_is_there(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    study = study_of(phantom_study.folder)
    slide = {str(dcmread(p, stop_before_pixels=True).SOPInstanceUID)
             for p in phantom_study.folder.glob("*.dcm")}  # fmt: skip
    with running(ProfiledPacs(TAKES)) as usual, running(ProfiledPacs(TAKES)) as old:
        wants = 'objects = ["report", "heatmap", "region", "attention", "set"]\n'
        more = (
            f'[[destinations]]\nname = "old"\nae_title = "PACS"\nhost = "127.0.0.1"\n'
            f'port = {old.port}\nheatmap_grid = "level"\n{wants}'
            f'[[destinations]]\nname = "new"\nae_title = "PACS"\nhost = "127.0.0.1"\n'
            f"port = {usual.port}\n{wants}"
        )
        with running(ProfiledPacs(TAKES)) as other, delivered(
            tmp_path / "node", phantom_study.folder, other.port, more
        ) as n:  # fmt: skip
            revision = n.finished(study)
            assert revision.state is State.DONE, revision.reason
        assert not [ds for ds in other.came if ds.SOPClassUID == KO]
        for pacs in (usual, old):
            (own,) = (ds for ds in pacs.came if ds.SOPClassUID == KO)
            assert pacs.came[-1] is own, "the set goes last"
            assert evidence_of(own) - slide == pacs.holds.keys() - {str(own.SOPInstanceUID)}
        reports = [ds for pacs in (usual, old) for ds in pacs.came if ds.SOPClassUID == SR_3D]
        assert len({str(ds.SOPInstanceUID) for ds in reports}) == 1, "the report is the same"
        grids = [{str(ds.SOPInstanceUID) for ds in pacs.came if ds.SOPClassUID == SEG}
                 for pacs in (usual, old)]  # fmt: skip
        assert grids[0] != grids[1]


def test_a_set_is_not_sent_where_what_it_names_was_refused(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    study = study_of(phantom_study.folder)
    wants = '[[destinations]]\nname = "strict"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = '
    refusing = ProfiledPacs({**TAKES}, answers_to={SEG: 0xC000})
    with running(refusing) as strict, running(ProfiledPacs(TAKES)) as other, delivered(
        tmp_path / "node", phantom_study.folder, other.port,
        f'{wants}{strict.port}\nobjects = ["report", "region", "set"]\n',
    ) as n:  # fmt: skip
        revision = n.finished(study)
        assert KO not in {str(ds.SOPClassUID) for ds in strict.came}
    assert revision.state is State.PARKED


def test_the_document_is_a_whole_file_of_the_length_that_is_stated(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    for name in ("latin", "japanese", "korean"):
        slide = slide_files(phantom_study.folder, tmp_path / name, EDITS[name])
        document = built(slide, wanted=frozenset({"summary"}))["summary"].dataset
        stored = bytes(document.EncapsulatedDocument)
        page = stored[: document.EncapsulatedDocumentLength]
        assert len(stored) % 2 == 0
        assert len(stored) - len(page) < 2
        assert page.startswith(b"%PDF-")
        assert page.rstrip().endswith(b"%%EOF")
        (one,) = PdfReader(io.BytesIO(page)).pages
        assert len(one.images) == 2
        assert all(image.image is not None for image in one.images)


def test_no_uid_is_longer_than_the_standard_has_it_where_those_of_the_slide_are_the_longest(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    longest = "1.2.840." + "9" * (_MOST_OF_A_UID - 8)

    def lengthen(ds: Dataset) -> None:
        EDITS["latin"](ds)
        ds.StudyInstanceUID = longest
        ds.SeriesInstanceUID = longest[:-1] + "8"
        ds.FrameOfReferenceUID = longest[:-1] + "7"

    slide = slide_files(phantom_study.folder, tmp_path / "slide", lengthen)
    for one in built(slide).values():
        for element in one.dataset.iterall():
            if element.VR == "UI":
                values = [element.value] if isinstance(element.value, str) else element.value
                assert all(len(str(v)) <= _MOST_OF_A_UID for v in values or ())
