"""Which files can be of one patient."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement

from inference.slide.claims.patient import first_difference, read_patient

DOE = {
    "PatientID": "4711",
    "IssuerOfPatientID": "HOSPITAL",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19500101",
}


def header(**changes: str | None) -> Dataset:
    ds = Dataset()
    for keyword, value in {**DOE, **changes}.items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def read_again(ds: Dataset) -> Dataset:
    """The header as it comes from a file: text in the bytes of its character set."""
    file = BytesIO()
    ds.save_as(file, implicit_vr=False, little_endian=True)
    file.seek(0)
    return dcmread(file, force=True)


def found(*headers: Dataset) -> tuple[str, ...]:
    """Keywords that differ among files named by their place."""
    patients = {str(n): read_patient(ds) for n, ds in enumerate(headers)}
    difference = first_difference(patients)
    return () if difference is None else difference.attributes


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "4712"),
        ("PatientID", "4711a"),
        ("PatientID", ""),
        ("PatientID", None),
        ("IssuerOfPatientID", "OTHER"),
        ("PatientName", "Roe^Jane"),
        ("PatientName", "Doe^Jane^Maria"),
        ("PatientBirthDate", "19500102"),
    ],
)
def test_an_attribute_that_differs_is_named(keyword, value):
    assert keyword in found(header(), header(**{keyword: value}))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", " 4711 "),
        ("IssuerOfPatientID", None),
        ("PatientName", "Doe^Jane^^^"),
        ("PatientName", "DOE^JANE"),
        ("PatientName", "Doe ^Jane "),
        ("PatientName", "Doe^Jane=山田^太郎=やまだ^たろう"),
        ("PatientName", "=山田^太郎"),
        ("PatientName", ""),
        ("PatientBirthDate", ""),
        ("PatientBirthDate", None),
    ],
)
def test_spaces_delimiters_case_and_absent_type_2_values_contradict_nothing(keyword, value):
    other = header(**{keyword: value})
    other.SpecificCharacterSet = "ISO_IR 192"
    assert found(header(), other) == ()


def test_without_a_patient_id_a_name_that_only_one_file_states_is_a_difference():
    nameless = header(PatientID=None, PatientName=None)
    assert found(header(PatientID=None), nameless) == ("PatientName",)


def test_without_a_patient_id_names_with_no_group_in_common_are_a_difference():
    ideographic = header(PatientID=None, PatientName="=山田^太郎")
    assert found(header(PatientID=None), ideographic) == ("PatientName",)


def test_one_name_composed_in_two_ways_is_one_name():
    names = ["M\u00fcller^J\u00f6rg", "Mu\u0308ller^Jo\u0308rg"]
    assert found(*(header(PatientName=n, SpecificCharacterSet="ISO_IR 192") for n in names)) == ()


def test_files_that_name_nobody_are_of_one_patient():
    nobody = dict.fromkeys(DOE)
    assert found(header(**nobody), header(**nobody)) == ()


def test_a_file_that_states_less_does_not_tie_two_others_together():
    bare = header(PatientName=None, PatientBirthDate=None)
    assert found(bare, header(), header(PatientName="Roe^Jane")) == ("PatientName",)


def test_the_same_name_in_two_character_sets_is_one_patient():
    latin, utf8 = header(), header()
    latin.SpecificCharacterSet, utf8.SpecificCharacterSet = "ISO_IR 100", "ISO_IR 192"
    for ds in (latin, utf8):
        ds.PatientName = "Müller^Jörg"
    assert found(read_again(latin), read_again(utf8)) == ()


def test_a_value_that_cannot_be_converted_is_compared_as_the_bytes_it_is():
    one, same, other = header(), header(), header()
    for ds, value in ((one, b"\xff\xfe1"), (same, b"\xff\xfe1"), (other, b"\xff\xfe2")):
        ds[0x00100020] = DataElement(0x00100020, "UN", value)
    assert found(one, same) == ()
    assert found(one, other) == ("PatientID",)


def test_neither_values_nor_hashes_of_them_show_when_a_patient_is_printed():
    assert repr(read_patient(header())) == "Patient()"


def test_thousands_of_patients_in_one_slide_are_compared_in_a_moment():
    assert found(*(header(PatientID=str(n)) for n in range(20_000))) == ("PatientID",)
