"""What the objects of a case are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydicom import Dataset

from dicom_node.results.identity import Provenance
from dicom_node.results.kinds import Selection
from dicom_node.results.making import BuiltObject, Former
from engines.manifest.whole import Manifest
from inference.case.values import CASE, CaseResult
from inference.slide.files import SlideFiles


@dataclass(frozen=True, slots=True)
class OneSlide:
    """A slide of a case, and what is made of it alone."""

    files: SlideFiles
    header: Dataset
    """Of the base image."""
    number: int
    """0-based place of its maps among what has Series Numbers in the study."""
    provenance: Provenance
    """Of its maps."""
    notes: tuple[str, ...] = ()
    """Sentences that the report says beside what it says of the slide."""
    formers: tuple[Former, ...] = ()
    """Its maps that were registered before."""


@dataclass(frozen=True, slots=True)
class CaseMaking:
    """Everything that the report of a case needs, and the maps of its slides."""

    result: CaseResult
    slides: Mapping[str, OneSlide]
    """By key: all that the result speaks of."""
    manifest: Manifest
    provenance: Provenance
    """Of the report."""
    number: int
    """0-based place of the report, as of a slide."""
    predecessor: Dataset | None = None
    """The document that the one being made replaces, by its UIDs."""
    predecessors: Mapping[str, Dataset] = field(default_factory=dict)
    """By kind: it becomes `predecessor` when that kind is made."""
    formers: tuple[Former, ...] = ()
    """Reports of the case that were registered before."""
    cautions: tuple[str, ...] = ()
    """Sentences that the report has to warn of, beside those of the result."""
    notes: tuple[str, ...] = ()
    """Sentences that it says beside."""
    made: tuple[BuiltObject, ...] = ()
    """Maps of its slides."""
    wanted: frozenset[str] | None = None
    """Names of the kinds to be made that are made only where asked for; None: none of them."""
    sets: tuple[Selection, ...] = ()
    """What a set names, for each that is made; without any one set names all that was made."""

    @property
    def files(self) -> SlideFiles:
        """Of all slides together, under the key of the case."""
        return files_of_case([slide.files for slide in self.slides.values()])


def files_of_case(slides: Sequence[SlideFiles]) -> SlideFiles:
    """The files of all slides as those of one thing that has a report."""
    return SlideFiles(
        key=CASE,
        paths=tuple(path for slide in slides for path in slide.paths),
        input_uids=tuple(uid for slide in slides for uid in slide.input_uids),
        base_path=slides[0].base_path,
    )
