"""What a header may hold: values of their kind and size, or a sentence that quotes none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from tiny_slides import noise, setting, split, write_level

from inference.errors import SlideUnreadable
from inference.slide.headers import ImageHeader, read_header
from inference.slide.slide import open_slide

PLANT = "ZZPLANT"


def named() -> list[Dataset]:
    item = Dataset()
    item.PatientName = f"{PLANT}^JANE"
    return [item]


HOSTILE = [
    ("TotalPixelMatrixRows", "UT", "9" * 5000),
    ("TotalPixelMatrixRows", "LT", PLANT),
    ("TotalPixelMatrixColumns", "LT", "-1"),
    ("TotalPixelMatrixFocalPlanes", "UT", "4294967296"),
    ("NumberOfFrames", "UT", str(2**31)),
    ("NumberOfFrames", "IS", [4, 4]),
    ("NumberOfOpticalPaths", "UC", "many"),
    ("Rows", "UL", 65536),
    ("Rows", "SQ", named()),
    ("Columns", "FD", float("inf")),
    ("Columns", "FD", 8.5),
    ("BitsAllocated", "OB", b"\0\0"),
    ("InConcatenationTotalNumber", "SL", -2),
    ("ContainerIdentifier", "UT", PLANT * 100_000),
    ("ContainerIdentifier", "SQ", named()),
    ("DimensionOrganizationType", "UL", 7),
    ("SeriesInstanceUID", "LT", f"{PLANT}^JANE"),
    ("StudyInstanceUID", "UT", "1." * 1000),
    ("ConcatenationUID", "LT", PLANT),
]


def planted(keyword: str, vr: str, value: object) -> Callable[[Dataset], None]:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return lambda ds: ds.add(DataElement(tag, vr, value))


@pytest.mark.parametrize("read", [read_header, lambda path: open_slide([path])])
@pytest.mark.parametrize(("keyword", "vr", "value"), HOSTILE)
def test_a_value_that_its_attribute_cannot_hold_is_refused_by_keyword(
    keyword: str, vr: str, value: object, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = write_level(tmp_path / "a.dcm", noise(64, 96), edit=planted(keyword, vr, value))
    with pytest.raises(SlideUnreadable) as unreadable:
        read(path)
    said = str(unreadable.value)
    assert said.startswith("Instance 1.2.826.")
    assert f": {keyword} is no " in said
    assert PLANT not in said
    assert len(said) < 250
    assert unreadable.value.path == path


@pytest.mark.parametrize("content", [b"", b"\0" * 128 + b"DICM" + b"nonsense" * 20, b"text"])
def test_what_is_no_dicom_is_said_without_its_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"{PLANT}.dcm"
    path.write_bytes(content)
    with pytest.raises(SlideUnreadable) as unreadable:
        read_header(path)
    assert "expected a DICOM image" in str(unreadable.value)
    assert PLANT not in str(unreadable.value)


def test_a_file_that_is_not_there_is_no_malformed_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "absent.dcm")


def test_a_term_that_is_not_defined_is_not_repeated(tmp_path: Path) -> None:
    edit = setting(DimensionOrganizationType=PLANT, ImageType=["ORIGINAL", "PRIMARY", PLANT])
    header = read_header(write_level(tmp_path / "a.dcm", noise(64, 96), edit=edit))
    assert (header.flavor, header.organization) == ("OTHER", "OTHER")


def test_a_header_says_what_the_file_says(tmp_path: Path) -> None:
    part = read_header(split(write_level(tmp_path / "a.dcm", noise(100, 110)), 3)[1])
    assert (part.rows, part.cols, part.frame_rows, part.frame_cols) == (100, 110, 32, 48)
    assert (part.frames, part.concatenation_number, part.concatenation_total) == (4, 2, 3)
    assert part.image == part.concatenation_uid
    assert part.is_volume
    assert part.tiled_full_frames == 12


def header(path: Path, **values: object) -> ImageHeader:
    return read_header(write_level(path, noise(100, 110), edit=setting(**values)))


def test_a_tiled_full_image_has_a_frame_for_each_tile_plane_and_path(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    assert header(path).tiled_full_frames == 12
    assert header(path, TotalPixelMatrixFocalPlanes=3).tiled_full_frames == 36
    assert header(path, NumberOfOpticalPaths=2).tiled_full_frames == 24
    assert header(path, DimensionOrganizationType="TILED_SPARSE").tiled_full_frames is None
    assert header(path, Rows=0).tiled_full_frames is None
