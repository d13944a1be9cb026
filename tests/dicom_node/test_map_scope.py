"""A heatmap is given where it was measured, and with a caution where a slide names no organ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from form_inputs import ALL_KINDS
from opening import all_open
from pydicom import dcmread
from result_inputs import PROVENANCE
from specimen_cases import METASTATIC
from specimens import code
from tissue_students import of_organ, slide, tissue_student
from validators import run, template_errors

from dicom_node.results.build import objects_of
from dicom_node.results.case import objects_of_case
from dicom_node.results.case_making import CaseMaking, OneSlide
from dicom_node.results.files import write
from dicom_node.results.language.speaking import sentences
from dicom_node.results.making import BuiltObject, Making
from dicom_node.view.reading import read_groups
from engines.runtime import Runtime
from inference import predict
from inference.case.predict import of_any_amount, predict_case
from inference.slide.files import SlideFiles
from inference.types import Prediction

ROWS = ["TTTTSSSS", "TTTTSSSS", "TTTTSSSS", "TTLLSSSS", "SSLLSS..", "SSSSSSSS"]
OTHER = "not assessed, because it was measured on colon and breast only; the slide is of lung."
CAUTION = (
    "tumor: measured on colon and breast only, and the slide does not say of which organ it is."
)


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Runtime]]:
    folder = tmp_path_factory.mktemp("bundles")
    organs = [of_organ("colon"), of_organ("breast")]
    bundles = {
        "everywhere": tissue_student(folder / "everywhere", []),
        "some": tissue_student(folder / "some", [], organs=organs),
        "case": tissue_student(folder / "case", [], organs=organs, unit="case"),
    }
    with all_open(bundles) as runtimes:
        yield runtimes


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SlideFiles]:
    folder = tmp_path_factory.mktemp("slides")
    first = slide(folder / "colon", ROWS, "colon")
    study = str(dcmread(first.base_path, stop_before_pixels=True).StudyInstanceUID)
    spread = slide(folder / "metastasis", ROWS, "colon", study_uid=study)
    for path in spread.paths:
        ds = dcmread(path)
        [item] = ds.SpecimenDescriptionSequence[0].PrimaryAnatomicStructureSequence
        item.PrimaryAnatomicStructureModifierSequence = [code(*METASTATIC)]
        ds.save_as(path)
    return {
        "colon": first,
        "lung": slide(folder / "lung", ROWS, "lung", study_uid=study),
        "nothing": slide(folder / "nothing", ROWS, study_uid=study),
        "metastasis": spread,
    }


def told(runtime: Runtime, files: SlideFiles) -> Prediction:
    found = predict.predict(files.paths, runtime)
    assert isinstance(found, Prediction), found
    return found


def objects(runtime: Runtime, files: SlideFiles, folder: Path) -> dict[str, BuiltObject]:
    """All kinds that can be made of a slide; each is valid."""
    source = dcmread(files.base_path, stop_before_pixels=True)
    built, trouble = objects_of(
        told(runtime, files),
        lambda r: Making(source, r, runtime.manifest, PROVENANCE, files, 0, wanted=ALL_KINDS),
    )
    assert trouble == ""
    for one in built:
        write(one.dataset, folder / f"{one.kind}.dcm")
        said = run("dciodvfy", "-new", folder / f"{one.kind}.dcm")
        assert [line for line in said.splitlines() if "Error" in line] == [], one.kind
    assert template_errors(folder / "report.dcm") == []
    return {one.kind: one for one in built}


def texts(report: BuiltObject, name: str) -> list[str]:
    return [
        str(item.TextValue)
        for item in report.dataset.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == name
    ]


def test_on_an_organ_that_it_was_measured_on_a_heatmap_is_what_it_is_without_a_scope(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles]
) -> None:
    some, everywhere = (told(runtimes[name], slides["colon"]) for name in ("some", "everywhere"))
    assert np.array_equal(some.heatmaps[0].values, everywhere.heatmaps[0].values, equal_nan=True)
    assert (some.warnings, some.not_assessed) == (everywhere.warnings, {})


def test_on_another_organ_no_heatmap_and_no_region_is_made_and_the_report_says_why(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    found = objects(runtimes["some"], slides["lung"], tmp_path)
    usual = objects(runtimes["everywhere"], slides["lung"], tmp_path)
    assert {"heatmap-tumor", "region-tumor", "overlay"} <= set(usual)
    assert not {kind for kind in found if kind.startswith(("heatmap", "region", "map"))}
    said = texts(found["report"], "Result")
    assert sum(line.endswith(OTHER) for line in said) == 1
    assert "Neoplasm" not in " ".join(line for line in said if OTHER not in line)
    groups = read_groups(found["report"].dataset)
    assert not any(group.title.startswith("tumor") for group in groups)
    names = {m.name for group in groups for m in group.measurements}
    assert not any("threshold" in name.casefold() for name in names), names
    assert any(m.name == "Redness" or "score" in m.name.casefold()
               for group in groups for m in group.measurements), names  # fmt: skip


def test_a_slide_that_names_no_organ_keeps_its_heatmap_and_gets_a_caution(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    found = told(runtimes["some"], slides["nothing"])
    assert [one.name for one in found.heatmaps] == ["tumor"]
    assert CAUTION in found.warnings
    assert CAUTION not in told(runtimes["everywhere"], slides["nothing"]).warnings
    built = objects(runtimes["some"], slides["nothing"], tmp_path)
    assert {"heatmap-tumor", "region-tumor"} <= set(built)
    assert CAUTION in " ".join(
        comment for g in read_groups(built["report"].dataset) for comment in g.comments
    )
    assert sentences(CAUTION, "de").startswith("tumor: nur an Kolon und Brust gemessen")


def test_a_metastasis_gets_no_heatmap_of_its_place(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles]
) -> None:
    found = told(runtimes["some"], slides["metastasis"])
    assert found.heatmaps == ()
    assert "metastasis" in found.not_assessed["tumor"]


def test_slides_of_a_case_have_the_heatmaps_of_their_own_organs(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles]
) -> None:
    runtime = runtimes["case"]
    used = {name: slides[name] for name in ("colon", "lung")}
    each = of_any_amount(runtime.manifest.applicability)
    looked = [(name, predict.look(s.paths, runtime, made_for=each)) for name, s in used.items()]
    result = predict_case(looked, runtime)
    maps = {one.key: [m.name for m in one.result.heatmaps] for one in result.slides}
    assert maps == {"colon": ["tumor"], "lung": []}
    parts = {
        key: OneSlide(files, dcmread(files.base_path, stop_before_pixels=True), n, PROVENANCE)
        for n, (key, files) in enumerate(used.items())
    }
    built, trouble = objects_of_case(
        result, lambda r: CaseMaking(r, parts, runtime.manifest, PROVENANCE, number=2)
    )
    assert trouble == ""
    [report] = [one for one in built if one.kind == "report"]
    assert OTHER in report.dataset.to_json()
