"""`dicom-train methods`: every method of `fit`, its task and settings, and the recipe per task."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Methods:
    """What there is to fit."""


def add(parser: argparse.ArgumentParser) -> None:
    """It has no flags."""
    parser.set_defaults(arguments=Methods)


def run(arguments: Methods) -> int:
    """Prints a line per method and one per setting with its default; then the recipe per task."""
    from training.methods.registry import METHODS, RECIPES, SEVERAL

    for name, method in sorted((METHODS | SEVERAL).items()):
        several = " of several cohorts: dicom-train pan" if name in SEVERAL else ""
        print(f"{name} (task {method.task}{several})")
        for key, value in asdict(method.settings).items():
            word = str(value).lower() if isinstance(value, bool) else value
            print(f"  --set {key}={word}")
    for task, name in RECIPES.items():
        print(f"without METHOD, --task {task}: {name}")
    return 0
