"""Which files make a slide."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import generate_uid
from tiny_slides import noise, setting, split, write_level

from inference.errors import Refused
from inference.slide.files import SlideFiles, files_in, group
from inference.slide.headers import read_header
from inference.slide.slide import open_slide
from inference.types import Reason

STUDY = "1.2.3"


def image(
    path: Path,
    series: str = "1.2.3.1",
    container: str = "S-1",
    *,
    flavor: str = "VOLUME",
    rows: int = 64,
    study: str = STUDY,
    **values: object,
) -> Path:
    """An image of that many rows with a UID of its own."""
    identity = setting(
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        ContainerIdentifier=container,
        SOPInstanceUID=generate_uid(entropy_srcs=[str(path)]),
        **values,
    )
    return write_level(path, noise(rows, 96), flavor=flavor, edit=identity)


def grouped(*paths: Path) -> tuple[SlideFiles, ...]:
    """Whatever order the files come in, they make the same slides."""
    found = group(read_header(path) for path in paths)
    assert group(read_header(path) for path in reversed(paths)) == found
    assert sorted(path for slide in found for path in slide.paths) == sorted(paths), "none vanishes"
    return found


def names(slides: tuple[SlideFiles, ...]) -> list[list[str]]:
    return [[path.stem for path in slide.paths] for slide in slides]


def test_a_slide_is_one_container_in_one_series(tmp_path):
    fine, coarse = image(tmp_path / "a.dcm", rows=128), image(tmp_path / "b.dcm")
    other = image(tmp_path / "c.dcm", container="S-2")
    again = image(tmp_path / "d.dcm", series="1.2.3.2")
    slides = grouped(coarse, again, other, fine)
    assert names(slides) == [["a", "b"], ["c"], ["d"]]
    assert [slide.base_path.stem for slide in slides] == ["a", "c", "d"]


def test_the_key_of_a_slide_never_changes(tmp_path):
    """It is a part of what the UIDs of results are made from."""
    (slide,) = grouped(image(tmp_path / "a.dcm"))
    assert slide.key == "e2e68704"
    (indented,) = grouped(image(tmp_path / "b.dcm", container=" S-1"))
    assert indented.key == "382a2edd"


def test_label_and_overview_in_series_of_their_own_go_with_the_slide_of_their_container(tmp_path):
    first = image(tmp_path / "a.dcm"), image(tmp_path / "al.dcm", "1.2.3.8", flavor="LABEL")
    second = (
        image(tmp_path / "b.dcm", "1.2.3.2", "S-2"),
        image(tmp_path / "bo.dcm", "1.2.3.9", "S-2", flavor="OVERVIEW", rows=256),
    )
    slides = grouped(*first, *second)
    assert names(slides) == [["a", "al"], ["b", "bo"]]
    assert slides[1].base_path == second[0], "the slide, though the photograph is larger"
    assert len(slides[1].input_uids) == 2


def test_an_image_that_names_no_container_goes_with_the_only_slide_of_its_study(tmp_path):
    one = image(tmp_path / "a.dcm")
    label = image(tmp_path / "l.dcm", "1.2.3.8", "", flavor="LABEL")
    elsewhere = image(tmp_path / "z.dcm", "1.2.4.1", "S-9", study="1.2.4")
    assert names(grouped(one, label, elsewhere)) == [["a", "l"], ["z"]]
    two = image(tmp_path / "b.dcm", "1.2.3.2", "S-2")
    assert names(grouped(one, two, label, elsewhere)) == [["a"], ["b"], ["l"], ["z"]]


def test_blanks_around_a_container_identifier_do_not_count(tmp_path):
    paths = [
        image(tmp_path / "a.dcm", rows=128, container="S-1 "),
        image(tmp_path / "b.dcm", container=" S-1"),
        image(tmp_path / "l.dcm", "1.2.3.8", "  S-1", flavor="LABEL"),
    ]
    (slide,) = grouped(*paths)
    assert slide.key == "e2e68704"
    with open_slide(slide.paths) as opened:
        assert len(opened.accounts) == 3


def test_images_without_a_volume_are_a_slide_that_is_not_assessable(tmp_path):
    slide = image(tmp_path / "a.dcm")
    stray = (
        image(tmp_path / "s1.dcm", "1.2.3.8", "S-2", flavor="OVERVIEW"),
        image(tmp_path / "s2.dcm", "1.2.3.9", "S-2", flavor="LABEL"),
    )
    found = grouped(slide, *stray)
    assert names(found) == [["a"], ["s1", "s2"]]
    with pytest.raises(Refused) as refused:
        open_slide(found[1].paths)
    assert refused.value.verdict.reason == Reason.NO_VOLUME_LEVEL
    assert names(grouped(*stray)) == [["s1", "s2"]]


def test_two_slides_of_one_container_leave_a_label_of_it_to_itself(tmp_path):
    two = image(tmp_path / "a.dcm"), image(tmp_path / "b.dcm", "1.2.3.2")
    label = image(tmp_path / "l.dcm", "1.2.3.8", flavor="LABEL")
    assert names(grouped(*two, label)) == [["a"], ["b"], ["l"]]


def test_an_object_of_another_class_is_no_volume_whatever_it_says(tmp_path):
    segmentation = image(tmp_path / "s.dcm", "1.2.3.2", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    slides = grouped(image(tmp_path / "a.dcm"), segmentation)
    assert names(slides) == [["a", "s"]]


def test_parts_of_a_concatenation_come_in_their_order_and_the_first_is_the_base(tmp_path):
    coarse = image(tmp_path / "b.dcm")
    parts = split(image(tmp_path / "a.dcm", rows=128), 3)
    (slide,) = grouped(parts[2], coarse, parts[0], parts[1])
    assert slide.paths == (*parts, coarse)
    assert slide.base_path == parts[0]


def test_several_files_of_one_level_are_all_of_the_slide(tmp_path):
    planes = [image(tmp_path / f"{n}.dcm") for n in range(3)]
    (slide,) = grouped(*planes)
    assert set(slide.paths) == set(planes)
    assert slide.base_path == slide.paths[0]


def test_files_come_from_a_folder_to_its_bottom_in_order(tmp_path):
    deep = tmp_path / "b" / "c"
    deep.mkdir(parents=True)
    for path in (tmp_path / "z.txt", deep / "a", tmp_path / "b" / "y"):
        path.write_text("any")
    assert files_in(tmp_path) == [deep / "a", tmp_path / "b" / "y", tmp_path / "z.txt"]
    assert files_in(deep / "a") == [deep / "a"]
    assert files_in(tmp_path / "absent") == [tmp_path / "absent"]
