"""Students for several organs, and studies whose slides are of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundles import manifest, write_bundle, write_sums
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
