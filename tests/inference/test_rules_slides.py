"""Rules of whole slides: scale, place, scans, owners, and tissue that is not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from tiny_slides import Edit, noise, setting, spacing, without, write_level

from engines.manifest.claims import Applicability
from engines.manifest.tensors import TileInput
from engines.manifest.values import Code as ManifestCode
from inference import quality
from inference.errors import Refused, SlideUnreadable
from inference.slide.files import group
from inference.slide.headers import read_header
from inference.slide.slide import open_slide
from inference.tiles.planning import Plan, plan_tiles
from inference.types import Reason


def both(*edits: Edit) -> Edit:
    def edit(ds: Dataset) -> None:
        for one in edits:
            one(ds)

    return edit


def objective(power: float | None) -> Edit:
    def edit(ds: Dataset) -> None:
        ds.OpticalPathSequence[0].ObjectiveLensPower = power

    return edit


def of_frames(*values: list[float]) -> Edit:
    """Pixel Spacing in the per-frame groups, and not in the shared ones."""

    def edit(ds: Dataset) -> None:
        del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        del ds.ImagedVolumeWidth, ds.ImagedVolumeHeight
        for n, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
            measures = Dataset()
            measures.PixelSpacing = values[n % len(values)]
            groups.PixelMeasuresSequence = [measures]

    return edit


def origin(x_mm: float, y_mm: float) -> Edit:
    def edit(ds: Dataset) -> None:
        item = ds.TotalPixelMatrixOriginSequence[0]
        item.XOffsetInSlideCoordinateSystem, item.YOffsetInSlideCoordinateSystem = x_mm, y_mm

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (setting(ImagedVolumeWidth=15.0, ImagedVolumeHeight=15.0), "Imaged Volume Height"),
        (setting(ImagedVolumeWidth=0.0525), "Imaged Volume Height"),
        (objective(40), "Objective Lens Power 40"),
        (objective(5), "Objective Lens Power 5"),
    ],
)
def test_two_sources_of_the_scale_that_contradict_each_other_are_refused(
    tmp_path: Path, edit: Edit, said: str
) -> None:
    path = write_level(tmp_path / "a.dcm", noise(100, 100), edit=edit)
    with pytest.raises(Refused, match=said) as refused:
        open_slide([path])
    assert refused.value.verdict.reason == Reason.SPACING_IMPLAUSIBLE


@pytest.mark.parametrize(
    "edit",
    [
        setting(ImagedVolumeWidth=0.051),
        setting(ImagedVolumeWidth=0.0),
        without("ImagedVolumeWidth"),
        objective(20),
        objective(10),
        objective(0),
        objective(None),
        both(objective(40), setting(ImageType=["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"])),
    ],
)
def test_sources_of_the_scale_that_are_near_or_absent_say_nothing(
    tmp_path: Path, edit: Edit
) -> None:
    with open_slide([write_level(tmp_path / "a.dcm", noise(100, 100), edit=edit)]) as slide:
        assert slide.warnings == ()


@pytest.mark.parametrize(
    ("power", "um"), [(20, 0.46), (20, 0.55), (20, 0.22), (40, 0.2), (40, 0.28), (40, 0.1369)]
)
def test_pixels_of_sound_scanners_fit_their_objective(
    tmp_path: Path, power: float, um: float
) -> None:
    path = write_level(tmp_path / "a.dcm", noise(50, 50), mpp=um, edit=objective(power))
    with open_slide([path]) as slide:
        assert slide.mpp == pytest.approx(um)


def test_spacing_of_the_frames_is_that_of_the_slide(tmp_path: Path) -> None:
    one = of_frames([0.0005, 0.0005])
    path = write_level(tmp_path / "a.dcm", noise(64, 96), absent=set(), edit=one)
    with open_slide([path]) as slide:
        assert slide.mpp == pytest.approx(0.5)
        assert slide.warnings == ()
    two = of_frames([0.0005, 0.0005], [0.00025, 0.00025])
    with pytest.raises(Refused, match=r"Frames of one image state .* 0\.25 x 0\.25 um"):
        open_slide([write_level(tmp_path / "b.dcm", noise(64, 96), absent=set(), edit=two)])


@pytest.mark.parametrize(
    ("orientation", "is_sound"),
    [
        ([0, 0, 0, 0, 0, 0], False),
        ([0, 1, 0, 0, 1, 0], False),
        ([1, 0, 0, 0.01, 1, 0], False),
        ([2, 0, 0, 0, 2, 0], False),
        ([1, 0, 0, 0, 0, 1], False),
        ([0.9996, 0, 0, 0, 1, 0], True),
        ([0.991894, 0.127065, 0, 0.127065, -0.991894, 0], True),
    ],
)
def test_directions_are_of_unit_length_and_at_a_right_angle(
    tmp_path: Path, orientation: list[float], is_sound: bool
) -> None:
    edit = setting(ImageOrientationSlide=orientation)
    path = write_level(tmp_path / "a.dcm", noise(50, 50), edit=edit)
    if is_sound:
        open_slide([path]).close()
        return
    with pytest.raises(Refused, match="image orientation") as refused:
        open_slide([path])
    assert refused.value.verdict.reason == Reason.GEOMETRY_MISSING
    assert refused.value.verdict.geometry is None


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without("TotalPixelMatrixOriginSequence"), "origin of the total pixel matrix is missing"),
        (without("ImageOrientationSlide"), "image orientation is missing"),
        (without("FrameOfReferenceUID"), "frame of reference is missing"),
        (
            without("FrameOfReferenceUID", "ImageOrientationSlide"),
            "image orientation and the frame of reference are missing",
        ),
        (setting(FrameOfReferenceUID="1.2." + "3" * 70), "illegal UID"),
        (origin(25_000, 50_000), "lies 50000 mm from"),
    ],
)
def test_what_is_wrong_with_the_place_of_a_slide_is_said(
    tmp_path: Path, edit: Edit, said: str
) -> None:
    expected = pytest.warns(UserWarning, match="exceeds") if "illegal" in said else nullcontext()
    with expected, pytest.raises(Refused, match=said):
        open_slide([write_level(tmp_path / "a.dcm", noise(50, 50), edit=edit)])


Level = Callable[..., Path]


@pytest.fixture
def level(tmp_path: Path) -> Level:
    """Writes an image of a slide; `n` tells files apart."""

    def write(n: str, rows: int = 200, step: int = 1, seed: int = 1, **values: object) -> Path:
        pixels = noise(rows, 152, seed=seed)[::step, ::step]
        kind = "RESAMPLED" if step > 1 else "NONE"
        identity = {
            "SOPInstanceUID": generate_uid(entropy_srcs=[n]),
            "ImageType": ["ORIGINAL" if step == 1 else "DERIVED", "PRIMARY", "VOLUME", kind],
            **values,
        }
        return write_level(tmp_path / f"{n}.dcm", pixels, mpp=0.5 * step, edit=setting(**identity))

    return write


A = {"PyramidUID": "1.2.1", "AcquisitionDateTime": "20260101120000"}
B = {"PyramidUID": "1.2.2", "AcquisitionDateTime": "20260101130000"}


@pytest.mark.parametrize("told_by", ["PyramidUID", "AcquisitionDateTime"])
def test_the_latest_scan_is_analyzed_with_its_own_levels(level: Level, told_by: str) -> None:
    a, b = ({told_by: scan[told_by]} for scan in (A, B))
    if told_by == "PyramidUID":
        b["AcquisitionDateTime"] = "20260101130000"
    paths = [
        level("a0", 200, **a),
        level("a1", 200, 4, **a),
        level("b0", 196, seed=2, **b),
        level("b1", 196, 4, seed=2, **b),
    ]
    with open_slide(paths) as slide:
        assert [v.rows for v in slide.levels] == [196, 49]
        assert "The slide has 2 scans" in slide.warnings[0]
        assert slide.base_uid == str(dcmread(paths[2]).SOPInstanceUID)
        left = [a.used_as for a in slide.accounts if a.used_as.startswith("left aside: another")]
        assert left == ["left aside: another scan was analyzed"] * 2
    with open_slide(paths, base_uid=str(dcmread(paths[0]).SOPInstanceUID)) as slide:
        assert [v.rows for v in slide.levels] == [200, 50]


def test_a_level_of_another_scan_is_never_a_level(level: Level) -> None:
    paths = [level("a0", 200, **A), level("b1", 196, 4, seed=2, **B)]
    with open_slide(paths) as slide:
        assert [v.rows for v in slide.levels] == [200]


def test_a_later_scan_that_is_incomplete_or_too_coarse_is_not_chosen(level: Level) -> None:
    paths = [level("a0", 200, **A), level("b0", 196, seed=2, NumberOfFrames=3, **B)]
    with open_slide(paths) as slide:
        assert slide.levels[0].rows == 200
    paths = [paths[0], level("b2", 200, 2, **{**B, "SOPInstanceUID": generate_uid()})]
    with open_slide(paths, coarsest_mpp=0.55) as slide:
        assert slide.levels[0].rows == 200


def test_levels_written_one_after_the_other_are_of_one_scan(level: Level) -> None:
    paths = [
        level("a0", AcquisitionDateTime="20260101120000"),
        level("a1", step=4, AcquisitionDateTime="20260101120020.5"),
    ]
    with open_slide(paths) as slide:
        assert len(slide.levels) == 2


def test_regions_that_do_not_overlap_are_refused(tmp_path: Path) -> None:
    paths = [
        write_level(tmp_path / "a.dcm", noise(200, 152), edit=setting(PyramidUID="1.2.1")),
        write_level(
            tmp_path / "b.dcm",
            noise(100, 152),
            edit=both(setting(PyramidUID="1.2.2"), origin(15, 30)),
        ),
    ]
    with pytest.raises(Refused, match="different regions") as refused:
        open_slide(paths)
    assert refused.value.verdict.reason == Reason.SEVERAL_REGIONS


def names(*paths: Path) -> list[list[str]]:
    slides = group(read_header(path) for path in paths)
    return [sorted(path.stem for path in slide.paths) for slide in slides]


def test_levels_in_series_of_their_own_are_of_one_slide(level: Level) -> None:
    base, low = level("a0"), level("a1", step=4, SeriesInstanceUID="1.2.3.2")
    assert names(base, low) == [["a0", "a1"]]
    tied = (
        level("b0", PyramidUID="1.2.9"),
        level(
            "b1", step=4, PyramidUID="1.2.9", SeriesInstanceUID="1.2.3.2", ContainerIdentifier=""
        ),
    )
    assert names(*tied) == [["b0", "b1"]]


def test_a_level_that_names_no_container_goes_with_its_base(level: Level) -> None:
    assert names(level("a0"), level("a1", step=4, ContainerIdentifier="")) == [["a0", "a1"]]


def test_two_scans_in_two_series_stay_two(level: Level) -> None:
    again = (
        level("b0", SeriesInstanceUID="1.2.3.2"),
        level("b1", step=4, SeriesInstanceUID="1.2.3.2"),
    )
    found = names(level("a0"), level("a1", step=4), *again)
    assert sorted(found) == [["a0", "a1"], ["b0", "b1"]]


def test_slides_without_a_container_in_one_series_are_told_by_frame_of_reference(
    level: Level,
) -> None:
    one = {"ContainerIdentifier": "", "FrameOfReferenceUID": "1.2.7"}
    two = {"ContainerIdentifier": "", "FrameOfReferenceUID": "1.2.8"}
    paths = [
        level("a0", **one), level("a1", step=4, **one),
        level("b0", 100, **two), level("b1", 100, 4, **two),
    ]  # fmt: skip
    assert sorted(names(*paths)) == [["a0", "a1"], ["b0", "b1"]]
    keys = {slide.key for slide in group(read_header(path) for path in paths)}
    assert len(keys) == 2


def test_a_lower_level_in_a_frame_of_reference_of_its_own_is_no_slide(level: Level) -> None:
    one = {"ContainerIdentifier": "", "FrameOfReferenceUID": "1.2.7"}
    stray = {"ContainerIdentifier": "", "FrameOfReferenceUID": "1.2.8"}
    assert names(level("a0", **one), level("a1", step=4, **stray)) == [["a0", "a1"]]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "ZZ2"),
        ("PatientName", "ZZ^Two"),
        ("PatientBirthDate", "19500102"),
        ("PatientSex", "M"),
        ("IssuerOfPatientID", "ZZ-OTHER"),
        ("AccessionNumber", "ZZ-A2"),
        ("StudyID", "ZZ-S2"),
    ],
)
def test_files_of_several_owners_are_refused_without_a_value(
    level: Level, keyword: str, value: str
) -> None:
    mine = {
        "PatientID": "ZZ1",
        "PatientName": "ZZ^One",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "IssuerOfPatientID": "ZZ",
        "AccessionNumber": "ZZ-A1",
        "StudyID": "ZZ-S1",
    }
    paths = [level("a0", **mine), level("a1", step=4, **{**mine, keyword: value})]
    with pytest.raises(SlideUnreadable, match=f"{keyword} differ between") as unreadable:
        open_slide(paths)
    assert "ZZ" not in str(unreadable.value)


def test_a_level_that_names_another_container_is_no_slide_of_its_own(level: Level) -> None:
    paths = [
        level("a0", PyramidUID="1.2.9"),
        level("a1", step=4, PyramidUID="1.2.9", ContainerIdentifier="S9"),
    ]
    assert names(*paths) == [["a0", "a1"]], "so that somebody is told"


def test_images_without_image_type_are_told_as_such(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", noise(50, 50), edit=without("ImageType"))
    with pytest.raises(Refused, match="do not say in Image Type what they show"):
        open_slide([path])


@pytest.mark.parametrize("flavor", ["LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"])
def test_a_damaged_picture_beside_the_slide_is_told_and_holds_nothing_back(
    tmp_path: Path, flavor: str
) -> None:
    base = write_level(tmp_path / "a.dcm", noise(200, 152))
    beside = write_level(
        tmp_path / "b.dcm",
        noise(64, 96),
        flavor=flavor,
        edit=both(spacing(9, 9), setting(NumberOfFrames=9, ImageOrientationSlide=[0] * 6)),
    )
    with open_slide([base, beside]) as slide:
        assert len(slide.levels) == 1
        assert slide.warnings == (
            f"The {flavor} image of the slide is damaged: 4 of its 9 frames are there. It was not "
            "needed.",
        )


HE = (
    ManifestCode(value="12710003", scheme="SCT", meaning="hematoxylin stain"),
    ManifestCode(value="36879007", scheme="SCT", meaning="water soluble eosin stain"),
)


@pytest.mark.parametrize(
    ("code", "is_known"),
    [
        (Code("104210008", "SCT", "x"), True),
        (Code("P3-50495", "SRT", "x"), True),
        (Code("1346008", "SCT", "x"), True),
        (Code("113159008", "SCT", "x"), False),
    ],
)
def test_the_method_and_the_eosins_are_hematoxylin_and_eosin(code: Code, is_known: bool) -> None:
    refusal, _ = quality.stain_refusal([code], Applicability(stains=HE, minimum_tissue_mm2=0))
    assert (refusal is None) == is_known
    refusal, _ = quality.stain_refusal([code], Applicability(stains=HE[:1], minimum_tissue_mm2=0))
    assert refusal is not None


def tissue(rows: int, cols: int, boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Glass with boxes (top, left, bottom, right) of stained tissue."""
    pixels = np.full((rows, cols, 3), 244, np.uint8)
    grain = noise(rows, cols) // 8
    for top, left, bottom, right in boxes:
        pixels[top:bottom, left:right] = (190, 90, 150)
        pixels[top:bottom, left:right] += grain[top:bottom, left:right]
    return pixels


WANTED = TileInput(tile_px=64, mpp=1.0, mpp_tolerance=0.1, batch=8)


def planned(tmp_path: Path, absent: set[tuple[int, int]], *, lower: bool) -> Plan:
    """The plan of 1024 x 1024 um of tissue, of which frames of 128 um are absent."""
    pixels = tissue(1280, 1280, [(128, 128, 1152, 1152)])
    paths = [write_level(tmp_path / "a.dcm", pixels, frame=(128, 128), mpp=1.0, absent=absent)]
    if lower:
        paths.append(write_level(tmp_path / "b.dcm", pixels[::8, ::8], frame=(64, 64), mpp=8.0))
    with open_slide(paths) as slide:
        return plan_tiles(slide, WANTED, ())


def test_tissue_over_missing_frames_is_left_out_and_counted(tmp_path: Path) -> None:
    plan = planned(tmp_path, {(3, 3)}, lower=True)
    assert "4 of 256 tissue tiles were not in the data and were left out." in plan.warnings
    assert len(plan.sources[0].cells) == 252
    seen_mm = 1.024 + 2 * 0.008  # the mask's mean reaches a pixel farther
    assert plan.tissue.area_mm2 == pytest.approx(seen_mm**2 - 0.128**2, abs=0.001)


def test_much_missing_tissue_is_refused(tmp_path: Path) -> None:
    absent = {(row, col) for row in range(1, 9) for col in (1, 2)}
    with pytest.raises(Refused, match=r"64 of 256 tissue tiles were not in the data") as refused:
        planned(tmp_path, absent, lower=True)
    assert refused.value.verdict.reason == Reason.TISSUE_MISSING


def test_what_is_missing_over_glass_says_nothing(tmp_path: Path) -> None:
    border = {(r, c) for r in range(10) for c in range(10) if r in (0, 9) or c in (0, 9)}
    plan = planned(tmp_path, border, lower=True)
    assert plan.warnings == ()
    assert len(plan.sources[0].cells) == 256


def test_tissue_that_ends_where_no_level_shows_anything_is_told(tmp_path: Path) -> None:
    plan = planned(tmp_path, {(4, 4)}, lower=False)
    assert any("tissue tiles were not in the data" in warning for warning in plan.warnings)


def test_holes_of_the_level_of_the_mask_are_looked_up_in_the_others(tmp_path: Path) -> None:
    pixels = tissue(1280, 1280, [(128, 128, 1152, 1152)])
    paths = [
        write_level(tmp_path / "a.dcm", pixels, frame=(128, 128), mpp=1.0),
        write_level(
            tmp_path / "b.dcm", pixels[::8, ::8], frame=(32, 32), mpp=8.0, absent={(1, 1), (2, 2)}
        ),
    ]
    with open_slide(paths) as slide:
        plan = plan_tiles(slide, WANTED, ())
    assert len(plan.sources[0].cells) == 256
    assert plan.warnings == ()


def test_a_level_that_names_the_objective_of_its_scan_is_none_of_another_scale(
    tmp_path: Path,
) -> None:
    """Some writers do not say of any level that it was resampled."""
    unmarked = both(
        objective(20),
        setting(ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], PyramidUID="1.2"),
    )
    base = write_level(tmp_path / "a.dcm", noise(128, 192), mpp=0.5, edit=unmarked)
    lower = write_level(tmp_path / "b.dcm", noise(32, 48), mpp=2.0, edit=unmarked)
    with open_slide([base, lower]) as slide:
        assert [level.mpp for level in slide.levels] == [0.5, 2.0]
        assert slide.warnings == ()


@pytest.mark.parametrize("side", [700_000, 2**31 - 1, 2**32 - 1])
def test_a_sparse_matrix_larger_than_any_slide_is_refused(tmp_path: Path, side: int) -> None:
    larger = both(
        without("ImagedVolumeWidth", "ImagedVolumeHeight"),
        setting(TotalPixelMatrixRows=side, TotalPixelMatrixColumns=side),
    )
    path = write_level(tmp_path / "a.dcm", noise(64, 96), absent=[(0, 0)], edit=larger)
    with pytest.raises(Refused, match="up to 300 mm are plausible") as refused:
        open_slide([path])
    assert refused.value.verdict.reason is Reason.GEOMETRY_MISSING
