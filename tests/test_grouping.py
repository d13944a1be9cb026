"""One folder makes the same slides wherever it is read."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from nodes import dicom_node
from pydicom import Dataset
from pydicom.uid import generate_uid
from tiny_slides import noise, split, write_level

from dicom_node.commands import analyze
from dicom_node.commands.studies_of_files import find_studies
from dicom_node.study.evidence import gather_evidence, slides_of
from dicom_node.study.facts import read_facts
from inference.slide.files import files_in, group
from inference.slide.headers import read_header
from training.tiles.slide_files import find_slides

MIXED = {
    "a-fine": ("1.1", "S-1", "VOLUME", 128),
    "a-coarse": ("1.1", " S-1", "VOLUME", 64),
    "a-label": ("1.2", "S-1", "LABEL", 32),
    "b-whole": ("1.3", "S-2", "VOLUME", 128),
    "b-photo": ("1.4", "S-2", "OVERVIEW", 256),
    "c-label": ("1.5", "S-3", "LABEL", 32),
    "c-photo": ("1.6", "S-3", "OVERVIEW", 48),
    "d-nameless": ("1.7", "", "THUMBNAIL", 16),
}
"""Files by slide: series, container, flavor, rows."""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, (series, container, flavor, rows) in MIXED.items():

        def edit(ds: Dataset, name=name, series=series, container=container) -> None:
            ds.SOPInstanceUID = generate_uid(entropy_srcs=[name])
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", f"1.2.3.{series}"
            ds.ContainerIdentifier = container

        write_level(folder / f"{name}.dcm", noise(rows, 96), flavor=flavor, edit=edit)
    split(folder / "b-whole.dcm", 3)
    return folder


def test_node_analyze_and_training_group_a_mixed_folder_alike(mixed):
    paths = files_in(mixed)
    expected = group(read_header(path) for path in paths)
    by_letter = [sorted(p.name for p in paths if p.name[0] == letter) for letter in "abcd"]
    assert [sorted(p.name for p in slide.paths) for slide in expected] == by_letter
    facts = [read_facts(path) for path in paths]
    random.Random(1).shuffle(facts)
    assert slides_of(facts) == expected
    counted = gather_evidence(facts)
    assert sorted(uid for s in counted for v in s.levels for uid in v.sop_instance_uids) == sorted(
        uid for slide in expected for uid in slide.input_uids
    )
    assert {slide.key for slide in expected} <= {slide.key for slide in counted}
    (study,) = find_studies([mixed]).studies.values()
    assert analyze._slides(study) == (expected, {})
    trained = {frozenset(slide.paths) for slide in find_slides([mixed])}
    assert trained == {frozenset(slide.paths) for slide in expected}


def test_the_demo_says_that_it_shows_one_slide(mixed, tmp_path):
    said = dicom_node("demo", "--slide", str(mixed), "--out", str(tmp_path / "out"))
    assert said.returncode == 1
    assert "4 slides in it" in said.stdout
