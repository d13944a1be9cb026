"""A student whose map has classes: the class of a tile is the nearest of four plain colors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from bundles import TILE_PX, write_probe, write_sums
from onnx import TensorProto, helper, load, numpy_helper, save
from pydicom import dcmread
from several import ORGANS, student
from specimens import code

from dicom_node.demo.wsm import write_slide
from inference.slide.files import SlideFiles

COLORS = {
    "Glass": (243, 243, 243),
    "Tumor": (110, 60, 140),
    "Stroma": (225, 130, 170),
    "Lymphocytes": (50, 40, 120),
}
"""By class, in the order of the graph; the first is background."""
LETTERS = {".": "Glass", "T": "Tumor", "S": "Stroma", "L": "Lymphocytes"}
MPP = 0.5
SIDE = 3
"""Tiles along a letter of a drawn slide."""
TILE_MM2 = (TILE_PX * MPP / 1000) ** 2
_STEEP = 200.0


def of_organ(organ: str) -> dict[str, str]:
    """The code of an organ as a manifest has it."""
    return dict(zip(("value", "scheme", "meaning"), ORGANS[organ], strict=True))


def unit(value: str, meaning: str = "") -> dict[str, str]:
    return {"value": value, "scheme": "UCUM", "meaning": meaning or value}


def _code(value: str, meaning: str) -> dict[str, str]:
    return {"value": value, "scheme": "99TEST", "meaning": meaning}


def tissue_map(**changes: Any) -> dict[str, Any]:
    """The map of classes."""
    return {
        "kind": "map", "name": "tissue", "shows": "finding", "graph": "encoder",
        "tensor": "classes", "category": {"value": "85756007", "scheme": "SCT",
        "meaning": "Tissue"}, "type": {"value": "85756007", "scheme": "SCT", "meaning": "Tissue"},
        "description": "The nearest color.", "top_patches": 0, "background": ["Glass"],
        "classes": [_code(name.upper(), name) for name in COLORS],
    } | changes  # fmt: skip


def measure(name: str, quantity: str, *classes: str, **changes: Any) -> dict[str, Any]:
    """A measure on the map of classes."""
    units = {"area": unit("mm2", "square millimeter"), "share": unit("%", "Percent"),
             "ratio": unit("{ratio}", "ratio")}  # fmt: skip
    return {
        "kind": "measure", "name": name, "code": _code(name.upper()[:16], name),
        "unit": units[quantity], "quantity": quantity, "map": "tissue", "classes": list(classes),
    } | changes  # fmt: skip


def measures(**changes: Any) -> list[dict[str, Any]]:
    """Area and share of each tissue, and what is counted beside."""
    plain = [
        measure(f"{quantity} of {name}", quantity, name, **changes)
        for name in ("Tumor", "Stroma", "Lymphocytes")
        for quantity in ("area", "share")
    ]
    return [
        *plain,
        measure("Tumor-stroma ratio", "ratio", "Tumor", over=["Stroma"], **changes),
        measure("Lymphocytes at tumor", "share", "Lymphocytes", near=["Tumor"], **changes),
    ]


def tissue_student(
    folder: Path,
    outputs: list[dict[str, Any]] | None = None,
    *,
    threshold: float | None = 0.5,
    organs: list[dict[str, str]] | None = None,
    **changes: Any,
) -> Path:
    """The tiny student with these outputs more; `threshold` and `organs` are of its map of
    redness."""
    root = student(folder, **{"status": "research"} | changes)
    model = load(root / "encoder.onnx")
    colors = np.array(list(COLORS.values()), np.float32).T / 255
    model.graph.node.extend(
        [
            helper.make_node("Gemm", ["features", "twice", "lengths"], ["near"]),
            helper.make_node("Softmax", ["near"], ["classes"], axis=1),
        ]
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(2 * _STEEP * colors, "twice"),
            numpy_helper.from_array(-_STEEP * (colors**2).sum(0), "lengths"),
        ]
    )
    model.graph.output.append(
        helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["N", len(COLORS)])
    )
    save(model, root / "encoder.onnx")
    values = json.loads((root / "manifest.json").read_text())
    values["graphs"]["encoder"]["outputs"].append(
        {"name": "classes", "dtype": "float32", "shape": ["N", len(COLORS)]}
    )
    for output in values["outputs"]:
        if output["kind"] == "map":
            output |= {"threshold": threshold, "organs": organs or []}
    more = [tissue_map(), *measures()] if outputs is None else outputs
    values["outputs"] += more
    values["probe"]["tolerance"]["encoder/classes"] = 1e-3
    (root / "manifest.json").write_text(json.dumps(values, indent=1))
    write_probe(root)
    write_sums(root)
    return root


def drawn(rows: list[str]) -> np.ndarray:
    """RGB of a slide: a letter is SIDE x SIDE tiles, glass around."""
    cells = np.array([[COLORS[LETTERS[letter]] for letter in row] for row in rows], np.uint8)
    pixels = cells.repeat(SIDE * TILE_PX, 0).repeat(SIDE * TILE_PX, 1)
    glass = 4 * SIDE * TILE_PX
    white = COLORS["Glass"][0]
    return np.pad(pixels, ((glass, glass), (glass, glass), (0, 0)), constant_values=white)


def slide(
    folder: Path, rows: list[str], organ: str = "", *, study_uid: str | None = None
) -> SlideFiles:
    """The files of a drawn slide, of an organ or of none that is stated."""
    paths = write_slide(
        drawn(rows), folder, mpp=MPP, levels=1, seed=str(folder.name), study_uid=study_uid
    )
    uids = []
    for path in paths:
        ds = dcmread(path)
        [item] = ds.SpecimenDescriptionSequence
        item.pop("PrimaryAnatomicStructureSequence", None)
        if organ:
            item.PrimaryAnatomicStructureSequence = [code(*ORGANS[organ])]
        ds.save_as(path)
        uids.append(str(ds.SOPInstanceUID))
    return SlideFiles(folder.name, tuple(paths), tuple(uids), paths[0])
