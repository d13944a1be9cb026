"""What slides say of their organ, as converters, scanners and hospitals write it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping
from specimen_cases import CASES, LIVER, LUNG
from specimens import header, specimen

from inference.slide.attributes import BadValue
from inference.specimen.codes import Coded
from inference.specimen.deciding import Decision, decide
from inference.specimen.organs import is_covered, narrowest, organs
from inference.specimen.says import read_specimens
from inference.specimen.wording import read


def decided(dataset: Dataset) -> Decision:
    return decide(read_specimens(dataset))


@pytest.mark.parametrize(("dataset", "organ"), CASES.values(), ids=CASES)
def test_a_slide_is_of_the_organ_that_it_names_or_of_none(dataset, organ):
    decision = decided(dataset)
    assert (decision.organ.name if decision.organ else None) == organ, decision.sentence


def test_a_code_is_believed_before_words_and_the_other_organ_is_said():
    decision = decided(header(specimen(("15497006", "SCT", "Ovary"), short="Omentum")))
    assert decision.sentence == (
        "The organ is ovary, by Primary Anatomic Structure Sequence (15497006, SCT, Ovary)."
    )
    assert decision.beside == (
        "Specimen Short Description names peritoneum and omentum; the code is believed.",
    )


def test_words_that_name_several_organs_beside_a_code_are_said_too():
    decision = decided(header(specimen(LUNG, short="Lung, colon")))
    assert decision.organ is not None
    assert decision.organ.name == "lung"
    assert decision.beside == (
        "Specimen Short Description names colon and lung; the code is believed.",
    )


def test_sentences_name_attributes_and_organs_and_quote_nothing_of_the_slide():
    private = "Mueller^Hans 19420101"
    slides = [
        header(specimen(short=f"Lung {private}")),
        header(specimen(short=f"Lung or liver {private}")),
        header(specimen((private, private, f"Lung {private}"))),
        header(specimen((private, "SCT", private), type=(private, private, private))),
        header(specimen(LUNG, short=f"Liver {private}")),
        header(specimen([LUNG, ("10200004", "SCT", f"Liver {private}")])),
        header(specimen(), BodyPartExamined=f"LUNG {private}"),
        header(specimen(), StudyDescription=f"Lung {private}"),
    ]
    for slide in slides:
        decision = decided(slide)
        said = " ".join((decision.sentence, *decision.beside))
        assert not re.search("Mueller|Hans|1942", said), said


def test_what_disagrees_is_said_with_both_values():
    sentence = decided(header(specimen([LUNG, LIVER]))).sentence
    assert sentence.startswith(
        "The organ is undecided: Primary Anatomic Structure Sequence says lung (39607008, SCT, "
        "Lung), Primary Anatomic Structure Sequence says liver (10200004, SCT, Liver)"
    )


def test_an_attribute_that_is_no_sequence_is_refused_by_name():
    dataset = Dataset()
    dataset.add_new("SpecimenDescriptionSequence", "LO", "no sequence")
    with pytest.raises(BadValue, match="SpecimenDescriptionSequence"):
        read_specimens(dataset)


def test_every_code_has_the_meaning_that_dicom_gives_it():
    known: dict[str, set[str]] = {}
    for rows in concepts["SCT"].values():
        for value, (meaning, _) in rows.items():
            known.setdefault(value, set()).add(re.sub(r" \((body structure|specimen)\)$", "",
                                                      meaning))  # fmt: skip
    for organ in organs().values():
        for value, meaning in organ.sct.items():
            assert meaning in known.get(value, ()), (organ.name, value)


def test_no_code_word_or_topography_is_of_two_organs():
    every = list(organs().values())
    for values in (
        [c for o in every for c in o.sct],
        [b for o in every for b in o.icdo],
        [w.casefold() for o in every for w in o.words],
    ):
        assert len(set(values)) == len(values), [v for v in values if values.count(v) > 1]


HIERARCHY = {
    "lung": "28 26 D32", "breast": "04", "large intestine": "59", "colon": "591 593 594",
    "rectum": "596", "appendix": "592 D0874", "anus": "599", "stomach": "57", "esophagus": "56",
    "small bowel": "58", "liver": "62 D054 D056", "gallbladder and bile duct": "606 63 645",
    "pancreas": "65", "kidney": "71", "renal pelvis and ureter": "72 73", "bladder": "74",
    "prostate": "92 D05E4 D0823", "testis": "94", "uterus": "83", "endometrium": "834",
    "cervix": "832", "ovary": "87", "fallopian tube": "88", "vulva": "81", "vagina": "82",
    "placenta": "F11", "thyroid": "B6", "parathyroid": "B7", "adrenal": "B3", "thymus": "C8",
    "brain": "A0 A2 A3 A4 A5 A6 D0558", "skin": "00 01 02", "spleen": "C3", "bone marrow": "C1",
    "bone": "11 12 D016E", "soft tissue": "03 1A", "muscle": "13 14 D0684", "heart": "32 13",
    "salivary gland": "61", "oral cavity": "51 52 53 D0662", "pharynx": "23 55 C5",
    "larynx": "24", "pleura": "29", "peritoneum and omentum": "D4", "eye": "AA",
}  # fmt: skip
"""Where SNOMED RT, whose codes are a tree, has an organ; lymph nodes are in many places."""


def test_snomed_rt_has_every_code_in_the_place_of_its_organ():
    assert set(HIERARCHY) == set(organs()) - {"lymph node"}
    compared = 0
    for name, places in HIERARCHY.items():
        begins = tuple(f"T-{place}" for place in places.split())
        for value in organs()[name].sct:
            if srt := mapping["SCT"].get(value, ""):
                compared += srt.startswith("T-")
                assert srt.startswith((*begins, "G-", "P", "M", "R-")), (name, value, srt)
    assert compared > 370


def test_the_meaning_of_no_code_names_another_organ():
    for organ in organs().values():
        for value, meaning in organ.sct.items():
            named = read(meaning)
            if len(named.organs) == 1:
                assert narrowest({organ, *named.organs}), (organ.name, value, meaning)
            assert Coded(value, "SCT", meaning).organ == organ


def test_whoever_takes_a_whole_takes_its_parts_and_whoever_takes_all_parts_the_whole():
    o = organs()
    assert is_covered(o["endometrium"], [o["uterus"]])
    assert not is_covered(o["uterus"], [o["endometrium"]])
    assert not is_covered(o["cervix"], [o["uterus"]])
    assert is_covered(o["large intestine"], [o["colon"], o["rectum"]])
    assert not is_covered(o["large intestine"], [o["colon"]])
    assert not is_covered(o["lung"], [])


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text):
    found = read(text)
    assert found.organs <= set(organs().values())


@given(st.sampled_from(sorted(organs())), st.sampled_from(sorted(organs())))
def test_two_organs_in_one_text_are_one_only_where_one_lies_within_the_other(one, other):
    text = f"{organs()[one].words[0]}, {organs()[other].words[0]}"
    decision = decided(header(specimen(short=text)))
    assert (decision.organ is not None) == (
        one == other or organs()[one].within == other or organs()[other].within == one
        or ({one, other} == {"uterus", "cervix"} and one == "uterus")
    )  # fmt: skip
