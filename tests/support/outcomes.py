"""What came out of a study, as whoever receives the objects sees it, and whether that is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from letters import outline_iou
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_node.view.reading import read_groups

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
LEAST_IOU = 0.9
Mask = NDArray[np.bool_]
_PATH = re.compile(r"/[\w.+-]+/[\w.+-]+|\.dcm\b")
_LIST = re.compile(r"\[['\"]|['\"]\]|\('")


@dataclass(frozen=True)
class Report:
    """One report, with its heatmap where there is one."""

    sr: Dataset
    seg: Dataset | None

    @property
    def said(self) -> str:
        """All comments and coded statements, one a line."""
        groups = read_groups(self.sr)
        coded = [f"{name}: {meaning}" for g in groups for name, meaning in g.evaluations]
        return "\n".join([*coded, *(text for g in groups for text in g.comments)])

    @property
    def is_refusal(self) -> bool:
        return "Not predictable" in self.said

    @property
    def why(self) -> tuple[str, str]:
        """Of a refusal: the meaning of the coded reason, and the sentence."""
        group = read_groups(self.sr)[0]
        return dict(group.evaluations).get("Reason not predictable", ""), group.comments[0]

    @property
    def score(self) -> float:
        """The first measured number: the risk."""
        return float(read_groups(self.sr)[0].measurements[0].value)

    def outline_px(self, origin_mm: tuple[float, float], mpp: float) -> NDArray[np.float64]:
        """[K, 2] (row, col) of the tissue, for columns to -y and rows to -x."""
        x, y = read_groups(self.sr)[0].region_mm.T
        return np.stack([(origin_mm[0] - x), (origin_mm[1] - y)], axis=1) / (mpp / 1000)

    def cells(self) -> Iterable[tuple[int, int]]:
        """Grid row and column of every cell with a value in the heatmap."""
        seg = self.seg
        assert seg is not None, "a number without a heatmap"
        frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
        for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
            place = groups.PlanePositionSlideSequence[0]
            row = place.RowPositionInTotalImagePixelMatrix - 1
            col = place.ColumnPositionInTotalImagePixelMatrix - 1
            for r, c in np.argwhere(frame > 0).tolist():
                yield row + r, col + c


@dataclass
class Seen:
    """All that one study led to."""

    objects: list[Dataset] = field(default_factory=list)
    trouble: str = ""
    """What an operator was told."""

    @property
    def reports(self) -> list[Report]:
        """A report and the heatmap of its slide are tied by the container."""
        segs = [o for o in self.objects if o.SOPClassUID == SEG]
        found = []
        for sr in (o for o in self.objects if o.SOPClassUID == SR):
            named = _uids_in(sr)
            own = [s for s in segs if s.SOPInstanceUID in named or _frame_of(s) in named]
            found.append(Report(sr, own[0] if own else None))
        return found


Judge = Callable[[Seen], list[str]]
"""What is wrong in what was seen, one sentence each; nothing where the outcome is right."""


def slides_placed(
    *letters: Mask, says: str = "", scores: Sequence[float] = (), within: float = 0.1
) -> Judge:
    """One report per letter: outline and cells on it, score near that of `scores`, `says` said."""

    def judge(seen: Seen) -> list[str]:
        reports = seen.reports
        if len(reports) != len(letters):
            return [f"{len(reports)} reports, expected {len(letters)} ({seen.trouble})"]
        faults = []
        for report in reports:
            if report.is_refusal:
                faults.append(f"refused: {report.said}")
                continue
            tries = [
                [*_misplaced(report, letter), *_off(report, score, within)]
                for letter, score in zip_longest(letters, scores)
            ]
            faults += min(tries, key=len)
        said = "\n".join([*(r.said for r in reports), seen.trouble])
        return faults + ([] if re.search(says, said) else [f"{says!r} is not said in {said!r}"])

    return judge


def refused(says: str, reason: str = "") -> Judge:
    """One report without a number, whose sentence holds `says` and whose coded reason `reason`."""

    def judge(seen: Seen) -> list[str]:
        reports = seen.reports
        if len(reports) != 1 or not reports[0].is_refusal:
            return [f"{len(reports)} reports, expected one refusal ({seen.trouble})"]
        coded, sentence = reports[0].why
        faults = [] if re.search(says, sentence) else [f"{says!r} is not said in {sentence!r}"]
        return faults + ([] if re.search(reason, coded) else [f"{reason!r} is not in {coded!r}"])

    return judge


def stopped(says: str) -> Judge:
    """No object at all, and an operator who was told `says`."""

    def judge(seen: Seen) -> list[str]:
        if seen.objects:
            return [f"{len(seen.objects)} objects, expected none"]
        said = seen.trouble
        return [] if re.search(says, said) else [f"{says!r} is not said in {said!r}"]

    return judge


def only_where(present: Callable[[], Mask], judge: Judge) -> Judge:
    """As `judge`, and no cell on tissue of which the data holds nothing."""

    def both(seen: Seen) -> list[str]:
        absent = ~present()
        cells = [cell for r in seen.reports if not r.is_refusal for cell in r.cells()]
        shares = [
            (row, col, absent[row * 224 : (row + 1) * 224, col * 224 : (col + 1) * 224].mean())
            for row, col in cells
        ]
        return judge(seen) + [
            f"the cell {row}, {col} is {share:.0%} without data"
            for row, col, share in shares
            if share > 0.05
        ]

    return both


def unfit_texts(objects: Iterable[Dataset]) -> list[str]:
    """Texts in DICOM objects that no reader should see: paths, and lists as Python prints them."""
    texts = [text for o in objects for text in _texts(o)]
    return [text for text in texts if _PATH.search(text) or _LIST.search(text)]


def read_objects(folder: Path) -> list[Dataset]:
    """Every DICOM object below a folder."""
    return [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def _misplaced(report: Report, letter: Mask) -> list[str]:
    iou = outline_iou(report.outline_px((25.0, 50.0), 0.5), letter)
    faults = [] if iou >= LEAST_IOU else [f"outline IoU {iou:.2f}"]
    side = 224
    for row, col in report.cells():
        cell = letter[row * side : (row + 1) * side, col * side : (col + 1) * side]
        if cell.sum() < 0.15 * side**2:
            faults.append(f"the cell {row}, {col} is not on the tissue")
    return faults


def _off(report: Report, score: float | None, within: float) -> list[str]:
    if score is None or abs(report.score - score) <= within:
        return []
    return [f"score {report.score}, expected {score} within {within}"]


def _frame_of(seg: Dataset) -> str:
    return str(seg.get("FrameOfReferenceUID"))


def _uids_in(ds: Dataset) -> set[str]:
    return {str(e.value) for e in ds.iterall() if e.VR == "UI"}


def _texts(ds: Dataset) -> Iterable[str]:
    for element in ds.iterall():
        if element.VR in ("LO", "LT", "SH", "ST", "UC", "UT", "PN", "CS", "UR"):
            many = element.value if element.VM > 1 else [element.value]
            yield from (str(value) for value in many if value is not None)
