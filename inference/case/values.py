"""What is said of a case: the frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from inference.types import NotAssessable, Prediction, Reason

CASE = "case"
"""In the place of a slide's key: of what is done, and reported, of all slides together. Keys of
slides are hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class CaseSlide:
    """What a case says of one of its slides."""

    key: str
    result: Prediction | NotAssessable
    """Of a slide whose tiles were in the bag: its tissue and its maps, without a number of the
    model. Else why it was left out."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What the student says of a case, or why it must not say anything."""

    slides: tuple[CaseSlide, ...]
    """All slides of the study, by their keys: the order of their tiles in the bag."""
    refusal: tuple[Reason, str] | None = None
    """Why there is no prediction; None where there is one."""
    numbers: Prediction | None = None
    """What is said of all slides used together, in the form of a slide: its tissue and tiles are
    theirs, its place on the glass is none of it. None where there is a refusal."""

    @property
    def scores(self) -> dict[str, float]:
        """By output name of the manifest; none where there is a refusal."""
        return self.numbers.scores if self.numbers else {}

    @property
    def used(self) -> tuple[tuple[str, Prediction], ...]:
        """Slides whose tiles were in the bag, by key."""
        return tuple((s.key, s.result) for s in self.slides if isinstance(s.result, Prediction))

    @property
    def left_out(self) -> tuple[tuple[str, NotAssessable], ...]:
        """Slides that were left out, by key."""
        return tuple((s.key, s.result) for s in self.slides if isinstance(s.result, NotAssessable))

    @property
    def is_preliminary(self) -> bool:
        """Whether another report is to follow: a slide waits for its files."""
        return any(result.reason is Reason.INCOMPLETE for _, result in self.left_out)
