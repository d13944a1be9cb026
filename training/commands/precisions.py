"""`dicom-train precisions`: cheaper forms of a bundle's encoder, measured on slides."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.names import FormName
from training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Precisions:
    """Forms of the encoder of a bundle."""

    bundle: str
    calibration: Sequence[Path]
    measure: Sequence[Path]
    precisions: Sequence[FormName] | None


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("bundle", metavar="BUNDLE", help="its folder, which is changed")
    parser.add_argument("--calibration", nargs="+", type=Path, required=True, metavar="SLIDES",
                        help="slides of the training cohort")  # fmt: skip
    parser.add_argument("--measure", nargs="+", type=Path, required=True, metavar="SLIDES",
                        help="other slides: none of those")  # fmt: skip
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "fp16", "int8"])
    parser.set_defaults(arguments=Precisions)


def run(arguments: Precisions) -> int:
    """Adds the forms to the bundle in its folder and prints what they cost."""
    from engines.bundle import MANIFEST_FILE, open_bundle, require_student
    from engines.errors import BundleRejected
    from inference.durable import sweep
    from training.bundle.compilers import ask_compilers
    from training.bundle.precisions import NAMES, add_precisions, table
    from training.bundle.slide_material import slide_material

    folder = Path(arguments.bundle)
    if (folder / MANIFEST_FILE).is_file():
        sweep(folder)  # what a command that was killed left: nothing opens a bundle with it
    try:
        bundle = require_student(open_bundle(arguments.bundle))
    except BundleRejected as error:
        raise TrainingError(str(error)) from error
    material = slide_material(arguments.calibration, arguments.measure, bundle.manifest.input)
    found = add_precisions(bundle.root, material, arguments.precisions or NAMES)
    print(table(found, bundle.manifest.precision_limits), end="")
    print(ask_compilers(bundle.root))
    return 0
