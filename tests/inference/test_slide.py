from __future__ import annotations

from collections import Counter
from errno import EIO, EMFILE
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.sr.coding import Code
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from tiny_slides import Edit, Pixels, noise, setting, spacing, split, without, write_level
from wsidicom import WsiDicom

from inference.errors import FramesUnreadable, Refused, SlideError
from inference.slide import terms
from inference.slide.color_claims import color_conflict
from inference.slide.frames import Level, read_rectangles
from inference.slide.slide import SlideUnreadable, open_slide
from inference.types import Reason


def whole(level: Level) -> Pixels:
    rectangle = np.array([[0, 0, level.rows, level.cols]], np.int64)
    return next(read_rectangles(level, rectangle))


def origin(x_mm: float, y_mm: float) -> Edit:
    def edit(ds: Dataset) -> None:
        item = ds.TotalPixelMatrixOriginSequence[0]
        item.XOffsetInSlideCoordinateSystem = x_mm
        item.YOffsetInSlideCoordinateSystem = y_mm

    return edit


def test_levels_come_finest_first_and_every_file_is_accounted_for(tmp_path: Path) -> None:
    pixels = noise(200, 150)
    coarse = write_level(tmp_path / "a.dcm", pixels[::4, ::4], mpp=2.0)
    base = write_level(tmp_path / "b.dcm", pixels)
    label = write_level(
        tmp_path / "c.dcm",
        noise(20, 30),
        flavor="LABEL",
        edit=without("PixelSpacing", "FrameOfReferenceUID"),
    )
    with open_slide([coarse, base, label]) as slide:
        assert [(v.rows, v.cols, v.mpp) for v in slide.levels] == [(200, 150, 0.5), (50, 38, 2.0)]
        assert [v.downsample for v in slide.levels] == [1.0, 4.0]
        accounts = slide.accounts_for(tiles=slide.levels[:1], tissue=slide.levels[1])
        assert [(a.flavor, a.used_as) for a in accounts] == [
            ("VOLUME", "tiles"),
            ("VOLUME", "tissue"),
            ("LABEL", "left aside: LABEL"),
        ]
        assert slide.geometry.to_slide_mm(200, 100) == pytest.approx((19.9, 39.95, 0))
        assert "PixelData" not in slide.base_header
        assert slide.warnings == ()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            without("PixelSpacing", "ImagedVolumeWidth", "ImagedVolumeHeight"),
            Reason.SPACING_MISSING,
        ),
        (spacing(0.5, 0.5), Reason.SPACING_IMPLAUSIBLE),  # um written as mm
        (spacing(0.00001, 0.00001), Reason.SPACING_IMPLAUSIBLE),
        (spacing(0, 0), Reason.SPACING_IMPLAUSIBLE),
        (spacing(0.0005, 0.000515), Reason.SPACING_IMPLAUSIBLE),
        (without("TotalPixelMatrixOriginSequence"), Reason.GEOMETRY_MISSING),
        (without("ImageOrientationSlide"), Reason.GEOMETRY_MISSING),
        (without("FrameOfReferenceUID"), Reason.GEOMETRY_MISSING),
        (setting(PhotometricInterpretation="MONOCHROME2"), Reason.PHOTOMETRIC_INTERPRETATION),
        (setting(PhotometricInterpretation="YBR_FULL"), Reason.PHOTOMETRIC_INTERPRETATION),
        (setting(PhotometricInterpretation="YBR_FULL_422"), Reason.PHOTOMETRIC_INTERPRETATION),
        (setting(PhotometricInterpretation="YBR_ICT"), Reason.PHOTOMETRIC_INTERPRETATION),
        (setting(BitsStored=7), Reason.PIXEL_FORMAT),
        (setting(NumberOfOpticalPaths=2), Reason.PIXEL_FORMAT),
        (setting(NumberOfFrames=7), Reason.FRAMES_UNREADABLE),
        (setting(PixelRepresentation=1), Reason.PIXEL_FORMAT),
        (setting(PlanarConfiguration=1), Reason.PIXEL_FORMAT),
        (setting(ImageType=["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"]), Reason.NO_VOLUME_LEVEL),
    ],
)
def test_a_slide_that_must_not_be_judged_is_refused_with_its_reason(
    tmp_path: Path, edit: Edit, reason: Reason
) -> None:
    path = write_level(tmp_path / "a.dcm", noise(100, 100), edit=edit)
    with pytest.raises(Refused) as refused:
        open_slide([path])
    verdict = refused.value.verdict
    assert verdict.reason == reason
    assert verdict.detail.endswith(".")
    assert [account.used_as[:10] for account in verdict.levels] == ["left aside"]


def test_spacing_is_computed_from_the_imaged_volume_and_said(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", noise(100, 80), edit=without("PixelSpacing"))
    with open_slide([path]) as slide:
        assert slide.mpp == pytest.approx(0.5)
        assert "Pixel Spacing is missing" in slide.warnings[0]


def test_files_that_are_not_of_one_slide_are_refused_by_number(tmp_path: Path) -> None:
    good = write_level(tmp_path / "good.dcm", noise(50, 50))
    text = tmp_path / "notes.txt"
    text.write_text("not DICOM")
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(good.read_bytes())
    other = write_level(
        tmp_path / "other.dcm", noise(60, 60), edit=setting(ContainerIdentifier="S2")
    )
    with pytest.raises(SlideUnreadable, match="File 2 of 2: expected a DICOM image") as unreadable:
        open_slide([good, text])
    assert unreadable.value.path == text
    with pytest.raises(SlideUnreadable, match="in files 1 and 2 of 2, expected each instance once"):
        open_slide([good, copy])
    with pytest.raises(SlideUnreadable, match="2 containers"):
        open_slide([good, other])
    with pytest.raises(SlideUnreadable, match="no files"):
        open_slide([])


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (setting(PixelRepresentation=1), "its samples are signed"),
        (setting(NumberOfFrames=1), "1 frames; its tiling needs"),
        (setting(FrameOfReferenceUID="1.2.3"), "another frame of reference"),
        (spacing(0.0015, 0.0015), "covers"),
        (setting(ImageOrientationSlide=[1, 0, 0, 0, 1, 0]), "another place"),
        (origin(20.5, 40), "another place"),
        (setting(PhotometricInterpretation="MONOCHROME2"), "MONOCHROME2"),
    ],
)
def test_a_spoilt_lower_level_is_left_aside_and_said(tmp_path: Path, edit: Edit, why: str) -> None:
    pixels = noise(200, 150)
    base = write_level(tmp_path / "a.dcm", pixels)
    spoilt = write_level(tmp_path / "b.dcm", pixels[::4, ::4], mpp=2.0, edit=edit)
    with open_slide([spoilt, base]) as slide:
        assert len(slide.levels) == 1
        account = slide.accounts[1]
        assert account.sop_instance_uid == str(dcmread(spoilt).SOPInstanceUID)
        assert account.used_as.startswith("left aside: ")
        assert why in account.used_as
        assert why in slide.warnings[0]


def test_an_object_that_is_no_slide_image_is_accounted_for(tmp_path: Path, shared: Path) -> None:
    base = write_level(tmp_path / "a.dcm", noise(50, 50), edit=without("ContainerIdentifier"))
    annotations = shared / "data/wsi/highdicom/sm_annotations.dcm"
    with open_slide([base, annotations]) as slide:
        assert "Annotations" in slide.accounts[1].used_as


@pytest.mark.parametrize(
    ("syntax", "photometric"),
    [
        (ExplicitVRLittleEndian, "RGB"),
        (RLELossless, "RGB"),
        (JPEGLSLossless, "RGB"),
        (JPEG2000Lossless, "RGB"),
        (JPEG2000, "YBR_RCT"),
    ],
)
def test_lossless_pixels_come_back_bit_by_bit(
    tmp_path: Path, syntax: UID, photometric: str
) -> None:
    pixels = noise(100, 110)
    edit = setting(PhotometricInterpretation=photometric)
    with open_slide([write_level(tmp_path / "a.dcm", pixels, syntax=syntax, edit=edit)]) as slide:
        assert np.array_equal(whole(slide.levels[0]), pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_ycbcr_samples_become_rgb_where_the_codec_leaves_them(tmp_path: Path, syntax: UID) -> None:
    ycbcr = np.asarray(Image.new("RGB", (96, 64), (200, 30, 90)).convert("YCbCr"))
    path = write_level(
        tmp_path / "a.dcm", ycbcr, syntax=syntax, edit=setting(PhotometricInterpretation="YBR_FULL")
    )
    with open_slide([path]) as slide:
        found = whole(slide.levels[0]).reshape(-1, 3)
    assert np.abs(found.astype(int) - (200, 30, 90)).max() <= 2


@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422"])
def test_jpeg_frames_that_say_ycbcr_are_believed_whatever_the_header_says(
    tmp_path: Path, stated: str
) -> None:
    pixels = np.full((64, 96, 3), (200, 30, 90), np.uint8)
    path = write_level(
        tmp_path / "a.dcm",
        pixels,
        syntax=JPEGBaseline8Bit,
        edit=setting(PhotometricInterpretation=stated),
    )
    with open_slide([path]) as slide:
        found = whole(slide.levels[0]).reshape(-1, 3)
        assert ("says RGB" in color_conflict(slide.levels[0])) == (stated == "RGB")
    assert np.abs(found.astype(int) - (200, 30, 90)).max() <= 3


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_edge_frames_that_were_stored_short_are_padded(tmp_path: Path, syntax: UID) -> None:
    pixels = noise(100, 110)
    path = write_level(tmp_path / "a.dcm", pixels, syntax=syntax, short_edges=True)
    with open_slide([path]) as slide:
        level = slide.levels[0]
        assert np.array_equal(whole(level), pixels)
        corner = level.read_frame(3, 2)
    assert corner.shape == (32, 48, 3)
    assert (corner[4:] == 255).all()
    assert (corner[:, 14:] == 255).all()


def test_a_frame_that_leaves_part_of_the_matrix_empty_is_unreadable(tmp_path: Path) -> None:
    def shorten(ds: Dataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))
        frames[1] = frames[-1]  # an edge frame where a full one belongs
        ds.PixelData = encapsulate(frames)

    path = write_level(
        tmp_path / "a.dcm",
        noise(100, 110),
        syntax=JPEGLSLossless,
        short_edges=True,
        edit=shorten,
    )
    with open_slide([path]) as slide, pytest.raises(FramesUnreadable, match="Frame 2 of"):
        whole(slide.levels[0])


def test_tiles_that_a_sparse_slide_leaves_out_are_white(tmp_path: Path) -> None:
    pixels = noise(100, 110)
    path = write_level(tmp_path / "a.dcm", pixels, absent={(0, 1), (2, 0)})
    with open_slide([path]) as slide:
        found = whole(slide.levels[0])
    expected = pixels.copy()
    expected[0:32, 48:96] = 255
    expected[64:96, 0:48] = 255
    assert np.array_equal(found, expected)


def test_parts_of_a_concatenation_are_one_level(tmp_path: Path) -> None:
    pixels = noise(100, 110)
    parts = split(write_level(tmp_path / "a.dcm", pixels), 3)
    with open_slide(parts[::-1]) as slide:
        assert len(slide.levels) == 1
        assert len(slide.accounts) == 3
        assert np.array_equal(whole(slide.levels[0]), pixels)


def test_a_missing_part_of_a_concatenation_is_noticed(tmp_path: Path) -> None:
    parts = split(write_level(tmp_path / "a.dcm", noise(100, 110)), 3)
    with pytest.raises(Refused, match="frames; its tiling needs 12"):
        open_slide(parts[:2])


def test_the_middle_of_several_focal_planes_is_read_and_said(tmp_path: Path) -> None:
    pixels = noise(64, 96) // 2
    with open_slide([write_level(tmp_path / "a.dcm", pixels, planes=3)]) as slide:
        assert np.array_equal(whole(slide.levels[0]), pixels + 1)
        assert "3 focal planes" in slide.warnings[0]


def test_focal_planes_in_files_of_their_own_are_one_level(tmp_path: Path) -> None:
    def at(z_um: int) -> Edit:
        def edit(ds: Dataset) -> None:
            ds.TotalPixelMatrixOriginSequence[0].ZOffsetInSlideCoordinateSystem = z_um
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()

        return edit

    paths = [
        write_level(tmp_path / f"{n}.dcm", noise(64, 96, seed=n), edit=at(z))
        for n, z in enumerate((4, 0, 2))
    ]
    with open_slide(paths) as slide:
        assert np.array_equal(whole(slide.levels[0]), noise(64, 96, seed=2))
        assert sorted(a.used_as[:26] for a in slide.accounts)[0] == "left aside: another focal "


def test_two_images_of_the_same_place_are_refused(tmp_path: Path) -> None:
    paths = [
        write_level(
            tmp_path / f"{n}.dcm",
            noise(64, 96, seed=n),
            edit=setting(SOPInstanceUID=generate_uid()),
        )
        for n in range(2)
    ]
    with pytest.raises(Refused, match="2 images of 64 x 96"):
        open_slide(paths)


def test_a_file_that_was_cut_off_gives_the_frame_and_the_instance(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", noise(100, 110))
    path.write_bytes(path.read_bytes()[:-6000])
    uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
    with open_slide([path]) as slide, pytest.raises(FramesUnreadable) as unreadable:
        whole(slide.levels[0])
    assert (unreadable.value.sop_instance_uid, unreadable.value.frame) == (uid, 11)


def test_a_truncated_jpeg_frame_is_not_taken_for_gray_tissue(tmp_path: Path) -> None:
    def cut(ds: Dataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))
        frames[4] = frames[4][: len(frames[4]) // 2]
        ds.PixelData = encapsulate(frames)

    path = write_level(tmp_path / "a.dcm", noise(100, 110), syntax=JPEGBaseline8Bit, edit=cut)
    with open_slide([path]) as slide, pytest.raises(FramesUnreadable, match=r"Frame 5 .*end-of-im"):
        whole(slide.levels[0])


def test_a_jpeg_frame_that_claims_a_gigantic_size_is_not_decoded(tmp_path: Path) -> None:
    def inflate(ds: Dataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))
        at = frames[0].index(b"\xff\xc0") + 5
        frames[0] = frames[0][:at] + b"\xff\xff\xff\xff" + frames[0][at + 4 :]
        ds.PixelData = encapsulate(frames)

    path = write_level(tmp_path / "a.dcm", noise(100, 110), syntax=JPEGBaseline8Bit, edit=inflate)
    with open_slide([path]) as slide, pytest.raises(FramesUnreadable, match="65535 x 65535"):
        whole(slide.levels[0])


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_damaged_frames_end_in_one_kind_of_error(tmp_path: Path, syntax: UID) -> None:
    rng = np.random.default_rng(5)

    def damage(ds: Dataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))
        for n, frame in enumerate(frames):
            broken = bytearray(frame[: rng.integers(2, len(frame))])
            broken[rng.integers(len(broken))] ^= 0xFF
            frames[n] = bytes(broken) + b"\0" * (len(broken) % 2)
        ds.PixelData = encapsulate(frames)

    path = write_level(tmp_path / "a.dcm", noise(320, 480), syntax=syntax, edit=damage)
    with open_slide([path]) as slide:
        for row in range(10):
            for col in range(10):
                with pytest.raises(FramesUnreadable):
                    slide.levels[0].read_frame(row, col)


@pytest.mark.parametrize("name", ["sm_image", "sm_image_numbers", "sm_image_jpegls_nobot"])
def test_foreign_files_read_as_wsidicom_reads_them(shared: Path, name: str) -> None:
    path = shared / f"data/wsi/highdicom/{name}.dcm"
    with open_slide([path]) as slide, WsiDicom.open(path) as reference:
        rectangle = np.array([[13, 27, 41, 50]], np.int64)
        found = next(read_rectangles(slide.levels[0], rectangle))
        region = reference.read_region((27, 13), 0, (23, 28))
        assert np.array_equal(found, np.asarray(region.convert("RGB")))


def test_foreign_grayscale_and_small_files_are_told_apart(shared: Path) -> None:
    with pytest.raises(Refused, match="MONOCHROME2"):
        open_slide([shared / "data/wsi/highdicom/sm_image_grayscale.dcm"])
    boxes = sorted((shared / "data/wsi/openslide-python").glob("boxes_*.dcm"))
    with open_slide(boxes) as slide:
        assert [a.used_as for a in slide.accounts][1] == "left aside: THUMBNAIL"
        assert whole(slide.levels[0]).shape == (16, 16, 3)


def test_only_words_of_the_standard_are_repeated() -> None:
    assert terms.flavor_name("LABEL") == "LABEL"
    assert terms.flavor_name("ZZPHINAME") == "an image of unknown kind"
    assert terms.photometric_name("PALETTE COLOR") == "PALETTE COLOR"
    assert terms.photometric_name("ZZPHINAME") == "none that DICOM defines"
    assert terms.photometric_name("") == "missing"
    assert terms.uid_name(JPEG2000) == "JPEG 2000 Image Compression"
    assert terms.uid_name(UID("1.2.3")) == "1.2.3"
    assert terms.uid_name(UID("ZZPHINAME")) == "an illegal UID"
    assert terms.uid_name(UID("1" * 65)) == "an illegal UID"
    stain = "hematoxylin stain (12710003, SCT)"
    assert terms.substance_name(Code("12710003", "SCT", "ZZPHINAME")) == stain
    assert terms.substance_name(Code("C-22968", "SRT", "ZZPHINAME")) == stain
    assert "(123456, SCT)" in terms.substance_name(Code("123456", "SCT", "ZZPHINAME"))
    for code in (Code("ZZPHINAME", "SCT", "x"), Code("123456", "ZZPHINAME", "x")):
        assert "ZZPHINAME" not in terms.substance_name(code)


@pytest.mark.parametrize("number", [EIO, EMFILE])
def test_a_sick_disk_is_not_taken_for_a_malformed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = write_level(tmp_path / "a.dcm", noise(100, 110))

    def sick(*arguments: object, **named: object) -> NoReturn:
        raise OSError(number, "sick", str(path))

    with open_slide([path]) as slide:
        monkeypatch.setattr("os.pread", sick)
        with pytest.raises(OSError, match="sick") as raised:
            slide.levels[0].read_frame(0, 0)
    assert raised.value.errno == number
    monkeypatch.setattr("inference.slide.headers.read_partial", sick)
    with pytest.raises(OSError, match="sick"):
        open_slide([path])


def test_a_sequence_without_an_end_is_a_malformed_file(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", noise(100, 110))
    header = dcmread(path)
    header["OpticalPathSequence"].is_undefined_length = True
    header.save_as(path)
    data = path.read_bytes()
    end = data.rindex(b"\xfe\xff\xdd\xe0")
    path.write_bytes(data[:end] + data[end + 8 :])
    with pytest.raises(SlideUnreadable, match=r"cannot be read as one \(OSError\)"):
        open_slide([path])


@pytest.mark.parametrize("cell", [2**40, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("table", ["ExtendedOffsetTable", "ExtendedOffsetTableLengths"])
def test_an_offset_table_may_say_any_number(tmp_path: Path, table: str, cell: int) -> None:
    def edit(ds: Dataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))
        ds.PixelData, offsets, lengths = encapsulate_extended(frames)
        tables = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
        tables[table] = tables[table][:8] + cell.to_bytes(8, "little") + tables[table][16:]
        for keyword, values in tables.items():
            setattr(ds, keyword, values)

    path = write_level(tmp_path / "a.dcm", noise(100, 110), syntax=JPEGBaseline8Bit, edit=edit)
    with open_slide([path]) as slide, pytest.raises(FramesUnreadable, match="Frame 2 of"):
        slide.levels[0].read_frame(0, 1)


@pytest.mark.filterwarnings("ignore")
def test_altered_headers_end_in_our_errors_or_in_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    originals = [
        write_level(tmp_path / "full.dcm", noise(64, 96)).read_bytes(),
        write_level(tmp_path / "sparse.dcm", noise(64, 96), absent={(0, 0)}).read_bytes(),
    ]
    path = tmp_path / "altered.dcm"
    outcomes: Counter[str] = Counter()
    for n in range(400):
        altered = bytearray(originals[n % 2])
        for _ in range(rng.integers(1, 4)):
            altered[rng.integers(132, 1400)] = rng.integers(256)
        path.write_bytes(altered if n % 5 else altered[: rng.integers(1, 1400)])
        try:
            with open_slide([path]) as slide:
                whole(slide.levels[0])
                outcomes["read"] += 1
        except SlideError as error:
            outcomes[type(error).__name__] += 1
    assert set(outcomes) == {"read", "SlideUnreadable", "Refused", "FramesUnreadable"}
