"""Damage that was once an unexpected error, or a number that lay beside the tissue.

Each gives a report that says why there is no number, or a number with sound geometry; an operator
never reads the name of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from letters import Drawn, drawn, tiny_at_letter_scale
from pydicom import DataElement, Dataset
from straight import straight_through
from students import student

from engines.runtime import Runtime

NUMBER, REFUSED, STOPPED = "a number", "a refusal", "a sentence for the operator"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with student(
        tmp_path_factory.mktemp("student") / "tiny", tiny_at_letter_scale, threads=1
    ) as made:
        yield made


def _spacing(text: bytes) -> Callable[[Drawn], None]:
    """Another Pixel Spacing of the largest level, in bytes that no library writes."""

    def change(slide: Drawn) -> None:
        def rewrite(data: bytes) -> bytes:
            at = data.index(b"\x28\x00\x30\x00DS")
            length = int.from_bytes(data[at + 6 : at + 8], "little")
            return data[: at + 8] + text.ljust(length)[:length] + data[at + 8 + length :]

        slide.base.rewrite = rewrite

    return change


def _set(**values: object) -> Callable[[Drawn], None]:
    def change(slide: Drawn) -> None:
        for image in slide.images:
            for keyword, value in values.items():
                if value is None:
                    delattr(image.header, keyword)
                else:
                    setattr(image.header, keyword, value)

    return change


def _unknown_vr(slide: Drawn) -> None:
    def rewrite(data: bytes) -> bytes:
        return data.replace(b"\x09\x00\x10\x10LO", b"\x09\x00\x10\x10ZZ", 1)

    for image in slide.images:
        image.header[0x00090010] = DataElement(0x00090010, "LO", "MAKER")
        image.header[0x00091010] = DataElement(0x00091010, "LO", "VALUE!")
        image.rewrite = rewrite


def _long_table(slide: Drawn) -> None:
    slide.base.table = "extended"

    def rewrite(data: bytes) -> bytes:
        at = data.index(b"\xe0\x7f\x02\x00O")
        length = int.from_bytes(data[at + 8 : at + 12], "little")
        huge = (1 << 40).to_bytes(8, "little") * (length // 8)
        return data[: at + 12] + huge + data[at + 12 + length :]

    slide.base.rewrite = rewrite


CASES: dict[str, tuple[Callable[[Drawn], None], set[str]]] = {
    "spacing nan": (_spacing(b"nan\\nan"), {REFUSED, STOPPED}),
    "spacing inf": (_spacing(b"inf\\inf"), {REFUSED, STOPPED}),
    "spacing 1e300": (_spacing(b"1e300\\1e300"), {REFUSED, STOPPED}),
    "no shared groups": (_set(SharedFunctionalGroupsSequence=None), {REFUSED, STOPPED, NUMBER}),
    "no Rows": (_set(Rows=None), {REFUSED, STOPPED}),
    "no Columns": (_set(Columns=None), {REFUSED, STOPPED}),
    "no Modality": (_set(Modality=None), {NUMBER, REFUSED}),
    "lengths of 2**40": (_long_table, {NUMBER, REFUSED, STOPPED}),
    "private element of an unknown VR": (_unknown_vr, {NUMBER, REFUSED, STOPPED}),
    "no direction": (_set(ImageOrientationSlide=[0, 0, 0, 0, 0, 0]), {REFUSED, STOPPED}),
    "directions of other lengths": (
        _set(ImageOrientationSlide=[1, 1, 1, 1, 1, 1]),
        {REFUSED, STOPPED},
    ),
    "no frame of reference": (_set(FrameOfReferenceUID="not a uid"), {REFUSED, STOPPED}),
    "no date": (_set(StudyDate="notadate"), {NUMBER}),
}


@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_damage_ends_in_a_number_that_is_right_or_in_a_sentence(
    case: str, runtime: Runtime, tmp_path: Path
) -> None:
    change, allowed = CASES[case]
    slide = drawn()
    change(slide)
    came = straight_through(slide.save(tmp_path / "slide"), runtime)
    got = NUMBER if came.predictions else REFUSED if came.refusals else STOPPED
    assert got in allowed, came.said
    assert came.said or got == NUMBER
    assert not re.search(r"\w+Error\b|Traceback|\.py:", came.said), came.said
    if got != STOPPED:
        assert came.objects, "a report, whatever it says"
    for found in came.predictions:
        turn = np.array(found.geometry.orientation).reshape(2, 3)
        assert np.abs(turn @ turn.T - np.eye(2)).max() < 0.02
    assert all(isinstance(made, Dataset) for made in came.objects)
