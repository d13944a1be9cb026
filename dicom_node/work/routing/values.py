"""What is asked and answered of a slide and its models."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.config.models import ModelEntry
from engines.manifest.claims import Applicability
from inference.specimen.codes import Coded
from inference.specimen.deciding import Decision


@dataclass(frozen=True, slots=True)
class Student:
    """A model of the configuration and what its bundle says that it is made for."""

    entry: ModelEntry
    applicability: Applicability
    is_fixture: bool = False
    bundle_digest: str = ""
    """Of two that have the same bundle, one runs on a slide; silent ones apart."""
    is_of_cases: bool = False
    """Whether it predicts for all slides of a study together."""


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What decides which models run on a slide."""

    organ: Decision
    stains: tuple[Coded, ...]
    types: tuple[Coded, ...]
    """Specimen types."""
    sender: str | None
    """Calling AE title; None where nobody sent it."""
    body_part: str
    study_description: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a model does not run: an attribute, what it has, what it needs. For anybody to read."""

    attribute: str
    found: str
    needed: str

    @property
    def sentence(self) -> str:
        """As a part of a sentence."""
        return f"{self.attribute}: found {self.found}, needed {self.needed}"


@dataclass(frozen=True, slots=True)
class Taken:
    """A model that runs on the slide."""

    name: str
    silent: bool
    cautions: tuple[str, ...]
    """Sentences that its report has to warn of."""
    notes: tuple[str, ...]
    """Sentences that its report has to say beside."""
    warnings: tuple[str, ...]
    """Sentences that the analysis warns of by itself."""
    is_of_cases: bool = False
    """Whether the slide is one of all those of its study that have one report."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.cautions, *self.notes, *self.warnings)


@dataclass(frozen=True, slots=True)
class Passed:
    """A model that does not run on the slide."""

    name: str
    why: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The models that run on a slide, in their order, and those that do not."""

    taken: tuple[Taken, ...]
    passed: tuple[Passed, ...]
    sentence: str
    organ: str = ""
    """Its name; empty where it is undecided, or where nothing was asked."""
    said: str = ""
    """Of the organ, and why."""

    def of(self, name: str) -> Taken | None:
        """A model that runs, by its name."""
        return next((taken for taken in self.taken if taken.name == name), None)

    def why_not(self, name: str) -> tuple[Mismatch, ...]:
        """Why a model does not run, by its name; nothing of one that does."""
        return next((passed.why for passed in self.passed if passed.name == name), ())
