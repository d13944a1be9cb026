"""What the report of a case says first: as that of a slide, with a word of every slide.

Slides that were left out come before all else: whoever reads on has to know what the numbers are
not of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from highdicom.sr import TextContentItem
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.modules import plain
from dicom_node.results.sr import analyzed, outcome
from dicom_node.results.sr.counted.tissue import of_tissue
from dicom_node.results.sr.figures import rounded
from dicom_node.results.sr.summary import Said, because, items, of_the_model, slide_of, status_of
from engines.manifest.whole import Manifest
from inference.case.values import CaseResult
from inference.types import NotAssessable, Prediction


@dataclass(frozen=True, slots=True)
class SlideSaid:
    """A slide as the report speaks of it."""

    number: int
    """1-based, by key."""
    key: str
    own: Dataset
    """Header, in Unicode."""
    result: Prediction | NotAssessable

    @property
    def name(self) -> str:
        """Its number, and its container, which people read on the glass."""
        container = plain(str(self.own.get("ContainerIdentifier") or ""), 64)
        return f"slide {self.number}" + (f" (container {container})" if container else "")

    @property
    def short(self) -> str:
        """How a sentence about it begins."""
        return f"Slide {self.number}:"


def case_summary(
    result: CaseResult, slides: Sequence[SlideSaid], manifest: Manifest, cautions: Sequence[str]
) -> list[TextContentItem]:
    """The sentences, as items for the root of the report; `cautions` are those beside the slides'
    own. Raises ValueError for a result that lacks what the manifest promises."""
    said: list[Said] = [(codes.SAID_LEFT_OUT, text) for text in left_out(slides)]
    said.append((codes.SAID_CASE, _case(slides)))
    said += [(codes.SAID_SLIDE, _slide(one)) for one in slides]
    said.append((codes.SAID_STATUS, status_of(manifest)))
    said += _answer(result, slides, manifest, cautions)
    said += of_the_model(manifest)
    return items(said)


def left_out(slides: Sequence[SlideSaid]) -> list[str]:
    """How many slides were left out, which, and why; nothing where none was."""
    out = [
        f"{one.name}: {codes.REASONS[one.result.reason].meaning}"
        for one in slides
        if isinstance(one.result, NotAssessable)
    ]
    if not out:
        return []
    return [f"{len(out)} of {len(slides)} slides of the case left out: {'; '.join(out)}."]


def _case(slides: Sequence[SlideSaid]) -> str:
    used = sum(isinstance(one.result, Prediction) for one in slides)
    return f"Slides of one study, judged together: {used} used, {len(slides) - used} left out."


def _slide(one: SlideSaid) -> str:
    """Which it is, and whether its tiles were in the bag."""
    use = "Used."
    if isinstance(one.result, NotAssessable):
        reason = codes.REASONS[one.result.reason].meaning
        use = f"Left out. {because(reason, one.result.detail)}"
    return f"{one.short} {slide_of(one.own)} {use}"


def _answer(
    result: CaseResult, slides: Sequence[SlideSaid], manifest: Manifest, cautions: Sequence[str]
) -> Iterator[Said]:
    used = [(one, one.result) for one in slides if isinstance(one.result, Prediction)]
    told = [f"{one.short} {text}" for one, slide in used for text in slide.warnings]
    warned = " ".join([*cautions, *told])
    if result.refusal or result.numbers is None:
        reason, detail = result.refusal or (None, "")
        meaning = codes.REASONS[reason].meaning if reason else "No numbers"
        yield (
            codes.SAID_CASE_JUDGED,
            " ".join(filter(None, [f"No. {because(meaning, detail)}", warned])),
        )
        yield codes.SAID_RESULT, "None: no number is given."
        return
    if len(used) < len(slides):
        warned = " ".join(filter(None, ["Not all slides were used.", warned]))
    yield codes.SAID_CASE_JUDGED, f"Yes, with caution. {warned}" if warned else "Yes."
    slides_used = [slide for _, slide in used]
    for text in of_tissue(slides_used, manifest, result.numbers):
        yield codes.SAID_RESULT, text
    for text in outcome.numbers_of(result.numbers, manifest):
        yield codes.SAID_RESULT, text
    for one, slide in used:
        for text in outcome.maps_of(slide, manifest):
            yield codes.SAID_RESULT, f"{one.short} {text}"
    for text in outcome.calibrations_of(manifest):
        yield codes.SAID_RESULT, text
    yield from _account(result.numbers, used, manifest)


def _account(
    together: Prediction, used: Sequence[tuple[SlideSaid, Prediction]], manifest: Manifest
) -> Iterator[Said]:
    """What was analyzed, in all and of each slide, and what of the slides used was not."""
    slides = "1 slide" if len(used) == 1 else f"{len(used)} slides"
    yield (
        codes.SAID_ANALYZED,
        f"In all {rounded(together.tissue_area_mm2)} mm2 of tissue in {together.tiles_analyzed} "
        f"tiles of {slides}.",
    )
    for one, slide in used:
        yield codes.SAID_ANALYZED, " ".join([one.short, *analyzed.analyzed(slide, manifest)])
    for one, slide in used:
        if texts := list(analyzed.left_out_of(slide)):
            yield codes.SAID_LEFT_OUT, " ".join([one.short, *texts])
    for text in analyzed.not_judged(manifest):
        yield codes.SAID_LEFT_OUT, text
