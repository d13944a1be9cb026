"""What the shipped bundle says of itself is what its exporter writes, word for word.

The numbers are taken from the manifest; tests/engines/test_default_bundle.py measures them again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the training extra")

from engines.bundle import SHIPPED, open_bundle  # noqa: E402
from engines.runtime import open_runtime  # noqa: E402
from training.default_student.bundle import card, manifest  # noqa: E402
from training.default_student.bundle.held import Figure  # noqa: E402
from training.default_student.bundle.simulate import Reference  # noqa: E402
from training.default_student.tissue.densenet import CLASSES  # noqa: E402

ROOT = SHIPPED / "default"
WORDS = Path(card.__file__).with_name("card.md")
MEASURED_LATER = {"precisions", "shipped_precision", "compilers"}
"""What is added to the manifest of the exporter by others."""


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def written(shipped: dict[str, Any]) -> dict[str, Any]:
    """By the exporter of now, of the numbers that are shipped."""
    tumor = shipped["outputs"][0]["uncertainty"]
    shares = {
        name: output["uncertainty"]["half_width"] / 100
        for output in shipped["outputs"]
        if output["kind"] == "measure"
        and (name := output["code"]["value"].removeprefix("SHARE-")) in CLASSES
    }
    seen = shipped["out_of_distribution"]
    return manifest.manifest(
        digest=shipped["training"]["digest"].removeprefix("sha256:"),
        figures=[Figure(**row) for row in shipped["performance"]],
        limits=shipped["limits"],
        calibration=(tumor["slope"], tumor["intercept"]),
        spots=tumor["count"],
        errors=shares,
        reference=Reference(
            np.array(seen["mean"], np.float32), np.array(seen["std"], np.float32), seen["limit"]
        ),
    )


def test_the_shipped_manifest_is_what_the_exporter_writes(
    shipped: dict[str, Any], written: dict[str, Any]
) -> None:
    assert set(shipped) == set(written) | MEASURED_LATER
    for key, said in json.loads(json.dumps(written)).items():
        assert shipped[key] == said, key


def test_the_shipped_card_is_the_words_of_the_exporter_around_numbers() -> None:
    text = (ROOT / "card.md").read_text(encoding="utf-8")
    own, later, _ = text.partition("\n\n## What a cheaper precision costs\n")
    assert later
    words = re.split(r"\{(\w+)(?::[^}]*)?\}", WORDS.read_text(encoding="utf-8").rstrip())
    pattern, seen = "", set()
    for place, part in enumerate(words):
        if place % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>.*?)"
            seen.add(part)
    found = re.fullmatch(pattern, own, re.DOTALL)
    assert found is not None
    assert found["version"] == manifest.VERSION
    assert all(len(value.strip()) for value in found.groupdict().values())


def test_the_limits_it_states_are_those_of_its_graph_on_the_colon_tiles(
    shipped: dict[str, Any], shared: Path
) -> None:
    files = sorted((shared / "data" / "tiles_crc_val_he_7k_32").glob("*.png"))
    tiles = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    with open_runtime(open_bundle("default"), engine="onnxruntime", precision="fp32") as runtime:
        said = runtime.run("encoder", {"tiles": tiles})["classes"]
    role = card.OfRole([], [Figure(**row) for row in shipped["performance"]], said)
    told = card.Told(
        ships="student",
        roles={"student": role},
        teacher=role,
        truth=np.array([CLASSES.index(file.name.split("-")[0]) for file in files]),
        temperatures=(1.0, 1.0),
        calibration=(1.0, 0.0),
        spots=0,
        errors={},
        limit=0.0,
        flagged=0.0,
        log={},
    )
    assert shipped["limits"] == card.limits(told)
