"""What replaces a summary that is withdrawn: one page that says so."""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.content import settle
from dicom_node.results.language.speaking import sentences
from dicom_node.results.language.tree import stated
from dicom_node.results.modules import plain
from dicom_node.results.pdf.identity import identity_of
from dicom_node.results.pdf.page import Page, page_bytes
from dicom_node.results.pdf.said import said_by
from dicom_node.results.sr.derived import predecessors
from dicom_node.results.withdrawal.report import content
from dicom_node.results.withdrawal.signed import replaced
from dicom_node.results.withdrawal.told import Told, bundle_in

_NOT_KEPT = {"EncapsulatedDocument", "EncapsulatedDocumentLength"}


def withdrawal_of_page(summary: Dataset, told: Told, kind: str) -> Dataset:
    """An Encapsulated PDF (PS3.3 A.45.1) in the place of `summary`. Raises FontsMissing."""
    new = replaced(summary, _NOT_KEPT, told, kind)
    container = summary.get("ContainerIdentifier")
    slide = sentences(f"Container {container}." if container else "", told.language)
    page = page_bytes(_page(summary, slide, told))
    new.DocumentTitle = plain(str(new.SeriesDescription), 1024)
    new.PredecessorDocumentsSequence = predecessors(summary)
    new.EncapsulatedDocumentLength = len(page)
    new.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    return settle(new)


def _page(summary: Dataset, slide: str, told: Told) -> Page:
    root = Dataset()
    root.ConceptNameCodeSequence = [CodedConcept.from_code(codes.WITHDRAWN)]
    root.ContentSequence = [*stated(told.language), *content(summary, slide, told)]
    said = said_by(root)
    return Page(
        identity=identity_of(summary, [summary], said),
        said=said,
        picture=sentences("Withdrawn: no picture.", told.language),
        made_on=told.at.strftime("%Y%m%d"),
        maker=f"dicom-node {told.node_version}",
        engine="",
        bundle_digest=bundle_in(summary),
        report_uid=str(summary.SOPInstanceUID),
        uid=f"withdrawal of {summary.SOPInstanceUID}",
    )
