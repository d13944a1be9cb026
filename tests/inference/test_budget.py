"""A header of more than a slide needs is refused by name, at once, whoever reads it."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from wsm_files import encoded, wsm_header

from dicom_node.sop_classes import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from dicom_node.spool.identity import read_identity
from dicom_node.spool.refusals import Refused, Why
from dicom_node.study.facts import Uncountable, read_facts
from inference.errors import SlideUnreadable
from inference.slide.budget import TooMuch, Walk, require_bounded
from inference.slide.counting import read_before_pixels
from inference.slide.headers import read_header
from slides import PhantomStudy

UNDEFINED = b"\xff\xff\xff\xff"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"
EMPTY_ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"
MANY = 260_000


def altered(study: PhantomStudy, tmp_path: Path, at_tag: int, element: bytes) -> Path:
    """The first file of a study with an element put in front of the one of a tag."""
    data = min(study.folder.glob("*.dcm")).read_bytes()
    head = struct.pack("<HH", at_tag >> 16, at_tag & 0xFFFF)
    at = data.index(head, 132)
    path = tmp_path / "altered.dcm"
    path.write_bytes(data[:at] + element + data[at:])
    return path


def sequence(tag: int, content: bytes, vr: bytes = b"SQ") -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + b"\0\0"
    return head + UNDEFINED + content + END


NESTED = (b"\xfe\xff\x00\xe0" + UNDEFINED + b"\x40\x00\x60\x05SQ\0\0" + UNDEFINED) * 9000
KINDS = {
    "empty items": sequence(0x00091001, EMPTY_ITEM * MANY),
    "empty items of unknown VR": sequence(0x00091001, EMPTY_ITEM * MANY, b"UN"),
    "of a defined length": b"\x09\x00\x01\x10SQ\0\0"
    + struct.pack("<I", 8 * MANY)
    + EMPTY_ITEM * MANY,
    "items with an element": sequence(
        0x00091001, (b"\xfe\xff\x00\xe0\x08\0\0\0" + b"\x09\x00\x02\x10LO\0\0") * 90_000
    ),
    "elements": b"".join(
        struct.pack("<HH", 9, 0x1000 + n % 0xEFFF) + b"LO\0\0" for n in range(MANY)
    ),
    "one large value": b"\x09\x00\x01\x10OB\0\0" + struct.pack("<I", 70 << 20) + bytes(70 << 20),
}


@pytest.mark.parametrize("kind", KINDS)
def test_too_large_a_header_is_refused_at_once_by_whoever_reads_it(kind, phantom_study, tmp_path):
    path = altered(phantom_study, tmp_path, 0x0020000D, KINDS[kind])
    began = time.process_time()
    with pytest.raises(Uncountable, match=r"element \(0009,[0-9A-F]{4}\) exceeds"):
        read_facts(path)
    with pytest.raises(SlideUnreadable, match="the header holds more than"):
        read_header(path)
    assert time.process_time() - began < 2


def test_the_attribute_is_named_by_its_keyword(phantom_study, tmp_path):
    many = sequence(0x00400560, EMPTY_ITEM * 20_000)
    path = altered(phantom_study, tmp_path, 0x00480001, many)
    with pytest.raises(Uncountable, match="16384 items, which SpecimenDescriptionSequence exceeds"):
        read_facts(path)


def test_items_that_nest_for_ever_are_malformed_or_too_many(phantom_study, tmp_path):
    path = altered(phantom_study, tmp_path, 0x0020000D, sequence(0x00091001, NESTED))
    began = time.process_time()
    with pytest.raises(Uncountable):
        read_facts(path)
    assert time.process_time() - began < 5


def test_pixel_data_of_too_many_fragments_is_refused_in_seconds(phantom_study, tmp_path):
    head = b"\xe0\x7f\x10\x00OB\0\0" + UNDEFINED
    data = min(phantom_study.folder.glob("*.dcm")).read_bytes()
    path = tmp_path / "fragments.dcm"
    path.write_bytes(data[: data.index(head)] + head + EMPTY_ITEM * (3 << 20) + END)
    began = time.process_time()
    with pytest.raises(Uncountable, match="PixelData holds more than 1048576 fragments"):
        read_facts(path)
    assert time.process_time() - began < 10


def test_groups_of_more_items_than_frames_can_have_are_refused(phantom_study, tmp_path):
    many = sequence(0x52009230, EMPTY_ITEM * MANY)
    path = altered(phantom_study, tmp_path, 0x7FE00010, many)
    with pytest.raises(Uncountable, match="PerFrameFunctionalGroupsSequence holds more than"):
        read_facts(path)


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LE.uid, IMPLICIT_VR_LE.uid])
def test_ingest_refuses_an_instance_with_too_many_items_in_front_of_its_uids(syntax):
    ds = wsm_header()
    ds.add_new(0x00091001, "SQ", Sequence([Dataset()] * 100_000))
    data = encoded(ds, implicit=syntax == IMPLICIT_VR_LE.uid)

    class Arrived:
        size_bytes = len(data)

        def read_at(self, offset: int, count: int) -> bytes:
            return data[offset : offset + count]

    began = time.process_time()
    with pytest.raises(Refused) as refusal:
        read_identity(Arrived(), syntax)
    assert refusal.value.why is Why.HEADER_TOO_LARGE
    assert len(refusal.value.comment) <= 64
    assert time.process_time() - began < 0.5


def test_sound_headers_pass_and_are_read_as_before(phantom_study, composed_study):
    for path in [*phantom_study.folder.glob("*.dcm"), *composed_study.folder.glob("*.dcm")]:
        require_bounded(path)
        tags = [0x00280008, 0x00280004, 0x7FE00001]
        with path.open("rb") as file:
            read = read_before_pixels(file, tags)  # type: ignore[arg-type]
            at = file.tell()
            file.seek(0)
            expected = dcmread(file, stop_before_pixels=True, specific_tags=tags)
            assert at == file.tell()
        assert read.NumberOfFrames == expected.NumberOfFrames


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_walked_to_an_end(data, is_implicit):
    try:
        at = Walk(data, is_implicit=is_implicit).top_level(0, 0x7FE00000)
    except TooMuch:
        return
    assert 0 <= at <= len(data)


@given(st.integers(0, 40), st.integers(0, 4), st.booleans())
def test_the_items_of_any_nesting_are_counted_as_they_are(items, depth, is_implicit):
    inner = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.SpecimenDescriptionSequence = [inner]
        inner = outer
    ds = wsm_header()
    ds.SpecimenDescriptionSequence = [inner] * items
    data = encoded(ds, implicit=is_implicit)
    walk = Walk(data, is_implicit=is_implicit)
    assert walk.top_level(0, 0x7FE00000) == len(data)
    assert walk._items == items * (depth + 1)


def test_a_file_that_is_no_dicom_is_left_to_the_parser(tmp_path):
    for n, content in enumerate([b"", b"x" * 139, b"x" * 5000]):
        path = tmp_path / str(n)
        path.write_bytes(content)
        require_bounded(path)


def test_the_instance_that_once_took_minutes_is_refused_at_once(shared):
    path = shared / "cases" / "faults" / "many-items" / "x.dcm"
    if not path.exists():
        pytest.skip("needs ../shared/cases/faults, which is not here")
    with pytest.raises(Uncountable, match="SpecimenDescriptionSequence exceeds"):
        read_facts(path)
