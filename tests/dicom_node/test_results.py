"""Results are checked with the tools a PACS team would use, and with what viewers rely on."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import JPEGLSLossless
from result_inputs import (
    DIGEST,
    PROVENANCE,
    REPORTS,
    STRIDE,
    coded,
    manifest,
    prediction,
    refusal,
    report,
    segment,
    to_bytes,
    values,
    volume,
)
from validators import dciodvfy_errors, run, template_errors

from dicom_node.results import codes
from dicom_node.results.carried.dates import taken_at
from dicom_node.results.content import settle
from dicom_node.results.files import write
from dicom_node.results.identity import (
    ROLES,
    ResultNames,
    report_names,
    result_uid,
    series_of_report,
)
from dicom_node.results.modules import plain, series_description
from dicom_node.results.sources import sources_of
from dicom_node.results.sr.figures import rounded
from dicom_node.results.sr.report import build_report
from engines.manifest.whole import Manifest
from inference.slide.files import SlideFiles
from inference.types import Heatmap, LevelAccount, Patch, Reason


@pytest.fixture(scope="module")
def source() -> Dataset:
    return volume()


@pytest.fixture(scope="module")
def objects(source: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of result, written by us."""
    folder = tmp_path_factory.mktemp("results")
    result = prediction(source)
    seg = segment(source, result)
    built = {
        "seg": seg,
        "sr": report(source, result, segmentations=[seg]),
        "refused": report(source, refusal(source)),
        "refused-without-position": report(source, refusal(None)),
    }
    for name, ds in built.items():
        write(ds, folder / f"{name}.dcm")
    return {name: folder / f"{name}.dcm" for name in built}


# ---- validators and readers --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["seg", *REPORTS])
def test_dciodvfy_finds_no_error_and_warns_only_of_our_private_scheme(objects, name):
    lines = run("dciodvfy", "-new", objects[name]).splitlines()

    assert {"Segmentation", "Comprehensive3DSR"} & set(lines)
    unexplained = [line for line in lines if "Error" in line or "Warning" in line]
    known = (f"<{codes.SCHEME}>", f"<{codes.SCHEME_UID}>")
    assert [w for w in unexplained if "Error" in w or not w.endswith(known)] == []


@pytest.mark.parametrize("name", REPORTS)
def test_the_template_validator_finds_no_error(objects, name):
    assert template_errors(objects[name]) == []


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words += [data.strip().rstrip(":")] if data.strip() else []


def html_texts(report_file: Path) -> list[str]:
    page = report_file.with_suffix(".html")
    run("dsr2html", report_file, page)
    parser = _Text()
    parser.feed(page.read_text(errors="replace"))
    return parser.words


def test_dsr2html_shows_every_label_next_to_its_value(objects):
    texts = html_texts(objects["sr"])
    pairs = list(pairwise(texts))
    for label, value in [
        ("Finding", "Overall Survival (C125201, NCIt)"),
        ("Risk score", "1.23 {score}"),
        ("Percentile Ranking of measurement", "91 %"),
        ("1-year OS probability", "91.2 %"),
        ("3-year OS probability", "71 %"),
        ("5-year OS probability", "50 %"),
        ("Tissue analyzed", "4.57 mm2"),
        ("Tumor fraction", "0.0123 1"),
        ("Percentile Ranking of measurement", "3 %"),
        ("Caution", "Read the comments (READ-COMMENTS, 99DICOMNODE)"),
        ("Intended use", "For Research (113009, DCM)"),
        ("Heatmap value", "0.988 1"),
        ("Comment", "Risk score: a higher value is worse."),
        ("Comment", "Percentiles refer to: phantom cohort, 400 drawn slides"),
    ]:
        assert (label, value) in pairs
    said = " ".join(texts)
    assert "PRELIMINARY" in said
    assert "UNVERIFIED" in said
    assert "COMPLETE" in said


def test_every_warning_of_the_prediction_stands_in_the_report(source):
    result = prediction(source, warnings=("First thing.", "Second – thing."))
    comments = texts_of(report(source, result), codes.COMMENT.value)
    assert "Caution: First thing." in comments
    assert "Caution: Second - thing." in comments


@pytest.mark.parametrize("name", ["refused", "refused-without-position"])
def test_a_refusal_says_why_in_code_and_in_words_and_holds_no_number(objects, name):
    ds = dcmread(objects[name])
    assert [i for i in items(ds) if i.get("ValueType") == "NUM"] == []
    texts = html_texts(objects[name])
    pairs = list(pairwise(texts))
    assert ("Assessment by the model", "Not predictable (NOT-PREDICTABLE, 99DICOMNODE)") in pairs
    assert ("Reason not predictable", "No tissue found (NA-NO-TISSUE, 99DICOMNODE)") in pairs
    assert ("Comment", "Found 0.02 mm2 of tissue; 0.1 are needed.") in pairs


def test_a_refusal_without_position_or_size_still_is_a_valid_report(source, tmp_path):
    bare = dcmread(io.BytesIO(as_file(source)), force=True)
    del bare.TotalPixelMatrixRows, bare.FrameOfReferenceUID, bare.SpecimenDescriptionSequence
    write(report(bare, refusal(None)), tmp_path / "sr.dcm")
    (group,) = named(dcmread(tmp_path / "sr.dcm"), "125007")
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert dciodvfy_errors(tmp_path / "sr.dcm") == []


# ---- what viewers rely on ----------------------------------------------------------------------


def items(ds: Dataset) -> Iterator[Dataset]:
    """All items of the content tree, the root included."""
    yield ds
    for item in ds.get("ContentSequence") or ():
        yield from items(item)


def named(ds: Dataset, value: str) -> list[Dataset]:
    named_items = [i for i in items(ds) if "ConceptNameCodeSequence" in i]
    return [i for i in named_items if i.ConceptNameCodeSequence[0].CodeValue == value]


def texts_of(ds: Dataset, value: str) -> list[str]:
    return [str(item.TextValue) for item in named(ds, value)]


def test_the_heatmap_comes_back_within_half_a_step_and_zero_means_not_analyzed(objects, source):
    grid = values(source)
    seg = hd.seg.segread(objects["seg"])
    read = seg.get_total_pixel_matrix(rescale_fractional=True)[..., 0]
    assert read.shape == grid.shape
    np.testing.assert_array_equal(read == 0, np.isnan(grid))
    analyzed = np.isfinite(grid)
    shown = np.maximum(grid[analyzed], 1 / 255)
    assert np.abs(read[analyzed] - shown).max() <= 1 / 510 + 1e-7


def test_the_heatmap_is_anchored_like_the_slide(objects, source):
    seg = dcmread(objects["seg"])
    base = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    spacing = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert seg.TotalPixelMatrixOriginSequence == source.TotalPixelMatrixOriginSequence
    assert seg.ImageOrientationSlide == source.ImageOrientationSlide
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.ContainerIdentifier == source.ContainerIdentifier
    for mine, theirs in zip(spacing, base, strict=True):
        assert Decimal(mine.original_string) == STRIDE * Decimal(str(theirs))
    assert seg.DimensionOrganizationType == "TILED_SPARSE"
    assert (seg.Rows, seg.Columns, seg.MaximumFractionalValue) == (64, 64, 255)
    assert seg.file_meta.TransferSyntaxUID == JPEGLSLossless  # RLE paints stripes in viewers
    assert seg.LossyImageCompression == "01"


def test_rows_and_columns_of_unequal_spacing_stay_unequal():
    source = volume(spacing=("0.000499", "0.00025269999"))
    seg = segment(source, prediction(source))
    spacing = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert [str(s) for s in spacing] == ["0.111776", "0.05660479776"]


def test_a_large_grid_is_cut_into_frames_and_comes_back_whole(tmp_path):
    source = volume(rows=40_000, cols=60_000)
    grid = values(source)
    result = prediction(source, heatmaps=(Heatmap("tumor", grid, ()),))
    write(segment(source, result), tmp_path / "seg.dcm")
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    assert seg.NumberOfFrames == 3 * 5
    stored = seg.get_total_pixel_matrix(rescale_fractional=False)[..., 0]
    np.testing.assert_array_equal(stored == 0, np.isnan(grid))


def test_every_group_has_one_region_on_the_slide_and_no_parentheses_in_its_identifier(
    objects, source
):
    ds = dcmread(objects["sr"])
    groups = named(ds, "125007")
    assert len(groups) == 5  # two scores with a percentile each, three top patches
    for group in groups:
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
        (region,) = [i for i in group.ContentSequence if i.ValueType == "SCOORD3D"]
        assert region.ReferencedFrameOfReferenceUID == source.FrameOfReferenceUID
        (identifier,) = texts_of(group, "112039")
        assert not re.search(r"[()]", identifier)
    assert {i.ContinuityOfContent for i in items(ds) if i.ValueType == "CONTAINER"} == {"SEPARATE"}


def test_the_top_patch_lies_on_its_cell(objects):
    region = named(dcmread(objects["sr"]), "125007")[2].ContentSequence[-1]
    assert region.GraphicType == "POLYGON"
    points = np.array(region.GraphicData).reshape(-1, 3)
    # columns run along -y and rows along -x, from (25, 50)
    near, far = 224 * 0.000499, 448 * 0.000499
    assert points[:, 0] == pytest.approx([25 - v for v in (near, near, far, far, near)], abs=3e-6)
    assert points[:, 1] == pytest.approx([50 - v for v in (near, far, far, near, near)], abs=3e-6)
    assert (points[:, 2] == 0).all()


def test_the_patch_at_the_lower_edge_ends_with_the_slide(objects):
    region = named(dcmread(objects["sr"]), "125007")[3].ContentSequence[-1]
    lowest = 25 - np.array(region.GraphicData).reshape(-1, 3)[:, 0].min()
    assert lowest == pytest.approx(4000 * 0.000499, abs=3e-6)  # not (17 + 1) * 224 px


def test_the_slide_group_is_outlined_not_filled(objects):
    group = named(dcmread(objects["sr"]), "125007")[0]
    (region,) = [i for i in group.ContentSequence if i.ValueType == "SCOORD3D"]
    points = np.array(region.GraphicData).reshape(-1, 3)
    assert region.GraphicType == "POLYLINE"
    assert (points[0] == points[-1]).all()
    assert points[1] == pytest.approx([25 - 100 * 0.000499, 50 - 2800 * 0.000499, 0], abs=3e-6)


def test_an_outline_of_many_points_is_thinned_and_stays_closed(source):
    angle = np.linspace(0, 2 * np.pi, 20_001)
    outline = np.stack([2000 + 1500 * np.sin(angle), 3000 + 1500 * np.cos(angle)], axis=1)
    outline[-1] = outline[0]
    ds = dcmread(
        io.BytesIO(to_bytes(report(source, prediction(source, tissue_outlines=(outline,)))))
    )
    (region,) = [i for i in named(ds, "125007")[0].ContentSequence if i.ValueType == "SCOORD3D"]
    points = np.array(region.GraphicData).reshape(-1, 3)
    assert points.nbytes // 2 < 65534
    assert (points[0] == points[-1]).all()
    assert 3000 < len(points) <= 4000


def test_names_that_viewers_cut_fit_and_private_codes_are_unique():
    assert all(len(c.meaning) <= 28 and len(c.value) <= 16 for c in codes.PRIVATE)
    with pytest.raises(ValueError, match="found 17 characters, expected 1 to 16"):
        codes._private("A" * 17, "Too long")
    assert len({c.value for c in codes.PRIVATE}) == len(codes.PRIVATE)
    assert len({c.meaning for c in codes.PRIVATE}) == len(codes.PRIVATE)
    assert set(codes.REASONS) == set(Reason)


def test_the_private_scheme_is_declared_with_its_uid_and_a_bundles_own_with_its_maker(source):
    foreign = manifest().model_dump(mode="json")
    foreign["outputs"][0]["code"]["scheme"] = "99OTHER"
    ds = build_report(
        source,
        prediction(source),
        Manifest.model_validate(foreign),
        PROVENANCE,
        segmentations=[],
        input_uids=["1.2"],
        series_number=9001,
    )
    declared = {i.CodingSchemeDesignator: i for i in ds.CodingSchemeIdentificationSequence}
    assert declared.keys() == {"99DICOMNODE", "99OTHER"}
    assert declared["99DICOMNODE"].CodingSchemeUID == codes.SCHEME_UID
    assert declared["99OTHER"].CodingSchemeResponsibleOrganization == "Tests"


@pytest.mark.parametrize(("status", "marked"), [("research", True), ("product", False)])
def test_research_is_said_in_the_series_and_in_the_report(source, status, marked):
    ds = build_report(
        source,
        prediction(source),
        manifest(status),
        PROVENANCE,
        segmentations=[],
        input_uids=["1.2"],
        series_number=9001,
    )
    assert ds.SeriesDescription.endswith("(RESEARCH)") is marked
    said = [i.ConceptCodeSequence[0].CodeValue for i in named(ds, codes.INTENDED_USE.value)]
    assert ("113009" in said) is marked


def test_a_long_title_does_not_push_research_out_of_the_series_description():
    long = manifest().model_copy(update={"title": "T" * 64, "version": "10.20.30"})
    text = series_description("AI heatmap " + "n" * 20, long)
    assert len(text) <= 64
    assert text.endswith(" 10.20.30 (RESEARCH)")


def test_the_algorithm_is_named_with_version_family_and_bundle_digest(objects):
    sr, seg = dcmread(objects["sr"]), dcmread(objects["seg"])
    first, *others = named(sr, "125007")
    assert texts_of(first, "111001") == ["Phantom student"]
    assert texts_of(first, "111003") == ["0.3.1"]
    assert f"bundle digest: {DIGEST}" in texts_of(first, "111002")
    assert [texts_of(group, "111001") for group in others] == [[]] * 4  # once is enough
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert DIGEST in algorithm.AlgorithmParameters
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"


@pytest.mark.parametrize("reason", [None, *Reason])
def test_the_series_of_a_report_of_an_earlier_version_follows_from_its_uid_and_what_it_is_of(
    source, reason
):
    result = prediction(source) if reason is None else replace(refusal(source), reason=reason)
    study = source.StudyInstanceUID
    names = report_names(study, ["1.2", "1.3"], PROVENANCE, result)
    made, series = names.uid_of_0_1("instance"), names.uid_of_0_1("series")
    sets = [("1.2",), ("1.3", "1.2")]
    digests = {"sha256:other", PROVENANCE.bundle_digest}
    assert series_of_report(study, made, sets, digests) == series
    assert series_of_report(study, made, sets[:1], digests) is None
    assert series_of_report(study, made, sets, {"sha256:other"}) is None


@pytest.mark.parametrize("reason", [Reason.NO_MODEL, Reason.INCOMPLETE, Reason.ANALYSIS_FAILED])
def test_a_refusal_that_may_be_mended_and_the_result_after_it_have_different_uids(source, reason):
    refused = report(source, replace(refusal(source), reason=reason), input_uids=["1.2"])
    later = report(source, prediction(source), input_uids=["1.2"])
    assert refused.SOPInstanceUID != later.SOPInstanceUID


def test_the_report_names_slide_heatmap_and_predecessor(source):
    seg = segment(source, prediction(source))
    first = report(source, prediction(source), segmentations=[seg])
    second = report(source, prediction(source), predecessor=first, input_uids=["1.2", "1.3"])
    evidence = first.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    uids = {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in evidence}
    assert uids == {source.SOPInstanceUID, seg.SOPInstanceUID}
    (previous,) = second.PredecessorDocumentsSequence
    reference = previous.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SOPInstanceUID != first.SOPInstanceUID


def test_the_observer_is_our_device_and_the_subject_the_specimen_of_the_slide(objects, source):
    ds = dcmread(objects["sr"])
    specimen = source.SpecimenDescriptionSequence[0]
    assert [i.UID for i in named(ds, "121012")] == [PROVENANCE.device.uid]
    assert [i.UID for i in named(ds, "121039")] == [specimen.SpecimenUID]
    assert texts_of(ds, "121041") == [specimen.SpecimenIdentifier]
    assert texts_of(ds, "111700") == [source.ContainerIdentifier]
    assert (ds.Manufacturer, ds.DeviceSerialNumber) == ("dicom-node project", DIGEST[7:23])


def test_every_specimen_of_a_slide_is_named_and_one_is_the_subject(source, tmp_path):
    two = volume()
    other = Dataset()
    other.SpecimenIdentifier, other.SpecimenUID = "A26-000123 A1-2", "1.2.3"
    two.SpecimenDescriptionSequence.append(other)
    ds = report(two, prediction(two))
    comments = texts_of(ds, codes.COMMENT.value)
    assert any("2 specimens" in c and "A1-2" in c for c in comments)
    both = [item.SpecimenIdentifier for item in two.SpecimenDescriptionSequence]
    (library,) = named(ds, "126200")
    assert texts_of(library, "121041") == both
    assert [i.UID for i in named(library, "121039")][1] == "1.2.3"
    root = [i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121041"]
    assert [i.TextValue for i in root] == both[:1], "TID 1001 has one subject"
    write(ds, tmp_path / "sr.dcm")
    assert dciodvfy_errors(tmp_path / "sr.dcm") == []
    assert template_errors(tmp_path / "sr.dcm") == []


def test_a_container_is_named_where_the_specimen_is_not(source, tmp_path):
    uids = []
    for bare in (volume(), volume(), volume()):
        del bare.SpecimenDescriptionSequence
        bare.ContainerIdentifier = "A26 B" if uids else "A26 A"
        seg, sr = segment(bare, prediction(bare)), report(bare, prediction(bare))
        assert texts_of(sr, "111700") == texts_of(sr, "121041") == [bare.ContainerIdentifier]
        (uid,) = [i.UID for i in named(sr, "121039")]
        (specimen,) = seg.SpecimenDescriptionSequence
        assert (specimen.SpecimenUID, seg.ContainerIdentifier) == (uid, bare.ContainerIdentifier)
        uids.append(uid)
        for name, ds in (("seg", seg), ("sr", sr)):
            write(ds, tmp_path / f"{name}.dcm")
            assert dciodvfy_errors(tmp_path / f"{name}.dcm") == []
    assert uids[0] != uids[1] == uids[2], "the same container, the same specimen"


def test_slides_are_told_apart_by_the_container_in_the_series_description():
    made = manifest().model_copy(update={"title": "T" * 64, "version": "10.20.30"})
    texts = []
    for end in ("A1", "A2"):
        slide = Dataset()
        slide.ContainerIdentifier = f"HOSPITAL-PATHOLOGY-2026-000123-{end}"
        texts.append(series_description("AI report", made, slide))
    for text, end in zip(texts, ("A1", "A2"), strict=True):
        assert re.fullmatch(rf"AI report .*2026-000123-{end}: T+ 10\.20\.30 \(RESEARCH\)", text)
        assert len(text) == 64
    assert series_description("AI report", None, slide).startswith("AI report ")
    assert series_description("AI report", None, slide).endswith("-A2: no model applies")
    narrow = series_description("AI heatmap " + "n" * 20, made, slide)
    assert len(narrow) <= 64
    assert narrow.endswith("-A2 10.20.30 (RESEARCH)")


@pytest.mark.parametrize("name", ["sm_image.dcm", "sm_image_jpegls.dcm"])
def test_the_header_of_a_foreign_slide_gives_valid_results(shared, tmp_path, name):
    base = dcmread(shared / "data" / "wsi" / "highdicom" / name, stop_before_pixels=True)
    patch = Patch(4, 4, 1.0)
    drawn = Heatmap("tumor", values(base, 10), (patch,))
    result = prediction(base, stride_px=10, heatmaps=(drawn,), tissue_outlines=())
    seg = segment(base, result)
    for ds in (seg, report(base, result, segmentations=[seg])):
        write(ds, tmp_path / "result.dcm")
        assert dciodvfy_errors(tmp_path / "result.dcm") == []


# ---- identity and study ------------------------------------------------------------------------


def as_file(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def test_building_twice_gives_the_same_bytes(source):
    def built() -> list[bytes]:
        fresh = volume()
        seg = segment(fresh, prediction(fresh))
        sr = report(fresh, prediction(fresh), segmentations=[seg])
        return [to_bytes(ds) for ds in (seg, sr, report(fresh, refusal(fresh)))]

    assert built() == built()


def test_building_leaves_the_source_as_it_was(source):
    before = as_file(source)
    ds = report(source, prediction(source), segmentations=[segment(source, prediction(source))])
    ds.PatientID = "changed"
    ds.SpecificCharacterSet = "ISO_IR 100"
    assert as_file(source) == before


def test_uids_depend_on_every_input_but_not_on_its_order(source):
    def uid(inputs: list[str], digest: str = DIGEST) -> str:
        return str(refused_by(source, inputs, bundle_digest=digest).SOPInstanceUID)

    assert uid(["1.2", "1.3"]) == uid(["1.3", "1.2"])
    assert len({uid(["1.2"]), uid(["1.3"]), uid(["1.2", "1.3"]), uid(["1.2"], "sha256:00")}) == 4
    with pytest.raises(ValueError, match="input_uids is empty"):
        uid([])


def refused_by(source: Dataset, inputs: list[str], **changes: object) -> Dataset:
    """A refusal of another provenance."""
    ds = build_report(
        source,
        refusal(source),
        manifest(),
        replace(PROVENANCE, **changes),
        segmentations=[],
        input_uids=inputs,
        series_number=9001,
    )
    return settle(ds)


def test_no_uid_is_used_for_two_things(objects):
    seg, sr = dcmread(objects["seg"]), dcmread(objects["sr"])
    tracking = [i.UID for i in named(sr, "112040")] + [seg.SegmentSequence[0].TrackingUID]
    uids = [ds[k].value for ds in (seg, sr) for k in ("SOPInstanceUID", "SeriesInstanceUID")]
    assert len({*tracking, *uids}) == 6 + 4
    assert all(u.is_valid and u.startswith("2.25.") for u in [*tracking, *uids])


def test_a_uid_is_the_same_in_every_release():
    assert result_uid("a", "b") == "2.25.287320832533759821865433637265792408765"
    assert result_uid("a", "b") != result_uid("ab")


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "onnxruntime CPU int8"},
        {"node_version": "0.2.0"},
        {"bundle_version": "0.3.2"},
        {"bundle_digest": "sha256:00"},
        {"variant": "silent model"},
        {"created_at": PROVENANCE.created_at + timedelta(seconds=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_in_an_object_changes_all_its_uids(source, change):
    before, after = (refused_by(source, ["1.2"], **c) for c in ({}, change))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert before[keyword].value != after[keyword].value
    mine, theirs = ({i.UID for i in named(ds, "112040")} for ds in (before, after))
    assert not mine & theirs, "viewers keep regions by their tracking UIDs"


def test_a_note_more_makes_another_report_and_the_same_notes_the_same_one(source):
    uids = [
        report(source, refusal(source), notes=notes).SOPInstanceUID
        for notes in ((), ("One.",), ("One.",), ("Two.",))
    ]
    assert uids[1] == uids[2]
    assert len(set(uids)) == 3


def test_a_uid_does_not_depend_on_itself_and_no_role_is_left(source):
    made = report(source, prediction(source), segmentations=[segment(source, prediction(source))])
    again = to_bytes(settle(made))
    assert again == to_bytes(report(source, prediction(source), segmentations=[
        segment(source, prediction(source))
    ]))  # fmt: skip
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert ROLES.encode() not in again
    raw = build_report(
        source, refusal(source), manifest(), PROVENANCE,
        segmentations=[], input_uids=["1.2"], series_number=9001,
    )  # fmt: skip
    assert ROLES.encode() in to_bytes(raw), "before it is settled"
    names = ResultNames.of("1.2", ["1.3"], PROVENANCE, "report")
    assert all(
        names.uid(role).startswith(ROLES) and len(names.uid(role)) <= 64
        for role in ("instance", "series", "tracking")
    )


def test_a_version_before_named_its_results_like_this():
    names = ResultNames.of("1.2", ["1.3"], PROVENANCE, "report")
    assert names.uid_of_0_1("instance") == "2.25.234749379552136341134791456894846927046"


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_study_attributes_are_copied_as_they_are_but_for_their_encoding():
    original = volume()
    original.PatientSex = "X"  # not a DICOM value; still the PACS's
    original.PatientBirthDate = "1950.01.02"
    original.AccessionNumber = "A26-000123-too-long-for-SH"
    source = dcmread(io.BytesIO(as_file(original)), force=True)
    untouched = dcmread(io.BytesIO(as_file(original)), force=True)
    for ds in (segment(source, prediction(source)), report(source, prediction(source))):
        read = dcmread(io.BytesIO(to_bytes(ds)))
        assert read.SpecificCharacterSet == "ISO_IR 192"
        for keyword in STUDY_ATTRIBUTES:
            if keyword in untouched:
                assert read[keyword].value == untouched[keyword].value, keyword
            else:
                assert keyword not in read


STUDY_ATTRIBUTES = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialSubjectID",
]


def test_what_the_slide_lacks_stays_empty_and_the_result_valid(tmp_path):
    source = volume()
    missing = ["PatientName", "PatientID", "PatientSex", "PatientBirthDate", "StudyID"]
    missing += ["AccessionNumber", "ReferringPhysicianName", "StudyDate", "StudyTime"]
    for keyword in missing:
        delattr(source, keyword)
    write(segment(source, prediction(source)), tmp_path / "seg.dcm")
    read = dcmread(tmp_path / "seg.dcm")
    assert [read[k].is_empty for k in missing] == [True] * len(missing)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("LossyImageCompressionRatio", 0x00282112),
        ("PatientWeight", 0x00101030),
        ("InstanceNumber", 0x00200013),
        ("ImagedVolumeWidth", 0x00480001),
    ],
)
def test_what_is_no_number_in_an_attribute_that_no_result_needs_costs_no_result(
    keyword, tag, tmp_path
):
    """pydicom reads such a value as text, and refuses it only when it is set."""
    source = volume()
    source.LossyImageCompression = "01"
    text = b"ZZPLANT "
    source[tag] = RawDataElement(Tag(tag), "DS", len(text), text, 0, False, True)
    write(segment(source, prediction(source)), tmp_path / "seg.dcm")
    assert dcmread(tmp_path / "seg.dcm").PatientID == source.PatientID


def test_times_are_those_of_making_in_the_zone_of_the_study_or_in_utc_and_say_so(source):
    seg = segment(source, prediction(source))  # made at 23:30:15 +01:00
    assert (seg.ContentDate, seg.ContentTime) == ("20260304", "223015")
    assert seg.TimezoneOffsetFromUTC == "+0000"
    assert seg.ContributingEquipmentSequence[-1].ContributionDateTime == "20260304223015+0000"
    abroad = volume()
    abroad.TimezoneOffsetFromUTC = "+0530"
    seg = segment(abroad, prediction(abroad))
    assert seg.TimezoneOffsetFromUTC == "+0530"
    assert (seg.ContentDate, seg.ContentTime) == ("20260305", "040015")
    assert seg.ContributingEquipmentSequence[-1].ContributionDateTime == "20260305040015+0530"


@pytest.mark.parametrize(
    ("keyword", "stated", "zone", "time"),
    [
        ("TimezoneOffsetFromUTC", "-0330", "-0330", "190015"),
        ("TimezoneOffsetFromUTC", "0530", "+0530", "040015"),
        ("TimezoneOffsetFromUTC", "Berlin", "+0000", "223015"),
        ("AcquisitionDateTime", "20260304091500.123+0900", "+0900", "073015"),
        ("AcquisitionDateTime", "20260304091500", "+0000", "223015"),
    ],
)
def test_the_zone_is_what_the_slide_states_in_one_way_or_another(keyword, stated, zone, time):
    slide = volume()
    slide.pop(keyword, None)
    value = stated.encode() + b" " * (len(stated) % 2)
    vr = "SH" if keyword.startswith("Time") else "DT"
    slide[keyword] = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)
    made = report(slide, refusal(slide))
    assert (made.TimezoneOffsetFromUTC, made.ContentTime) == (zone, time)


@pytest.mark.parametrize(
    ("stated", "date", "time"),
    [
        ({"AcquisitionDateTime": "20250102030405.5"}, "20250102", "030405"),
        ({"AcquisitionDateTime": "202501"}, "20260304", "091500"),
        ({"AcquisitionDateTime": "", "ContentTime": "07"}, "20260304", "070000"),
        ({"AcquisitionDateTime": "", "ContentDate": "", "StudyTime": ""}, "20260304", "000000"),
        ({"AcquisitionDateTime": "", "ContentDate": "", "StudyDate": ""}, "19000101", "000000"),
    ],
)
def test_what_is_made_without_a_clock_is_dated_by_the_slide_and_tells_no_time_of_making(
    stated, date, time, tmp_path
):
    slide = volume()
    for keyword, value in stated.items():
        setattr(slide, keyword, value)
    undated = replace(PROVENANCE, created_at=taken_at(slide), made_then=False)
    ds = build_report(
        slide, refusal(slide), manifest(), undated,
        segmentations=[], input_uids=["1.2"], series_number=9001,
    )  # fmt: skip
    write(settle(ds), tmp_path / "sr.dcm")
    read = dcmread(tmp_path / "sr.dcm")
    assert (read.ContentDate, read.ContentTime) == (date, time)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime"):
        assert keyword not in read
    ours = read.ContributingEquipmentSequence[-1]
    assert "ContributionDateTime" not in ours
    assert "time of analysis is not told" in ours.ContributionDescription
    assert ("1900-01-01" in ours.ContributionDescription) == (date == "19000101")
    assert dciodvfy_errors(tmp_path / "sr.dcm") == []


def test_the_scanner_stays_beside_us_and_what_had_contributed_before(source):
    slide = volume()
    before = Dataset()
    before.Manufacturer = "Converter maker"
    before.PurposeOfReferenceCodeSequence = [coded("109103", "DCM", "Modifying Equipment")]
    slide.ContributingEquipmentSequence = [before]
    for ds in (segment(slide, prediction(slide)), report(slide, refusal(slide))):
        found = [
            (item.Manufacturer, item.PurposeOfReferenceCodeSequence[0].CodeValue)
            for item in ds.ContributingEquipmentSequence
        ]
        assert found == [
            ("Converter maker", "109103"),
            ("Scanner maker", "109101"),
            ("dicom-node project", "109102"),
        ]
        assert ds.ContributingEquipmentSequence[1].DeviceSerialNumber == "1"
        assert ds.DeviceUID == PROVENANCE.device.uid


def test_order_numbers_of_the_slide_are_carried(tmp_path):
    slide = volume()
    order = Dataset()
    order.RequestedProcedureID, order.ScheduledProcedureStepID = "RP-7", "SPS-1"
    order.RequestedProcedureDescription = "Histology"
    slide.RequestAttributesSequence = [order]
    slide.PlacerOrderNumberImagingServiceRequest = "P-17"
    slide.FillerOrderNumberImagingServiceRequest = "F-18"
    seg, sr = segment(slide, prediction(slide)), report(slide, refusal(slide))
    assert seg.RequestAttributesSequence == slide.RequestAttributesSequence
    (request,) = sr.ReferencedRequestSequence
    assert request.RequestedProcedureID == "RP-7"
    assert request.PlacerOrderNumberImagingServiceRequest == "P-17"
    assert request.FillerOrderNumberImagingServiceRequest == "F-18"
    assert request.AccessionNumber == slide.AccessionNumber
    assert request.StudyInstanceUID == slide.StudyInstanceUID
    for name, ds in (("seg", seg), ("sr", sr)):
        write(ds, tmp_path / f"{name}.dcm")
        assert dciodvfy_errors(tmp_path / f"{name}.dcm") == []
    none = report(volume(), refusal(volume()))
    assert "ReferencedRequestSequence" not in none


def test_every_instance_that_was_read_is_named_in_report_and_heatmap(source):
    mask, other = volume(500, 750, scale=8), volume(1000, 1500, scale=4)
    read = [source, other, mask]
    seg = segment(source, prediction(source), read=read)
    sr = report(source, prediction(source), segmentations=[seg], read=read)
    wanted = [str(ds.SOPInstanceUID) for ds in read]
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    evidence = [
        str(item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert evidence == [*wanted, str(seg.SOPInstanceUID)]
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    frames = [
        [str(s.ReferencedSOPInstanceUID) for s in d.SourceImageSequence]
        for groups in seg.PerFrameFunctionalGroupsSequence
        for d in groups.DerivationImageSequence
    ]
    whole = (series.ReferencedInstanceSequence, seg.SourceImageSequence)
    for found in (*frames, *([str(i.ReferencedSOPInstanceUID) for i in s] for s in whole)):
        assert found == wanted
    assert len(frames) == len(seg.PerFrameFunctionalGroupsSequence)


@pytest.mark.parametrize(
    ("flavor", "used_as", "counts"),
    [
        ("VOLUME", "tissue", True),
        ("VOLUME", "left aside: other levels were nearer to the wanted scale", True),
        ("THUMBNAIL", "tissue", True),
        ("LABEL", "left aside: LABEL", False),
    ],
)
def test_levels_were_read_whatever_they_gave_and_labels_were_not(
    source, tmp_path, flavor, used_as, counts
):
    other = volume(500, 750, scale=8)
    other.file_meta = report(source, refusal(source)).file_meta
    other.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    uids = (str(source.SOPInstanceUID), str(other.SOPInstanceUID))
    slide = SlideFiles("s", (tmp_path / "a.dcm", tmp_path / "other.dcm"), uids, tmp_path)
    account = LevelAccount(uids[1], flavor, 500, 750, 4.0, 1, used_as)
    found = sources_of(source, slide, prediction(source, levels=(account,)))
    assert [str(ds.SOPInstanceUID) for ds in found] == list(uids[: 1 + counts])
    assert len(sources_of(source, slide, prediction(source))) == 2, "nothing is accounted for"


def test_the_same_instant_told_in_two_zones_makes_the_same_bytes(source):
    def made(zone: timezone) -> bytes:
        return to_bytes(
            build_report(
                source,
                refusal(source),
                manifest(),
                replace(PROVENANCE, created_at=PROVENANCE.created_at.astimezone(zone)),
                segmentations=[],
                input_uids=[source.SOPInstanceUID],
                series_number=9001,
            )
        )

    assert made(UTC) == made(timezone(timedelta(hours=9)))


# ---- refusals of what would be a wrong picture -------------------------------------------------


@pytest.mark.parametrize("bad", [1.01, -0.01, np.inf])
def test_a_value_outside_zero_to_one_is_refused(source, bad):
    grid = values(source)
    grid[3, 3] = bad
    with pytest.raises(ValueError, match="expected values in"):
        segment(source, prediction(source, heatmaps=(Heatmap("tumor", grid, ()),)))


def test_a_heatmap_without_any_value_is_refused(source):
    grid = np.full_like(values(source), np.nan)
    with pytest.raises(ValueError, match="no tile was analyzed"):
        segment(source, prediction(source, heatmaps=(Heatmap("tumor", grid, ()),)))


def test_a_cropped_heatmap_is_refused(source):
    grid = values(source)[:-2]
    with pytest.raises(ValueError, match="not cropped"):
        segment(source, prediction(source, heatmaps=(Heatmap("tumor", grid, ()),)))


def test_a_result_of_another_level_is_refused(source):
    other = volume(rows=1000, cols=1500)
    with pytest.raises(ValueError, match="pass the base level"):
        segment(other, prediction(source))
    with pytest.raises(ValueError, match="pass the base level"):
        report(other, prediction(source))


def test_a_number_that_is_not_finite_or_was_promised_and_is_missing_is_refused(source):
    with pytest.raises(ValueError, match="expected a finite number"):
        report(source, prediction(source, scores={"risk": np.nan, "tumor_fraction": 0.1}))
    with pytest.raises(ValueError, match="the manifest promises tumor_fraction"):
        report(source, prediction(source, scores={"risk": 1.0}))
    with pytest.raises(ValueError, match="expected \\[0, 1\\]"):
        report(source, prediction(source, survivals={"os": (0.9, 0.7, 1.2)}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.23456, 1.23), (0.00012345, 0.000123), (71.0, 71), (1234.5, 1230), (-0.5, -0.5), (0.0, 0)],
)
def test_numbers_are_shown_with_three_digits(value, shown):
    assert rounded(value) == shown
    assert isinstance(rounded(value), type(shown))


def test_a_sentence_is_one_line_in_letters_of_any_script_and_signs_of_ascii():
    assert plain("≥ 0.5 µm² – “naïve” \\ 腫瘍\nline") == '>= 0.5 um2 - "naïve" / 腫瘍 line'
    assert plain("x" * 70, 64) == "x" * 61 + "..."


# ---- files -------------------------------------------------------------------------------------


def test_a_file_carries_our_implementation_and_replaces_the_former_one_at_once(source, tmp_path):
    path = tmp_path / "sr.dcm"
    path.write_bytes(b"former")
    ds = report(source, refusal(source))
    write(ds, path)
    read = dcmread(path)
    assert read.file_meta.ImplementationVersionName == "DICOMNODE_0.1.0"
    assert read.file_meta.ImplementationClassUID.startswith("2.25.")
    assert read.SOPInstanceUID == ds.SOPInstanceUID
    assert [p.name for p in tmp_path.iterdir()] == ["sr.dcm"]


@pytest.mark.filterwarnings("ignore:A value of type")
def test_a_file_that_cannot_be_written_leaves_the_former_one_and_no_debris(source, tmp_path):
    path = tmp_path / "sr.dcm"
    path.write_bytes(b"former")
    ds = report(source, refusal(source))
    ds.add_new("Rows", "US", "not a number")
    with pytest.raises(Exception, match="Rows"):
        write(ds, path)
    assert path.read_bytes() == b"former"
    assert [p.name for p in tmp_path.iterdir()] == ["sr.dcm"]


def test_every_image_that_a_report_refers_to_is_among_its_evidence(source: Dataset) -> None:
    result = prediction(source)
    predicted = report(source, result, segmentations=[segment(source, result)])
    for made in (predicted, report(source, refusal(None))):
        evidence = {
            instance.ReferencedSOPInstanceUID
            for study in made.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence
            for instance in series.ReferencedSOPSequence
        }
        referred = set(_referred(made))
        assert referred
        assert referred <= evidence


def _referred(item: Dataset) -> Iterator[str]:
    for child in item.get("ContentSequence") or ():
        yield from (r.ReferencedSOPInstanceUID for r in child.get("ReferencedSOPSequence") or ())
        yield from _referred(child)
