from __future__ import annotations

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from letters_of_the_world import DECODED, MARKED, Written
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from inference.slide.characters.decoding import MARK, decode
from inference.slide.characters.header import in_unicode, undecoded
from inference.slide.characters.sets import stated

OF_NAMES = b"\\^="
SETS = st.lists(
    st.sampled_from(sorted({term for w in (DECODED | MARKED).values() for term in w.sets})),
    max_size=3,
)


@pytest.mark.parametrize("written", (DECODED | MARKED).values(), ids=(DECODED | MARKED).keys())
def test_octets_are_read_by_the_character_set_that_is_stated_and_by_no_other(written: Written):
    assert decode(written.octets, stated(written.sets), OF_NAMES) == written.text


def test_what_is_marked_here_is_marked_and_the_rest_is_not():
    assert all(MARK in written.text for written in MARKED.values())
    assert not any(MARK in written.text for written in DECODED.values())


def test_the_sets_of_the_begin_hold_again_after_a_line_and_after_a_delimiter():
    by = stated(["ISO 2022 IR 100", "ISO 2022 IR 144"])
    assert decode(b"\xe9\x1b-L\xe9\r\n\xe9\x1b-L\xe9\t\xe9", by) == "éщ\r\néщ\té"
    assert decode(b"\x1b-L\xe9\\\xe9^\xe9", by, b"\\") == "щ\\é^é"


def test_a_yen_sign_is_one_where_it_separates_nothing():
    assert decode(b"5\\~", stated(["ISO_IR 13"])) == "5¥‾"
    assert decode(b"5\\~", stated(["ISO_IR 13"]), b"\\") == "5\\‾"


@given(st.binary(max_size=40), SETS)
@example(b"\x1b$B\x1b$)C\x80\xff\x1b", ["", "ISO 2022 IR 87", "ISO 2022 IR 149"])
def test_whatever_comes_is_text_that_utf_8_can_hold_without_controls(octets, sets):
    text = decode(octets, stated(sets), OF_NAMES)
    assert text.encode("utf-8").decode("utf-8") == text
    assert not set(text) & {chr(n) for n in (*range(9), 11, *range(14, 32), *range(127, 160))}


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_two_texts_that_differ_in_octets_unknown_to_their_character_set_never_look_alike(a, b):
    for sets in ([], ["ISO_IR 192"], ["ISO_IR 144"]):
        one, other = decode(a, stated(sets)), decode(b, stated(sets))
        assert (one == other) == (a == b)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), max_size=30))
def test_utf_8_and_gb18030_are_read_as_they_were_written(text):
    assert decode(text.encode("utf-8"), stated(["ISO_IR 192"])) == text
    assert decode(text.encode("gb18030"), stated(["GB18030"])) == text


# ---- headers ------------------------------------------------------------------------------------


def raw(keyword: str, vr: str | None, octets: bytes) -> RawDataElement:
    tag = Tag(keyword)
    return RawDataElement(tag, vr, len(octets), octets, 0, vr is None, True)


def put(ds: Dataset, keyword: str, vr: str | None, octets: bytes) -> None:
    element = raw(keyword, vr, octets)
    ds[element.tag] = element


def file_of(ds: Dataset, syntax: str = ExplicitVRLittleEndian, **octets: bytes) -> Dataset:
    """The dataset as it is read from a file, its values in octets; words of it are replaced by
    octets of their length."""
    buffer = io.BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=True)
    content = buffer.getvalue()
    for word, wanted in octets.items():
        assert content.count(word.encode()) == 1
        assert len(word) == len(wanted)
        content = content.replace(word.encode(), wanted)
    return dcmread(io.BytesIO(content), force=True)


def specimen(word: str, sets: str | None = None) -> Dataset:
    item = Dataset()
    if sets is not None:
        item.SpecificCharacterSet = sets
    item.SpecimenIdentifier = word
    return item


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_item_with_a_character_set_of_its_own_is_read_by_it_and_others_by_that_around(syntax):
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 144"
    ds.StudyDescription = "STUDY1"
    inner = specimen("SECOND", "ISO_IR 138")
    deeper = Dataset()
    deeper.CodeMeaning = "DEEP"
    inner.SpecimenTypeCodeSequence = [deeper]
    ds.SpecimenDescriptionSequence = [specimen("FIRST1"), inner, specimen("THIRD1", "")]
    source = file_of(
        ds,
        syntax,
        STUDY1=b"\xbb\xee\xda \xbb\xee",
        FIRST1=b"\xbb\xee1234",
        SECOND=b"\xe9\xfb1234",
        DEEP=b"\xf9\xf812",
        THIRD1=b"\xbb\xee1234",
    )
    own = in_unicode(source)
    first, second, third = own.SpecimenDescriptionSequence
    assert (own.StudyDescription, first.SpecimenIdentifier) == ("Люк Лю", "Лю1234")
    assert second.SpecimenIdentifier == f"י{MARK}FB1234"
    assert second.SpecimenTypeCodeSequence[0].CodeMeaning == "שר12"
    assert third.SpecimenIdentifier == f"{MARK}BB{MARK}EE1234"
    assert own.SpecificCharacterSet == "ISO_IR 192"
    assert not any("SpecificCharacterSet" in item for item in own.SpecimenDescriptionSequence)
    assert undecoded(own) == ("SpecimenIdentifier",)


def test_the_source_stays_as_it_was_and_may_be_read_again():
    ds = Dataset()
    ds.PatientName = "Mueler"
    ds.SpecimenDescriptionSequence = [specimen("GLASS")]
    source = file_of(ds, Mueler=b"M\xfcller", GLASS=b"Gl\xe4s1")
    once, again = in_unicode(source), in_unicode(source)
    assert once == again
    assert in_unicode(once) == once
    assert source.get_item("PatientName").value.rstrip() == b"M\xfcller"


def test_texts_of_unknown_representation_are_those_of_the_dictionary():
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    put(ds, "PatientName", "UN", b"M\xfcller")
    assert in_unicode(ds).PatientName == "Müller"


def test_values_are_told_apart_by_real_backslashes_only():
    ds = Dataset()
    ds.SpecificCharacterSet = "GBK"
    put(ds, "OtherPatientNames", "PN", b"\x95\x5c^A\\B ")
    put(ds, "PatientComments", "LT", b"\x95\x5c\\B ")
    own = in_unicode(ds)
    assert [str(name) for name in own.OtherPatientNames] == ["昞^A", "B"]
    assert own.PatientComments == "昞\\B"


@pytest.mark.parametrize(
    ("keyword", "vr", "limit"), [("PatientID", "LO", 64), ("StudyID", "SH", 16)]
)
def test_marks_make_no_value_longer_than_its_representation_allows(keyword, vr, limit):
    ds = Dataset()
    put(ds, keyword, vr, b"\xfc" * limit)
    assert in_unicode(ds)[keyword].value == MARK
    put(ds, keyword, vr, b"A" * (limit - 3) + b"\xfc")
    assert in_unicode(ds)[keyword].value == "A" * (limit - 3) + f"{MARK}FC"
    put(ds, keyword, vr, b"A" * (limit - 2) + b"\xfc")
    assert in_unicode(ds)[keyword].value == "A" * (limit - 2) + MARK


def test_a_group_of_a_name_may_have_64_characters_of_any_size():
    ds = Dataset()
    ds.SpecificCharacterSet = "GB18030"
    name = "=".join(["A" * 64, "王" * 64, "𠀀" * 64])
    put(ds, "PatientName", "PN", name.encode("gb18030"))
    assert str(in_unicode(ds).PatientName) == name
    put(ds, "PatientName", "PN", b"A" * 64 + b"=" + b"\xff" * 30)
    assert str(in_unicode(ds).PatientName) == "A" * 64 + f"={MARK}"


def test_text_that_is_text_already_stays():
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "山田^太郎"
    ds.add(DataElement(Tag("StudyDescription"), "LO", "Люк"))
    own = in_unicode(ds)
    assert (own.PatientName, own.StudyDescription) == ("山田^太郎", "Люк")


@pytest.mark.parametrize(
    ("vr", "octets"),
    [("US", b"\1\0"), ("US", b"\1\0\2\0"), ("DS", b"x"), ("CS", b"\xff\\\xfe"), ("SQ", b"\1")],
)
def test_a_character_set_that_is_no_text_costs_only_what_is_not_of_the_default_repertoire(
    vr, octets
):
    ds = Dataset()
    put(ds, "SpecificCharacterSet", vr, octets)
    put(ds, "PatientID", "LO", b"P1\xfc")
    assert in_unicode(ds).PatientID == f"P1{MARK}FC"
