"""The HTML pages of one study that `analyze` writes: one a slide, and one over several slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from dicom_node.results.kinds import REPORT
from dicom_node.view.page.overview import SlideEntry, write_overview
from dicom_node.view.page.slide_page import write_page
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

_OVERVIEW = "index.html"


@dataclass(frozen=True, slots=True)
class Written:
    """An object of a slide and the file it is in."""

    path: Path
    dataset: Dataset


@dataclass(frozen=True, slots=True)
class StudyPages:
    """Where the pages of a study lie below the output folder, and which were written."""

    out: Path
    number: int
    """Of the study."""
    of_slides: int
    """How many slides the study has, those without a report counted."""
    _entries: list[SlideEntry] = field(default_factory=list)

    def folder(self, slide: SlideFiles) -> Path:
        """Folder of the page and the objects of a slide."""
        return self.out / f"study-{self.number}-slide-{slide.key}"

    def add(
        self,
        slide: SlideFiles,
        result: Prediction | NotAssessable,
        objects: Mapping[str, Written],
    ) -> Path:
        """Writes the page of a slide from its objects, by their kinds; returns its path."""
        folder = self.folder(slide)
        sr_path = objects[REPORT.name].path
        seg_paths = [one.path for one in objects.values() if one.dataset.Modality == "SEG"]
        back = f"../{self._home.name}/{_OVERVIEW}" if self.of_slides > 1 else ""
        page = write_page(
            folder / "report.html",
            slide_paths=slide.paths,
            sr_path=sr_path,
            seg_paths=seg_paths,
            condition=result.condition if isinstance(result, Prediction) else None,
            back=back,
        )
        place = f"../{folder.name}/{page.name}"
        self._entries.append(SlideEntry(place, slide.paths, sr_path, seg_paths))
        return page

    def over_all(self, without: Sequence[str]) -> Path | None:
        """Writes the page over the slides of the study, where it has several and one at least has
        a report; `without` are sentences on those that have none."""
        if self.of_slides < 2 or not self._entries:
            return None
        self._home.mkdir(parents=True, exist_ok=True)
        return write_overview(self._home / _OVERVIEW, self._entries, without=without)

    @property
    def _home(self) -> Path:
        return self.out / f"study-{self.number}"
