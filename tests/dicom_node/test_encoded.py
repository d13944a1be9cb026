"""An object is encoded once: to the bytes that pydicom's own writer has for it."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)
from result_inputs import prediction, refusal, report, segment, volume

from dicom_node.results.content import settled
from dicom_node.results.encoded import Encoded, encoded


def by_pydicom(dataset: Dataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def plain(syntax: str = ExplicitVRLittleEndian) -> Dataset:
    ds = Dataset()
    ds.file_meta = Dataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.PatientName = "Yamada^Tarou=山田^太郎"
    ds.PixelRepresentation = 1
    ds.SmallestImagePixelValue = -3  # US or SS: which, another element says
    ds.WindowCenter = ["1.5", "2"]
    return ds


def with_sequences(*, marked: bool) -> Dataset:
    """Sequences in sequences, one of them empty, with lengths or with marks at their ends."""
    ds, outer, inner = plain(), Dataset(), Dataset()
    inner.CodeValue, inner.CodeMeaning, inner.UID = "Ä", "größer als ß", "1.2.3.4"
    inner.SpecificCharacterSet = "ISO_IR 100"
    outer.ConceptCodeSequence, outer.ContentSequence = [inner, inner], []
    outer.SmallestImagePixelValue = -2
    ds.ContentSequence = [outer, Dataset()]
    ds.add(DataElement(0x00091001, "LO", ["one", "two"]))
    for item, keyword in ((ds, "ContentSequence"), (outer, "ConceptCodeSequence")):
        item[keyword].is_undefined_length = marked
    outer.is_undefined_length_sequence_item = marked
    return ds


@pytest.mark.parametrize("marked", [False, True])
def test_sequences_come_to_the_bytes_of_pydicoms_writer(marked: bool) -> None:
    ds = with_sequences(marked=marked)
    assert encoded(ds) == by_pydicom(ds)
    again = dcmread(BytesIO(encoded(ds)))
    assert again.ContentSequence[0].ConceptCodeSequence[1].CodeMeaning == "größer als ß"


def test_what_was_read_from_a_file_comes_to_the_same_bytes() -> None:
    read = dcmread(BytesIO(by_pydicom(with_sequences(marked=True))))
    ds = plain()
    for element in read:
        ds[element.tag] = element
    assert encoded(ds) == by_pydicom(ds)


def test_frames_in_a_stream_come_to_the_same_bytes() -> None:
    ds = plain(JPEGLSLossless)
    ds.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x02\x00\x00\x00ab"
    ds["PixelData"].VR = "OB"
    assert encoded(ds) == by_pydicom(ds)


def test_a_longer_value_in_an_open_place_changes_the_lengths_around_it() -> None:
    ds = with_sequences(marked=False)
    whole = Encoded(ds, lambda element: element.keyword == "UID")
    assert whole.file() == by_pydicom(ds)
    assert [element.keyword for element in whole.open] == ["UID"] * 2
    for element, uid in zip(whole.open, ("1.2.3.4.5.6.7.8.9", "1.2"), strict=True):
        element.value = uid
    assert whole.file() == by_pydicom(ds)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_transfer_syntax_that_codes_elements_otherwise_is_refused(syntax: str) -> None:
    with pytest.raises(ValueError, match="expected Explicit VR Little Endian"):
        encoded(plain(syntax))


def test_the_file_of_a_settled_object_is_that_of_its_dataset() -> None:
    source = volume()
    made = [segment(source, prediction(source)), report(source, refusal(source))]
    for ds in made:
        assert settled(ds) == by_pydicom(ds)
