"""Sound slides with odd headers, names, neighbors and series: analyzed as if nothing were odd."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable

import numpy as np
import pytest
from letters import Drawn, flavored
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless, generate_uid
from tiny_slides import jpeg

Condition = Callable[[Drawn], None]


def stating(**values: object) -> Condition:
    """Every file says so; None takes an attribute away."""

    def change(slide: Drawn) -> None:
        for image in slide.images:
            for keyword, value in values.items():
                if value is None:
                    image.header.pop(keyword, None)
                else:
                    setattr(image.header, keyword, copy.deepcopy(value))

    return change


def lower_stating(**values: object) -> Condition:
    def change(slide: Drawn) -> None:
        for keyword, value in values.items():
            setattr(slide.lower.header, keyword, value)

    return change


def in_bytes(old: bytes, new: bytes) -> Condition:
    """The written files with other bytes of the same length."""
    assert len(old) == len(new)

    def change(slide: Drawn) -> None:
        for image in slide.images:
            image.rewrite = lambda data: data.replace(old, new, 1)

    return change


def named(charset: str | list[str], name: bytes) -> Condition:
    """A patient's name in a character set, as bytes of a device."""
    stand_in = b"X" * (len(name) + len(name) % 2)

    def change(slide: Drawn) -> None:
        for image in slide.images:
            if charset:
                image.header.SpecificCharacterSet = charset
            image.header.PatientName = stand_in.decode()
            image.rewrite = lambda data: data.replace(stand_in, name.ljust(len(stand_in)), 1)

    return change


def with_group_lengths(slide: Drawn) -> None:
    """Retired Group Length elements in front of groups 0008 and 0028."""
    for image in slide.images:

        def rewrite(data: bytes) -> bytes:
            for first in (b"\x08\x00\x08\x00CS", b"\x28\x00\x02\x00US"):
                at = data.index(first)
                length = first[:2] + b"\x00\x00UL" + struct.pack("<HI", 4, 4242)
                data = data[:at] + length + data[at:]
            return data

        image.rewrite = rewrite


def with_private_groups(slide: Drawn) -> None:
    for image in slide.images:
        for group in (0x0009, 0x0029, 0x4801):
            block = image.header.private_block(group, "TESTS LETTERS", create=True)
            block.add_new(0x01, "LO", "private text")
            block.add_new(0x02, "OB", b"\x01\x02" * 400)
            block.add_new(0x03, "SQ", [Dataset(), Dataset()])


def unknown_sequences(slide: Drawn) -> None:
    """Sequences of the standard as UN, as archives write them that did not know them (PS3.5
    6.2.2): with the length of their items."""
    for image in slide.images:
        for keyword in ("OpticalPathSequence", "SharedFunctionalGroupsSequence"):
            image.header[keyword].is_undefined_length = False
        image.rewrite = lambda data: data.replace(
            b"\x48\x00\x05\x01SQ", b"\x48\x00\x05\x01UN", 1
        ).replace(b"\x00\x52\x29\x92SQ", b"\x00\x52\x29\x92UN", 1)


def long_decimal(slide: Drawn) -> None:
    """Pixel Spacing of 25 characters, where a DS holds 16."""
    for image in slide.images:
        stated = f"{float(image.measures.PixelSpacing[0]):.6f}"
        old = b"\x28\x00\x30\x00DS" + struct.pack("<H", 2 * len(stated) + 1 + 1)
        value = f"{stated}\\{stated}".encode()
        image.measures.PixelSpacing = [stated, stated]
        long = f"{stated}{'0' * 17}"
        new = b"\x28\x00\x30\x00DS" + struct.pack("<H", 2 * len(long) + 1 + 1)

        def rewrite(
            data: bytes, old: bytes = old + value, new: bytes = new, of: str = long
        ) -> bytes:
            assert old in data
            return data.replace(old, new + f"{of}\\{of}".encode(), 1)

        image.rewrite = rewrite
        for keyword in ("PixelMeasuresSequence",):  # lengths of what holds it are not stated
            shared = image.header.SharedFunctionalGroupsSequence
            shared[0][keyword].is_undefined_length = True
            shared[0].is_undefined_length_sequence_item = True
            shared[0][keyword].value[0].is_undefined_length_sequence_item = True
            image.header["SharedFunctionalGroupsSequence"].is_undefined_length = True


def beside(flavor: str, **values: object) -> Condition:
    """With an image that is no level."""

    def change(slide: Drawn) -> None:
        other = flavored(slide.base, flavor, n=9)
        for keyword, value in values.items():
            setattr(other.header, keyword, value)
        slide.images.append(other)

    return change


def beside_a_broken_label(slide: Drawn) -> None:
    """It promises a frame that it does not have."""
    label = flavored(slide.base, "LABEL", n=9)
    label.frames = label.frames * 3
    label.header.NumberOfFrames = 4
    slide.images.append(label)


def beside_a_label_of_another_coding(slide: Drawn) -> None:
    import imagecodecs

    label = flavored(slide.base, "LABEL", n=9)
    label.encode(
        lambda tile: bytes(imagecodecs.jpegls_encode(tile)),
        syntax=JPEGLSLossless,
        photometric="RGB",
    )
    slide.images.append(label)


def beside_an_undecodable_overview(slide: Drawn) -> None:
    overview = flavored(slide.base, "OVERVIEW", n=9)
    overview.frames = [b"\xff\xd8\xff\xd9" for _ in overview.frames]
    slide.images.append(overview)


def larger_label(slide: Drawn) -> None:
    """A photo of the label with more pixels than the slide."""
    label = flavored(slide.base, "LABEL", n=9)
    label.pixels = np.full((1200, 1200, 3), 90, np.uint8)
    label.header.TotalPixelMatrixRows = label.header.TotalPixelMatrixColumns = 1200
    label.encode(jpeg, frame=(600, 600))
    slide.images.append(label)


def lower_in_a_series_of_its_own(slide: Drawn) -> None:
    slide.lower.header.SeriesInstanceUID = generate_uid(entropy_srcs=["another series"])


def copied_level(slide: Drawn) -> None:
    """The lower level again, as an instance of its own and of another size."""
    again = copy.deepcopy(slide.lower)
    again.pixels = again.pixels[::2, ::2].copy()
    again.header.TotalPixelMatrixRows, again.header.TotalPixelMatrixColumns = again.pixels.shape[:2]
    again.measures.PixelSpacing = [0.016, 0.016]
    again.header.SOPInstanceUID = generate_uid(entropy_srcs=["again"])
    again.encode()
    slide.images.append(again)


def specimens(count: int, identifier: str) -> Condition:
    def change(slide: Drawn) -> None:
        for image in slide.images:
            made = []
            for n in range(count):
                specimen = Dataset()
                specimen.SpecimenIdentifier = f"{identifier} {n}"
                specimen.SpecimenUID = generate_uid(entropy_srcs=["specimen", str(n)])
                made.append(specimen)
            image.header.SpecimenDescriptionSequence = made

    return change


def optical_path(**values: object) -> Condition:
    def change(slide: Drawn) -> None:
        for image in slide.images:
            for keyword, value in values.items():
                setattr(image.header.OpticalPathSequence[0], keyword, value)

    return change


CONDITIONS: dict[str, Condition] = {
    "group lengths": with_group_lengths,
    "private groups": with_private_groups,
    "sequences of unknown VR": unknown_sequences,
    "a decimal of more digits than allowed": long_decimal,
    "dates that are none": stating(StudyDate="2026.01.01", PatientBirthDate="19600229"),
    "sex and age that are none": stating(PatientSex="X", PatientAge="abc"),
    "time zone that is none": stating(TimezoneOffsetFromUTC="CET"),
    "time zone without a sign": stating(TimezoneOffsetFromUTC="0100"),
    "lossy ratio of several values": stating(
        LossyImageCompressionRatio=[10, 20], LossyImageCompressionMethod=["ISO_10918_1"] * 2
    ),
    "lossy compression not stated": stating(LossyImageCompression=None),
    "identifiers empty": stating(PatientID="", PatientName="", AccessionNumber="", StudyID=""),
    "identifiers absent": stating(
        PatientID=None, PatientName=None, AccessionNumber=None, StudyID=None, StudyDate=None
    ),
    "no pyramid UID": stating(PyramidUID=None),
    "no acquisition time": stating(AcquisitionDateTime=None),
    "no container": stating(ContainerIdentifier=None),
    "container of blanks in one level": lower_stating(ContainerIdentifier=" S1"),
    "container with a blank behind": lower_stating(ContainerIdentifier="S1 "),
    "no specimen": stating(SpecimenDescriptionSequence=None),
    "twelve specimens": specimens(12, "Block"),
    "specimen identifier with a backslash": specimens(2, "Block\\part"),
    "specimen identifier of 64 characters": specimens(1, "B" * 60),
    "image type resampled": stating(ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "RESAMPLED"]),
    "no optical path sequence": stating(OpticalPathSequence=None),
    "no number of optical paths": stating(NumberOfOpticalPaths=None),
    "no number of focal planes": stating(TotalPixelMatrixFocalPlanes=None),
    "profile of noise": optical_path(ICCProfile=b"\x01\x02\x03\x04" * 64),
    "no imaged volume": stating(ImagedVolumeWidth=None, ImagedVolumeHeight=None),
    "imaged volume depth of zero": stating(ImagedVolumeDepth=0.0),
    "planes of samples, though they are coded": stating(PlanarConfiguration=1),
    "UID with a zero in front": stating(SeriesInstanceUID="1.2.826.0.01.4"),
    "levels in series of their own": lower_in_a_series_of_its_own,
    "three levels": copied_level,
    "label": beside("LABEL"),
    "label with burned-in text": beside("LABEL", BurnedInAnnotation="YES"),
    "label of JPEG-LS": beside_a_label_of_another_coding,
    "label that lacks frames": beside_a_broken_label,
    "label larger than the slide": larger_label,
    "label in a series of its own": beside("LABEL", SeriesInstanceUID="1.2.826.0.1.77"),
    "label without a container": beside("LABEL", ContainerIdentifier=""),
    "overview in another frame of reference": beside("OVERVIEW", FrameOfReferenceUID="1.2.826.9"),
    "overview that cannot be decoded": beside_an_undecodable_overview,
    "thumbnail": beside("THUMBNAIL"),
    "localizer": beside("LOCALIZER"),
    "names in kanji": named(["", "ISO 2022 IR 87"], b"Y^T=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    "names in katakana": named(["ISO_IR 13", "ISO 2022 IR 87"], b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    "names in Cyrillic": named("ISO_IR 144", b"\xbb\xee\xda^\xb0"),
    "names in GB18030": named("GB18030", "王^小东".encode("gb18030")),
    "names in UTF-8": named("ISO_IR 192", "Jürgen^Ø".encode()),
    "names in undeclared Latin-1": named("", b"M\xfcller^J\xf6rg"),
    "names in undeclared UTF-8": named("", "Müller^Jörg".encode()),
    "an unknown character set": named("ISO_IR 999", b"Mueller^Joerg"),
}


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.filterwarnings("ignore")
def test_a_sound_slide_with_an_odd_header_is_analyzed(
    name: str, is_sound: Callable[[Condition], None]
) -> None:
    is_sound(CONDITIONS[name])
