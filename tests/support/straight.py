"""Files straight through the parts of the node, in one process: as `analyze` goes, without pages.

What it lets pass is what an operator would have seen as a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset, dcmread

from dicom_node import __version__
from dicom_node.commands.studies_of_files import Unusable, find_studies
from dicom_node.results.build import objects_of
from dicom_node.results.identity import Provenance
from dicom_node.results.making import Making
from dicom_node.study.evidence import PatientsDiffer, gather_evidence, slides_of
from dicom_node.study.facts import Uncountable, read_facts
from engines.runtime import Runtime
from inference.errors import SlideUnreadable
from inference.predict import predict
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

_MADE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class CameOut:
    """What became of some files."""

    troubles: list[str] = field(default_factory=list)
    """Sentences for the operator: what could not be analyzed, and why."""
    results: list[Prediction | NotAssessable] = field(default_factory=list)
    objects: list[Dataset] = field(default_factory=list)

    @property
    def predictions(self) -> list[Prediction]:
        return [r for r in self.results if isinstance(r, Prediction)]

    @property
    def refusals(self) -> list[NotAssessable]:
        return [r for r in self.results if isinstance(r, NotAssessable)]

    @property
    def said(self) -> str:
        """Everything that was said, for the message of a failed test."""
        warnings = [text for p in self.predictions for text in p.warnings]
        refusals = [f"{r.reason}: {r.detail}" for r in self.refusals]
        return " | ".join([*self.troubles, *refusals, *warnings])


def straight_through(
    paths: Sequence[Path], runtime: Runtime, *, with_objects: bool = True
) -> CameOut:
    """What becomes of these files, study by study."""
    out = CameOut()
    try:
        found = find_studies(paths)
    except Unusable as error:
        return CameOut([str(error)])
    out.troubles += found.troubles
    out.troubles += [why for _, why in found.skipped]
    for files in found.studies.values():
        try:
            for slide in _slides(list(files.values()), out):
                result = predict(slide.paths, runtime)
                out.results.append(result)
                if with_objects:
                    out.objects += _objects(slide, result, runtime, out)
        except (Uncountable, PatientsDiffer, SlideUnreadable) as error:
            out.troubles.append(str(error))
    return out


def _slides(files: Sequence[Path], out: CameOut) -> tuple[SlideFiles, ...]:
    facts = [read_facts(path) for path in files]
    missing = [sentence for slide in gather_evidence(facts) for sentence in slide.missing]
    if missing:
        out.troubles.append(f"incomplete: {'; '.join(missing)}")
        return ()
    return slides_of(facts)


def _objects(
    slide: SlideFiles, result: Prediction | NotAssessable, runtime: Runtime, out: CameOut
) -> list[Dataset]:
    bundle = runtime.bundle
    provenance = Provenance(
        bundle_name=bundle.manifest.name,
        bundle_version=bundle.manifest.version,
        bundle_digest=bundle.digest,
        engine=runtime.engine,
        node_version=__version__,
        created_at=_MADE,
    )
    built, trouble = objects_of(
        result,
        lambda r: Making(
            source=dcmread(slide.path_of(r.base), stop_before_pixels=True),
            result=r,
            manifest=bundle.manifest,
            provenance=provenance,
            slide=slide,
            number=0,
        ),
    )
    if trouble:
        out.troubles.append(trouble)
    return [made.dataset for made in built]
