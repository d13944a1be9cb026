"""How the shipped bundle came to be, and `python -m training.default_student.shipped BEFORE OUT`.

Version 0.6.0 has the encoder of 0.5.0, file by file, and none of what 0.5.0 had fitted to simulated
outcomes: no risk, no percentile, no survival. This module made it: it takes the encoder, what was
measured of it and the slides that others are compared with, and writes aggregator, exam, manifest
and card as `python -m training.default_student` does now.

MANIFEST is the digest that the weights were made under: over the code and data of then. The code
that simulated outcomes went since, and what is here has the digest CODE_AND_DATA. A bundle that is
trained anew states its digest by itself.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from engines.bundle import Bundle, open_bundle
from training.bundle.compilers import ask_compilers
from training.bundle.precisions import shipped, table
from training.default_student import data, describe, measure
from training.default_student.__main__ import STEPS, graph
from training.default_student.aggregator import Center
from training.default_student.augment import centered
from training.default_student.slides import Reference
from training.default_student.tiles import FOLDERS, Row
from training.errors import TrainingError
from training.learning.graphs import run, write_manifest, write_probe, write_sums

MANIFEST = "sha256:fdb10ef628765828b8530d34b4574240e22c932f5ad863ee15f3861f096b8bc5"
CODE_AND_DATA = "sha256:a87dfafa788121d0b5bc83298fc6aa9b8b9bb177848509a261da1876954154df"

_OF_OUTCOMES = ("C-index", "r of the teacher's risk", "Spearman of risk")
_BATCH = 16


def without_outcomes(before: Bundle, spots: data.TileSet, out: Path) -> Path:
    """Writes the bundle to the new directory `out`; its path. `spots` are those of patient B."""
    out.mkdir(parents=True)
    encoders = {"encoder.onnx", *(p.file for p in before.manifest.precisions if p.file)}
    for name in sorted(encoders):
        shutil.copyfile(before.file(name), out / name)
    fields = before.probe()["encoder/in/tiles"]
    features = run(out / "encoder.onnx", {"tiles": fields})["features"]
    graph("aggregator", Center(), torch.from_numpy(features), out)
    write_probe(("encoder", "aggregator"), {"tiles": fields}, out)
    rows, calibration = _rows(before), _calibration(out, spots)
    forms = [p.model_copy(update={"score_shift": 0.0}) for p in before.manifest.precisions]
    content = describe.manifest(
        digest=before.manifest.training.digest.removeprefix("sha256:"),
        metrics=rows,
        reference=_reference(before),
        calibration=calibration,
    )
    content["precisions"] = [p.model_dump(mode="json", exclude_none=True) for p in forms]
    content["shipped_precision"] = shipped(forms, before.manifest.precision_limits)
    content["compilers"] = [c.model_dump() for c in before.manifest.compilers if c.file in encoders]
    write_manifest(content, out)
    text = describe.card(rows, _told(before, calibration)).rstrip()
    costs = table(forms, before.manifest.precision_limits)
    (out / "card.md").write_text(f"{text}\n\n{costs}", encoding="utf-8")
    write_sums(out)
    return out


def _rows(before: Bundle) -> list[Row]:
    """What was measured of the encoder; what was measured of risks is left behind."""
    return [
        (row.figure, (row.value, row.low, row.high), row.data)
        for row in before.manifest.performance
        if not row.figure.startswith(_OF_OUTCOMES)
    ]


def _reference(before: Bundle) -> Reference:
    known = before.manifest.out_of_distribution
    if known is None:
        raise TrainingError("found no slides to compare with, expected those of version 0.5.0")
    mean, std = (np.array(values, np.float32) for values in (known.mean, known.std))
    return Reference(mean, std, known.limit)


def _calibration(out: Path, spots: data.TileSet) -> describe.Calibration:
    """Of the encoder in `out`."""
    pixels = centered(spots.images, spots.mpp, data.TILE_PX)
    scores = [
        run(out / "encoder.onnx", {"tiles": pixels[at : at + _BATCH]})["tumor"]
        for at in range(0, len(pixels), _BATCH)
    ]
    found = np.concatenate(scores).astype(float)
    return describe.Calibration(*measure.calibration(spots.tumor.astype(float), found))


def _told(before: Bundle, calibration: describe.Calibration) -> describe.Told:
    """What only the earlier card says: the temperature, and what was read from pixels."""
    text = before.file("card.md").read_text(encoding="utf-8")
    temperature = re.search(r"temperature of\s+([\d.]+\d)", text)
    lines = re.search(r"^\| target \|(?:.*\n\|)+.*$", text, re.MULTILINE)
    if temperature is None or lines is None:
        raise TrainingError("card.md: found no temperature or no table of targets, expected both")
    limit = _reference(before).limit
    return describe.Told(float(temperature[1]), limit, STEPS, 0, lines[0], calibration)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the bundle of the earlier one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="the bundle of version 0.5.0, a directory")
    parser.add_argument("out", type=Path, help="a new directory")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    asked = parser.parse_args(arguments)
    spots = data.spots(asked.data / FOLDERS[1]).part("test")
    print(ask_compilers(without_outcomes(open_bundle(asked.before), spots, asked.out)))


if __name__ == "__main__":
    main()
