"""What a bundle claims beside its graphs: where it may be used, how good it is, who vouches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.manifest.values import Code, Strict


class Finding(Strict):
    """The finding that the slide-level scores describe, and the cohort they were fitted on."""

    code: Code
    reference_cohort: str


class Applicability(Strict):
    """Where the student may be used. An empty list means: this is not checked."""

    minimum_tissue_mm2: Annotated[float, Field(ge=0)]
    minimum_tiles: Annotated[int, Field(ge=1)] = 1
    stains: tuple[Code, ...] = ()
    organs: tuple[Code, ...] = ()
    """Primary anatomic structures (PS3.16 CID 8134, or an organ of SNOMED CT)."""
    specimens: tuple[Code, ...] = ()
    """Specimen types, as of PS3.16 CID 8103."""


_SHARES = ("C-index", "AUC", "accuracy", "balanced accuracy")
"""Figures that lie between 0 and 1."""


class Performance(Strict):
    """One measured figure with its interval: what a report may say of how good the student is."""

    figure: str
    """Its name as the field writes it: C-index, AUC, accuracy, ..."""
    value: float
    low: float
    high: float
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the interval."""
    data: str
    subgroup: str = ""
    """Empty: everybody. Else who, as "women" or "stage III"."""
    count: Annotated[int, Field(ge=1)] | None = None
    """Patients, slides or tiles, as `data` says; None where nobody counted."""

    @model_validator(mode="after")
    def _interval_holds_the_value(self) -> Performance:
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"performance {self.figure}: found {self.value:g} outside of its own interval "
                f"{self.low:g} to {self.high:g}"
            )
        if self.figure in _SHARES and not (self.low >= 0 and self.high <= 1):
            raise ValueError(
                f"performance {self.figure}: found {self.low:g} to {self.high:g}, expected "
                "numbers from 0 to 1"
            )
        return self


class Training(Strict):
    """Where the weights come from."""

    digest: str
    data: tuple[str, ...]
    simulated: str
    """What of the data was simulated, in a sentence; empty where nothing was."""


class Compiler(Strict):
    """A compiler of engines that was given a graph of this bundle and took it."""

    library: str
    version: str
    capability: str
    """Of the GPU it compiled for, as "8.9"."""
    file: str
    """The graph."""


class Signature(Strict):
    """Who signed SHA256SUMS: a detached CMS signature beside it, `SHA256SUMS.p7s`."""

    certificate_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    kind: Literal["cms"] = "cms"
