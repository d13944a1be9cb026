"""Students for several organs, and studies whose slides are of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from bundles import encoder as tiny_encoder
from bundles import manifest, write_bundle, write_probe, write_sums
from onnx import helper, numpy_helper, save
from pydicom import dcmread
from specimen_cases import BREAST, LUNG
from specimens import Triplet, code

from dicom_node.demo.wsm import write_slide
from engines.bundle import open_bundle
from engines.manifest.reading import manifest_of
from inference.phantom.draw import draw

COLON: Triplet = ("71854001", "SCT", "Colon")
LIVER: Triplet = ("10200004", "SCT", "Liver")
ORGANS: dict[str, Triplet] = {"lung": LUNG, "breast": BREAST, "colon": COLON, "liver": LIVER}
MPP = 0.5


def student(folder: Path, *organs: str, **changes: Any) -> Path:
    """A tiny student, a fixture, that is made for these organs; with other changes of its
    manifest's top level."""
    root = write_bundle(folder)
    values = manifest()
    values["name"] = f"tiny-{folder.name}"
    # Its curve is green, then blue: the colors of a drawn slide would let it rise.
    values["outputs"] = [o for o in values["outputs"] if o["kind"] != "survival"]
    values["applicability"]["organs"] = [
        {"value": value, "scheme": scheme, "meaning": meaning}
        for value, scheme, meaning in (ORGANS[organ] for organ in organs)
    ]
    whole = manifest_of(values).model_dump(mode="json") | {"status": "fixture"} | changes
    (root / "manifest.json").write_text(json.dumps(whole, indent=1))
    write_sums(root)
    return root


def digest(folder: Path) -> str:
    """Of a bundle."""
    return open_bundle(folder).digest


def model(name: str, bundle: Path, *, rule: str = "", **keys: object) -> str:
    """A block of the configuration that allows a fixture."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(
        ["[[models]]", f'name = "{name}"', f'bundle = "{bundle}"', "allow_fixture = true", *lines]
        + (["[models.rule]", rule] if rule else [])
    ) + "\n"  # fmt: skip


def study(folder: Path, organs: Mapping[str, str]) -> Path:
    """A study of drawn slides: container -> organ, or nothing."""
    uid = ""
    for number, (container, organ) in enumerate(organs.items()):
        pixels = draw(3 + number, rows=1024, cols=1024).pixels
        seed = f"several: {container} of {folder.name}"
        paths = write_slide(
            pixels, folder / container, mpp=MPP, levels=2, seed=seed, study_uid=uid or None
        )
        for path in paths:
            ds = dcmread(path)
            uid = str(ds.StudyInstanceUID)
            ds.ContainerIdentifier = container
            if organ:
                item = ds.SpecimenDescriptionSequence[0]
                item.PrimaryAnatomicStructureSequence = [code(*ORGANS[organ])]
            elif "PrimaryAnatomicStructureSequence" in ds.SpecimenDescriptionSequence[0]:
                del ds.SpecimenDescriptionSequence[0].PrimaryAnatomicStructureSequence
            ds.save_as(path)
    return folder


def of_method(folder: Path, label: str, *organs: str) -> Path:
    """The exported, untrained graph of a method, as a fixture that is made for these organs."""
    from student_networks import write  # which needs torch

    root = student(folder, *organs)
    write(label, root).rename(root / "aggregator.onnx")
    save(
        helper.make_model(
            _wide_encoder(), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
        ),
        root / "encoder.onnx",
    )
    values = json.loads((root / "manifest.json").read_text())
    encoder, aggregator = values["graphs"]["encoder"], values["graphs"]["aggregator"]
    wide = {"name": "features", "dtype": "float32", "shape": ["N", _WIDTH]}
    encoder["outputs"] = [wide, *(t for t in encoder["outputs"] if t["name"] != "features")]
    aggregator["inputs"] = [wide]
    aggregator["outputs"] = _outputs(root / "aggregator.onnx")
    scalars = [o["name"] for o in aggregator["outputs"] if o["shape"] == [1]]
    values["title"] = label
    for output in values["outputs"]:
        if output["kind"] == "score":
            output |= {"name": scalars[-1], "tensor": scalars[-1], "percentiles": None}
    values["probe"]["tolerance"] = {
        f"{graph}/{tensor['name']}": 1e-3
        for graph in ("encoder", "aggregator")
        for tensor in values["graphs"][graph]["outputs"]
    }
    (root / "manifest.json").write_text(json.dumps(values, indent=1))
    write_probe(root)
    write_sums(root)
    return root


def _outputs(path: Path) -> list[dict[str, Any]]:
    """Tensors of a graph as it answers two bags: what differs counts the tiles."""
    session = onnxruntime.InferenceSession(path)
    names = [o.name for o in session.get_outputs()]
    bags = (np.ones((n, _WIDTH), np.float32) for n in (5, 7))
    five, seven = (session.run(names, {"features": bag}) for bag in bags)
    return [
        {
            "name": name,
            "dtype": str(one.dtype),
            "shape": [n if n == m else "N" for n, m in zip(one.shape, other.shape, strict=True)],
        }
        for name, one, other in zip(names, five, seven, strict=True)
    ]


def _wide_encoder() -> Any:
    """The encoder of the tiny student; its features are as many as the exported graphs take."""
    graph = tiny_encoder()
    kept = [node for node in graph.node if node.output[0] != "features"]
    div = next(node for node in graph.node if node.output[0] == "features")
    del graph.node[:]
    div.output[0] = "three"
    wide = helper.make_node("Gather", ["three", "places"], ["features"], axis=1)
    for node in kept:
        if list(node.input) == ["features", "zero"]:
            node.input[0] = "three"
    graph.node.extend([*kept[:-1], div, wide, kept[-1]])
    places = np.arange(_WIDTH, dtype=np.int64) % 3
    graph.initializer.append(numpy_helper.from_array(places, "places"))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = _WIDTH
    return graph


_WIDTH = 8
