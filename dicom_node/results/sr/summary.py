"""What a report says first, from top to bottom, in sentences under names of their own.

Which slide, what it may be used for, could it be assessed, the result, what was analyzed and what
was left out, the limits of the model and how good it was where it was measured. A reader who stops
there has read what matters; the measurement groups hold the same numbers for machines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from highdicom.sr import CodedConcept, RelationshipTypeValues, TextContentItem
from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.carried.specimens import identifier_of
from dicom_node.results.modules import plain
from dicom_node.results.sr import analyzed, outcome
from engines.manifest.claims import Performance
from engines.manifest.whole import Manifest
from inference.types import NotAssessable, Prediction

_MOST_FIGURES = 12
Said = tuple[Code, str]


def summary(
    source: Dataset, result: Prediction | NotAssessable, manifest: Manifest | None
) -> list[TextContentItem]:
    """The sentences, as items for the root of the report; `source` is `in_unicode`.

    Raises ValueError for a prediction that lacks what the manifest promises.
    """
    said: list[Said] = [(codes.SAID_SLIDE, slide_of(source))]
    if manifest is not None:
        said.append((codes.SAID_STATUS, status_of(manifest)))
    if isinstance(result, NotAssessable):
        said += _refusal(result)
    elif manifest is not None:
        said += _prediction(result, manifest)
    if manifest is not None:
        said += of_the_model(manifest)
    return items(said)


def items(said: Iterable[Said]) -> list[TextContentItem]:
    """The sentences as items for the root of a report."""
    return [
        TextContentItem(
            name=CodedConcept.from_code(name),
            value=plain(text),
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        for name, text in said
    ]


def slide_of(source: Dataset) -> str:
    """Container and specimens; the patient stands in the header of the report."""
    container = source.get("ContainerIdentifier")
    specimens = [identifier_of(s) for s in source.get("SpecimenDescriptionSequence") or ()]
    parts = [f"Container {container}" if container else "A slide that names no container"]
    if specimens:
        parts.append(f"specimen {', '.join(specimens)}")
    return "; ".join(parts) + "."


def because(reason: str, detail: str) -> str:
    """Why there is no result: the reason and what was found, or the latter alone where its first
    sentence has every word of the reason."""
    first = detail.partition(". ")[0]
    is_said = set(_words(reason)) <= set(_words(first))
    return detail if is_said else f"{reason}: {detail}"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def status_of(manifest: Manifest) -> str:
    """What the model may be used for."""
    marks = {
        "research": "RESEARCH ONLY. ",
        "fixture": "A FIXTURE OF A TEST: its numbers mean nothing. ",
        "product": "",
    }
    return f"{marks[manifest.status]}{manifest.intended_use}"


def _refusal(result: NotAssessable) -> Iterator[Said]:
    reason = codes.REASONS[result.reason].meaning
    yield codes.SAID_ASSESSABLE, f"No. {because(reason, result.detail)}"
    yield codes.SAID_RESULT, "None: no number is given."
    left_out = " ".join(analyzed.levels_left_out(result.levels))
    if left_out:
        yield codes.SAID_LEFT_OUT, left_out


def _prediction(result: Prediction, manifest: Manifest) -> Iterator[Said]:
    cautions = " ".join(result.warnings)
    assessable = f"Yes, with caution. {cautions}" if cautions else "Yes."
    yield codes.SAID_ASSESSABLE, assessable
    for text in outcome.results_of(result, manifest):
        yield codes.SAID_RESULT, text
    yield codes.SAID_ANALYZED, " ".join(analyzed.analyzed(result, manifest))
    left_out = " ".join(analyzed.left_out(result, manifest))
    if left_out:
        yield codes.SAID_LEFT_OUT, left_out


def of_the_model(manifest: Manifest) -> Iterator[Said]:
    """Its limits, and how good it was where it was measured."""
    for limit in manifest.limits:
        yield codes.SAID_LIMIT, limit
    for row in manifest.performance[:_MOST_FIGURES]:
        yield codes.SAID_PERFORMANCE, _figure(row)
    more = len(manifest.performance) - _MOST_FIGURES
    if more > 0:
        yield codes.SAID_PERFORMANCE, f"{more} more figures stand on the card of the model."
    if not manifest.performance:
        yield codes.SAID_PERFORMANCE, "Not known: the model states none."


def _figure(row: Performance) -> str:
    """A measured figure with its interval, of whom and how many."""
    who = f", {row.subgroup}" if row.subgroup else ""
    count = f", n = {row.count}" if row.count else ""
    return (
        f"{row.figure} {row.value:.3f} ({100 * row.level:g} % interval {row.low:.3f} to "
        f"{row.high:.3f}){who}{count}: {row.data}."
    )
