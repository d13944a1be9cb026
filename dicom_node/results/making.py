"""What the objects of one slide are made from, and one object that was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydicom import Dataset

from dicom_node.results.identity import Provenance, ResultNames
from dicom_node.results.kinds import LEVEL, REPORT, Kind, Selection, kind_of
from dicom_node.sop_classes import SEGMENTATION
from engines.manifest.whole import Manifest
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

_FIRST_SERIES_NUMBER, _NEAR_SLIDES = 9001, 1100
_FIRST_ASKED_SERIES_NUMBER, _NEAR_ASKED_SLIDES = 20001, 299
_FIRST_FAR_SERIES_NUMBER = 1_000_001
_NEAR, _NEAR_PLACES = 10, 10
_FAR, _FAR_PLACES = 500, 20
"""Objects of a kind that have a number of their own, near its slide's and far away, and kinds."""


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """One result object and what it is."""

    kind: str
    slide: str
    dataset: Dataset
    dated_at: datetime | None = None
    """The instant that its dates tell; None before it is settled."""
    is_sound: bool = False
    """Whether it has passed the check of what may be sent, with what is known of its slide."""
    file: bytes = field(default=b"", repr=False)
    """As it is written; empty before it is settled. From then on nobody changes `dataset`."""


@dataclass(frozen=True, slots=True)
class Former:
    """What was registered last of an object: to be sent again where it comes out the same."""

    kind: str
    sop_instance_uid: str
    dated_at: datetime
    predecessor: Dataset | None = None
    """The document that it replaced."""


@dataclass(frozen=True, slots=True)
class Making:
    """Everything that any kind of object needs of its slide."""

    source: Dataset
    """Header of the base image."""
    result: Prediction | NotAssessable
    manifest: Manifest | None
    """None where no model ran: such a result is no prediction."""
    provenance: Provenance
    slide: SlideFiles
    number: int
    """0-based place of the slide in its study."""
    predecessor: Dataset | None = None
    """The document that the one being made replaces, by its UIDs."""
    predecessors: Mapping[str, Dataset] = field(default_factory=dict)
    """By kind: it becomes `predecessor` when that kind is made."""
    formers: tuple[Former, ...] = ()
    """Objects of the slide that were registered before, the last of each."""
    read: tuple[Dataset, ...] = ()
    """References to every instance that was read; the base image is one of them."""
    notes: tuple[str, ...] = ()
    """Sentences that the report says beside what it says of itself."""
    made: tuple[BuiltObject, ...] = ()
    """Objects of the same slide that were made before."""
    wanted: frozenset[str] | None = None
    """Names of the kinds to be made that are made only where asked for; None: none of them."""
    sets: tuple[Selection, ...] = ()
    """What a set names, for each that is made; without any one set names all that was made."""
    parts: tuple[Making, ...] = ()
    """Of a case: each of its slides; `source` is then the header of the first one used."""

    @property
    def of_one(self) -> Dataset | None:
        """Header of the one slide that an object is of; None of a case."""
        return None if self.parts else self.source

    @property
    def series_number(self) -> int:
        """Series Number of the report; that of each other object follows it."""
        return series_number_of(self.number)

    def usual_series_number(self, nth: int) -> int:
        """Series Number of the `nth` object, from 1, that is made unasked beside the report."""
        return series_number_of(self.number, nth)

    def asked_series_number(self, kind: Kind, nth: int = 0) -> int:
        """Series Number of the `nth` object, from 0, of a kind that is made where asked for."""
        is_near = nth < _NEAR and kind.place < _NEAR_PLACES and self.number < _NEAR_ASKED_SLIDES
        if is_near:
            return _FIRST_ASKED_SERIES_NUMBER + 100 * self.number + 10 * kind.place + nth
        return _far(self.number, 1 + kind.place, nth)

    @property
    def report(self) -> Dataset:
        """The report of the slide, made before; raises ValueError where it was not."""
        for built in self.made:
            if built.kind == REPORT.name:
                return built.dataset
        raise ValueError(f"found {[b.kind for b in self.made]}, expected the report among them")

    @property
    def heatmaps(self) -> tuple[Dataset, ...]:
        """The FRACTIONAL Segmentations of the slide, made before, each once: on the tiles' grid."""
        made = [
            b.dataset
            for b in self.made
            if b.dataset.SOPClassUID == SEGMENTATION.uid and kind_of(b.kind) != LEVEL
        ]
        return tuple(seg for seg in made if seg.SegmentationType == "FRACTIONAL")

    def names_after(self, origin: Dataset, kind: str) -> ResultNames:
        """UIDs of an object that is made of another result, `origin`: as lasting as that one's."""
        uids = (*self.slide.input_uids, str(origin.SOPInstanceUID))
        return ResultNames.of(str(self.source.StudyInstanceUID), uids, self.provenance, kind)

    def after(self, more: list[BuiltObject]) -> Making:
        """The same, with objects that were made meanwhile."""
        return replace(self, made=(*self.made, *more))


def series_number_of(number: int, nth: int = 0) -> int:
    """Series Number of the `number`-th thing of a study (0-based) that has a report: of the report,
    or of the `nth` object beside it."""
    if nth < _NEAR and number < _NEAR_SLIDES:
        return _FIRST_SERIES_NUMBER + 10 * number + nth
    return _far(number, 0, nth)


def _far(number: int, place: int, nth: int) -> int:
    """A number that no other object has, for what finds no room among the near ones."""
    if not (0 <= nth < _FAR and 0 <= place < _FAR_PLACES):
        raise ValueError(
            f"found object {nth} of kind {place} of one slide, expected fewer than {_FAR} of each "
            f"of {_FAR_PLACES} kinds: no Series Number is left"
        )
    return _FIRST_FAR_SERIES_NUMBER + _FAR * (_FAR_PLACES * number + place) + nth
