"""The student that is exported: a finished unit, its run, and how good the students of it are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.manifest.values import Code
from training.bundle.classes import output as classes
from training.bundle.classes.figures import ClassFigures
from training.bundle.figures.measured import Scored
from training.bundle.figures.subgroups import Part
from training.bundle.figures.use import Use
from training.learning.deployed import COARSE_FEATURES
from training.runs.sites import Sites


@dataclass(frozen=True)
class Student:
    """A finished unit and the run it belongs to."""

    run: dict[str, Any]
    unit: dict[str, Any]
    graph: Path
    risk_or_probability: Mapping[str, np.ndarray]
    """Score tensor -> what the graph says of the outer fold, patients it had never seen."""
    use: Use
    """By which unit it is asked, and how good it is so."""
    attention_is_even: bool
    """Whether it weighs all tiles alike, so that its map shows nothing."""
    sites: Sites
    """Whether the folds of its run share hospitals."""
    beside: Scored | None = None
    """What the same students score on the other kind of folds."""
    parts: tuple[Part, ...] = ()
    """Of the cohort, with the figure in each."""
    of_classes: ClassFigures | None = None
    """Where it names classes."""
    floor: float = classes.FLOOR
    """From which probability on a class is named."""
    codes: Mapping[str, Code] = field(default_factory=dict)
    """Of classes, by name, where others are asked for."""

    @property
    def figures(self) -> list[Scored]:
        """By kind of folds, each of patients that the student scored had not seen."""
        own = Scored(self.run["kind"], self.use.figure, self.use.measured, self.sites)
        return [own] if self.beside is None else [own, self.beside]

    @property
    def folds(self) -> str:
        """The folds of its run that its figures are of, as a report names them."""
        return f"outer {self.run['kind']} folds{self.use.measured.of_folds}"

    @property
    def reference(self) -> dict[str, Any]:
        """Where the training slides lie, or the training patients where it is shown all of them; a
        run of before knows the patients alone."""
        found: dict[str, Any] = self.unit["reference"]
        if self.use.unit == "slide":
            found = self.unit.get("reference_of_slides", found)
        return found

    @property
    def inputs(self) -> tuple[str, ...]:
        """What its graph takes; a unit of before did not say, and took one magnification."""
        return tuple(self.unit.get("student_inputs", ("features",)))

    @property
    def coarse_mpp(self) -> float | None:
        """Micrometers per pixel of its second magnification; None where it takes one."""
        if COARSE_FEATURES not in self.inputs:
            return None
        (made,) = self.run["second_features"]  # a cohort has one second magnification
        return float(made["mpp"])

    @property
    def is_of_everybody(self) -> bool:
        """Whether it was fitted on all patients, with the figures of the students of the folds."""
        return bool(self.unit["fold"] == "all")

    @property
    def survival(self) -> bool:
        """Whether the student predicts survival."""
        return "risk" in self.unit["student_outputs"]
