from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from letters import Drawn, drawn, judge, outline_iou, tiny_at_letter_scale
from pydicom import Dataset
from straight import straight_through
from students import student

from dicom_node.view.reading import read_groups
from engines.runtime import Runtime

Condition = Callable[[Drawn], None]
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture(scope="session")
def untouched() -> Drawn:
    """The slide that every condition is a change of; each takes a copy."""
    return drawn()


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("student") / "tiny"
    with student(folder, tiny_at_letter_scale, threads=1) as running:
        yield running


@pytest.fixture
def is_sound(untouched: Drawn, runtime: Runtime, tmp_path: Path) -> Callable[[Condition], None]:
    """Asserts that a changed slide is analyzed in its place with the number it had before."""

    def check(change: Condition) -> None:
        slide = untouched.copy()
        change(slide)
        came = straight_through(slide.save(tmp_path / "slide"), runtime)
        assert came.troubles == []
        assert came.refusals == [], came.said
        assert len(came.predictions) == 1
        (found,) = came.predictions
        assert judge(found, slide.truth) == [], came.said
        header = slide.base.header
        assert found.geometry.orientation == pytest.approx(
            [float(v) for v in header.ImageOrientationSlide], abs=1e-6
        )
        (report,) = (o for o in came.objects if o.SOPClassUID == SR)
        assert (
            outline_iou(
                _outline_px(
                    report, header, found.geometry.spacing_row_mm, found.geometry.spacing_col_mm
                ),
                slide.truth.mask,
            )
            > 0.9
        )

    return check


def _outline_px(
    report: Dataset, header: Dataset, row_mm: float, col_mm: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The outline that the report draws, on the matrix as the header lays it on the slide."""
    origin = header.TotalPixelMatrixOriginSequence[0]
    right, down = np.array(header.ImageOrientationSlide, np.float64).reshape(2, 3)[:, :2]
    offset = read_groups(report)[0].region_mm - (
        float(origin.XOffsetInSlideCoordinateSystem),
        float(origin.YOffsetInSlideCoordinateSystem),
    )
    return np.linalg.solve(np.stack([down * row_mm, right * col_mm]).T, offset.T).T
