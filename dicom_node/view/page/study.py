"""The pages of one study: one a slide, and one over several slides that links them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread

from dicom_node.view.page.overview import SlideEntry, write_overview
from dicom_node.view.page.slide_page import write_page
from inference.types import Condition

_OVERVIEW = "index.html"


@dataclass(frozen=True, slots=True)
class StudyPages:
    """Where the pages of a study lie, and which were written."""

    home: Path
    """Folder of the page over all slides; the folders of the slides stand beside it."""
    of_slides: int
    """How many slides the study has, those without a report counted."""
    _entries: list[SlideEntry] = field(default_factory=list)

    def add(
        self,
        folder: Path,
        slide_paths: Sequence[Path],
        sr_path: Path,
        objects: Iterable[Path],
        condition: Condition | None,
    ) -> Path:
        """Writes the page of a slide into its folder, from the files of its report and of its
        `objects`, of which the Segmentations are shown; returns its path."""
        segs = [path for path in objects if _is_segmentation(path)]
        page = write_page(
            folder / "report.html",
            slide_paths=slide_paths,
            sr_path=sr_path,
            seg_paths=segs,
            condition=condition,
            back=f"../{self.home.name}/{_OVERVIEW}" if self.of_slides > 1 else "",
        )
        place = f"../{folder.name}/{page.name}"
        self._entries.append(SlideEntry(place, slide_paths, sr_path, segs))
        return page

    def over_all(self, without: Sequence[str]) -> Path | None:
        """Writes the page over the slides of the study, where it has several and one at least has
        a report; `without` are sentences on those that have none."""
        if self.of_slides < 2 or not self._entries:
            return None
        self.home.mkdir(parents=True, exist_ok=True)
        return write_overview(self.home / _OVERVIEW, self._entries, without=without)


def _is_segmentation(path: Path) -> bool:
    header = dcmread(path, stop_before_pixels=True, specific_tags=["Modality"])
    return bool(header.get("Modality") == "SEG")
