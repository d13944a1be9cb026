"""What was counted when a study was closed, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class LevelEvidence:
    """One image of a slide: a single instance, or all received parts of a concatenation."""

    sop_instance_uids: tuple[str, ...]
    flavor: str
    rows: int
    cols: int
    organization: str
    frames: int
    expected_frames: int | None
    """None where the object does not say: TILED_SPARSE may leave tiles out."""
    parts: int
    expected_parts: int | None
    missing: tuple[str, ...]
    """What a level of the slide lacks."""
    noted: tuple[str, ...] = ()
    """What a label or the like lacks: it is told, and holds nothing back."""

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(**_values(cls, kept))


@dataclass(frozen=True, slots=True)
class SlideEvidence:
    """The instances of one slide: one container in one series."""

    key: str
    """Names the slide in every revision of its study."""
    series_instance_uid: str
    container_identifier: str
    levels: tuple[LevelEvidence, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What this slide lacks, one sentence each; empty when it is complete."""
        return tuple(sentence for level in self.levels for sentence in level.missing)

    @property
    def noted(self) -> tuple[str, ...]:
        """What its label and the like lack."""
        return tuple(sentence for level in self.levels for sentence in level.noted)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """From JSON."""
        levels = tuple(LevelEvidence.read(level) for level in kept["levels"])
        return cls(**{**_values(cls, kept), "levels": levels})


@dataclass(frozen=True, slots=True)
class Evidence:
    """A study as it was counted. What an earlier version did not write has its default."""

    instances: int
    bytes: int = 0
    quiet_s: float = 0.0
    """Since the last byte."""
    slides: tuple[SlideEvidence, ...] = ()
    missing: tuple[str, ...] = ()
    """Sentences, a few of many."""
    patients_differ: tuple[str, ...] = ()
    """Keywords of the attributes in which the slides of the study name two patients."""

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """From JSON, of this version or another; what is unknown here is left out."""
        slides = tuple(SlideEvidence.read(slide) for slide in kept.get("slides", ()))
        return cls(**{**_values(cls, kept), "slides": slides})

    def written(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def _values(cls: type[Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    known = (f.name for f in fields(cls))
    return {n: _frozen(kept[n]) for n in known if n in kept}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
