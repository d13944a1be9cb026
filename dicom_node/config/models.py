"""Keys of several students in one node: which one runs on which slide."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from dicom_node.config.fields import AETitle, Section
from dicom_node.config.sections import ModelSection
from inference.specimen.organs import organs

CodeText = Annotated[str, StringConstraints(pattern=r"^[^\s^\\]+\^[^\s^\\]+$")]
"""A code as `value^scheme`, such as `12710003^SCT`."""


def organ_name(text: str) -> str:
    """The name of an organ that is given by its name or a code. Raises ValueError for none."""
    if text in organs():
        return text
    organ = None
    if "^" in text:
        from inference.specimen.codes import coded  # whoever names no code needs no dictionary

        organ = coded(text).organ
    if organ is None:
        raise ValueError(
            f"found {text}, expected the code of an organ (value^scheme) or one of "
            f"{', '.join(organs())}"
        )
    return organ.name


class Rule(Section):
    """Which slides a model is for. A key that is absent asks nothing; all others have to fit."""

    organs: tuple[Annotated[str, AfterValidator(organ_name)], ...] = ()
    """Names (`lung`) or codes (`39607008^SCT`, `T-28000^SRT`, `C34^ICDO3`) of organs; parts of them
    count."""
    stains: tuple[CodeText, ...] = ()
    """Codes of stains. Every stain of the slide has to be among them, and one has to be stated."""
    specimens: tuple[CodeText, ...] = ()
    """Codes of specimen types. The slide has to state one of them."""
    senders: tuple[AETitle, ...] = ()
    """Calling AE titles."""
    body_parts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=16)], ...] = ()
    """Values of Body Part Examined."""
    study_description: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Words that all have to stand in the study's description; or, between two slashes, a regular
    expression that has to fit a part of it. Capitals do not count. A last resort."""

    @field_validator("study_description")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        if value is not None and (pattern := pattern_in(value)) is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"no regular expression: {error}") from error
        return value

    @property
    def asks_nothing(self) -> bool:
        """Whether every slide fits."""
        return self == Rule()


def pattern_in(text: str) -> str | None:
    """The regular expression between slashes; None for words."""
    is_pattern = len(text) > 2 and text.startswith("/") and text.endswith("/")
    return text[1:-1] if is_pattern else None


class ModelEntry(ModelSection):
    """A student among several, and the slides that it is for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    """What log and commands call it; 1 to 32 characters."""
    priority: int = 0
    """Models are asked from the highest to the lowest, then in the order of the file."""
    when: Literal["all", "first"] = "all"
    """`first`: not where a model asked before it runs on the slide; silent ones do not count."""
    silent: bool = False
    """Whether it runs without telling anybody: nothing goes to a PACS."""
    override: bool = False
    """Whether the rule counts in the place of what the bundle says of organs, stains and specimens.
    Without it a rule can only narrow that."""
    rule: Rule = Rule()
    """`[models.rule]` below the model; without it, all slides that the bundle is made for."""
