"""Results of patients of any script: in UTF-8, right, valid, and shown by DCMTK."""

from __future__ import annotations

import io
from html import unescape
from pathlib import Path

import pytest
import structlog
from letters_of_the_world import DECODED, MARKED, Written
from pydicom import Dataset, dcmread, dcmwrite
from result_inputs import PROVENANCE, manifest, prediction, refusal, report, segment, volume
from validators import dciodvfy_errors, ended, template_errors

from dicom_node.results.build import build_objects
from dicom_node.results.files import write
from dicom_node.results.making import Making
from inference.slide.characters.decoding import MARK, decode
from inference.slide.characters.sets import stated
from inference.slide.files import SlideFiles

ALL = DECODED | MARKED


def header_in(written: Written) -> Dataset:
    """A slide's header from a file, with the octets of `written` as the patient's name, in a text
    and in an item."""
    ds = volume()
    del ds.SpecificCharacterSet
    if written.sets:
        ds.SpecificCharacterSet = list(written.sets)
    ds.ReferringPhysicianName = ""
    size = len(written.octets) + len(written.octets) % 2
    ds.PatientName, ds.StudyDescription = "P" * size, "T" * size
    specimen = ds.SpecimenDescriptionSequence[0]
    specimen.SpecimenIdentifier = "I" * size
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    content = buffer.getvalue()
    for letter in ("P", "T", "I"):
        word = letter.encode() * size
        assert content.count(word) == 1
        content = content.replace(word, written.octets.ljust(size))
    return dcmread(io.BytesIO(content), force=True)


def text_of(written: Written) -> str:
    """The octets as a text that is no name."""
    return decode(written.octets, stated(written.sets), b"\\")


@pytest.fixture(scope="module", params=ALL.values(), ids=ALL.keys())
def written(request: pytest.FixtureRequest) -> Written:
    chosen: Written = request.param
    return chosen


@pytest.fixture(scope="module")
def objects(written: Written, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    source = header_in(written)
    seg = segment(source, prediction(source))
    built = {
        "seg": seg,
        "sr": report(source, prediction(source), segmentations=[seg]),
        "refused": report(source, refusal(source)),
    }
    folder = tmp_path_factory.mktemp("written")
    for name, ds in built.items():
        write(ds, folder / f"{name}.dcm")
    return {name: folder / f"{name}.dcm" for name in built}


def test_every_object_says_the_same_in_utf_8(written, objects):
    for path in objects.values():
        read = dcmread(path)
        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert path.read_bytes().count(b"ISO 2022") == 0
        octets = read.get_item("PatientName").value.rstrip(b" ")
        assert octets.decode("utf-8") == written.text
        assert read.StudyDescription == text_of(written)
    seg = dcmread(objects["seg"])
    assert seg.SpecimenDescriptionSequence[0].SpecimenIdentifier == text_of(written)
    assert text_of(written) in [
        item.TextValue for item in items(dcmread(objects["sr"])) if "TextValue" in item
    ]


def items(parent: Dataset) -> list[Dataset]:
    found = list(parent.get("ContentSequence") or ())
    return [*found, *(deeper for one in found for deeper in items(one))]


def test_validators_find_no_error(objects):
    assert {name: dciodvfy_errors(path) for name, path in objects.items()} == {
        name: [] for name in objects
    }


def test_dsr2html_shows_the_name_and_the_specimen(written, objects, tmp_path):
    for name in ("sr", "refused"):
        page = tmp_path / f"{name}.html"
        done = ended("dsr2html", objects[name], page)
        assert done.returncode == 0, done.stderr
        shown = unescape(page.read_text("utf-8"))
        for part in written.text.split("=")[0].split("^"):  # DCMTK shows no other group
            assert part in shown
        assert text_of(written) in shown


def test_who_reads_a_report_is_told_of_octets_that_are_no_text(written, objects):
    for name in ("sr", "refused"):
        said = [str(i.TextValue) for i in items(dcmread(objects[name])) if "TextValue" in i]
        told = [one for one in said if "no text in the Specific Character Set" in one]
        assert bool(told) == (MARK in written.text)
        assert not told or "Study Description, Patient's Name, Specimen Identifier" in told[0]


@pytest.mark.parametrize("name", ["Japanese in half width", "Korean", "Latin 1 declared as UTF-8"])
def test_the_template_validator_finds_no_error(name, tmp_path):
    source = header_in(ALL[name])
    write(report(source, prediction(source)), tmp_path / "sr.dcm")
    assert template_errors(tmp_path / "sr.dcm") == []


def test_an_operator_is_told_which_attributes_of_which_slide_and_no_value():
    for name in ("Korean", "an unknown term"):
        source = header_in(ALL[name])
        slide = SlideFiles("key", (Path("a"),), (source.SOPInstanceUID,), Path("a"))
        making = Making(source, refusal(source), manifest(), PROVENANCE, slide, 0)
        with structlog.testing.capture_logs() as logs:
            (built,) = build_objects(making)
        assert built.kind == "report"
        told = [line for line in logs if line["event"] == "text_not_decoded"]
        assert bool(told) == (name in MARKED)
    assert told == [
        {
            "event": "text_not_decoded",
            "log_level": "warning",
            "slide": "key",
            "attributes": ["StudyDescription", "PatientName", "SpecimenIdentifier"],
            "of": 3,
        }
    ]


def test_several_specimens_are_named_in_their_own_letters():
    source = volume()
    source.SpecimenDescriptionSequence[0].SpecimenIdentifier = "検体1"
    source.SpecimenDescriptionSequence.append(Dataset())
    source.SpecimenDescriptionSequence[1].SpecimenIdentifier = "検体2"
    said = [str(i.TextValue) for i in items(report(source, prediction(source))) if "TextValue" in i]
    assert "The slide holds 2 specimens, analyzed as one: 検体1, 検体2." in said
