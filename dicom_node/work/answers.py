"""What the steps of the main job answer, as values; JSON only where DBOS records them.

The recorded form has a `kind`. A workflow that is recovered reads it back, maybe in a later
version: whoever changes a kind or its fields changes `WORKFLOW_VERSION` too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Recorded: TypeAlias = dict[str, Any]
"""An answer as plain JSON, the only thing that DBOS gets to see."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The study is being analyzed, and these are its slides."""

    slides: tuple[str, ...]
    """What to analyze: keys of slides, each with the name of a model behind it where there are
    several."""


@dataclass(frozen=True, slots=True)
class Analyzed:
    """The result of one slide is on disk."""

    result: str
    """Name of its type: a prediction, or why there is none."""
    trouble: str = ""
    """What an operator must see to, where that is why there is no prediction."""


@dataclass(frozen=True, slots=True)
class Built:
    """The objects of all slides are on disk, and their deliveries are due."""

    objects: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The step could not do its work."""

    reason: str
    """Our own sentence, or a class and a place."""
    may_pass: bool
    """Whether another attempt could come to a better end."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Disk or database could not be written: no fault of the study, so the attempt counts not."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stale:
    """Another attempt, or another revision, has taken over: nothing to do, nothing to report."""


Answer: TypeAlias = Opened | Analyzed | Built | Failed | NoRoom | Stale


class UnknownAnswer(Exception):
    """What is recorded as the answer of a step is none of this version."""


def to_json(answer: Answer) -> Recorded:
    """The form of an answer that is recorded."""
    match answer:
        case Opened(slides):
            return {"kind": "opened", "slides": list(slides)}
        case Analyzed(result, trouble):
            return {"kind": "analyzed", "result": result, "trouble": trouble}
        case Built(objects):
            return {"kind": "built", "objects": objects}
        case Failed(reason, may_pass):
            return {"kind": "failed", "reason": reason, "may_pass": may_pass}
        case NoRoom(reason):
            return {"kind": "no_room", "reason": reason}
        case Stale():
            return {"kind": "stale"}


def from_json(recorded: object) -> Answer:
    """The answer of a recorded form. Raises UnknownAnswer where this version never wrote it so."""
    match recorded:
        case {"kind": "opened", "slides": [*keys]} if all(isinstance(key, str) for key in keys):
            return Opened(tuple(keys))
        case {"kind": "analyzed", "result": str(result), "trouble": str(trouble)}:
            return Analyzed(result, trouble)
        case {"kind": "built", "objects": int(objects)}:
            return Built(objects)
        case {"kind": "failed", "reason": str(reason), "may_pass": bool(may_pass)}:
            return Failed(reason, may_pass)
        case {"kind": "no_room", "reason": str(reason)}:
            return NoRoom(reason)
        case {"kind": "stale"}:
            return Stale()
        case {"kind": str(kind)}:
            found = f"the kind {kind!r} with other fields or a kind nobody knows"
        case _:
            found = "something without a kind"
    raise UnknownAnswer(
        f"a step's recorded answer is {found}, expected an answer of this version; "
        "the study has to be begun anew"
    )
