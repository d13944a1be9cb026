"""The control slide of `engine compare`: a slide that is given, or one that is drawn for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

from dicom_node.demo.wsm import write_slide
from engines.compare import Control
from engines.here.control import ControlUnusable, SlideAnswer
from engines.manifest.outputs import ClassOutput, HeatmapOutput
from engines.runtime import Runtime
from inference.errors import SlideUnreadable
from inference.outputs.classification import standing
from inference.phantom.draw import draw
from inference.predict import predict
from inference.slide.files import files_in
from inference.types import NOTHING, NotAssessable, Prediction

_SEED = 13
_SIDE_TILES = 12
"""Of the drawn slide: as many tiles along each side at the student's own spacing."""
_LEAST_PX = 1024


@contextmanager
def control_slide(given: Path | None) -> Iterator[Control]:
    """What runs the control slide on a runtime; the slide is drawn when it is first asked for."""
    with tempfile.TemporaryDirectory() as folder:
        drawn: list[Path] = []

        def answer(runtime: Runtime) -> SlideAnswer:
            if given is not None:
                return _answer(files_in(given), runtime, "a slide of this site")
            if not drawn:
                drawn.extend(_drawn(runtime, Path(folder)))
            return _answer(drawn, runtime, "a drawn slide")

        yield answer


def _drawn(runtime: Runtime, folder: Path) -> list[Path]:
    wanted = runtime.manifest.input
    side = max(_LEAST_PX, _SIDE_TILES * wanted.tile_px)
    return write_slide(draw(_SEED, rows=side, cols=side).pixels, folder, mpp=wanted.mpp, seed="c")


def _answer(paths: list[Path], runtime: Runtime, slide: str) -> SlideAnswer:
    try:
        said = predict(paths, _everywhere(runtime))
    except (SlideUnreadable, OSError) as error:
        raise ControlUnusable(
            f"control slide: it cannot be read ({type(error).__name__}); name another with --slide"
        ) from error
    if isinstance(said, NotAssessable):
        raise ControlUnusable(
            f"control slide: the student says nothing of {slide} ({said.detail}); name another "
            "with --slide"
        )
    return SlideAnswer(
        slide=f"{slide} of {said.tiles_analyzed} tiles",
        scores=said.scores,
        survivals=said.survivals,
        probabilities=said.probabilities,
        classes={c.name: _named(c, said) for c in runtime.manifest.classifications},
        maps={heatmap.name: heatmap.values for heatmap in said.heatmaps},
        tile_classes={one.name: one.classes[one.classes != NOTHING] for one in said.class_maps},
    )


def _named(output: ClassOutput, said: Prediction) -> str:
    place = standing(output, said.probabilities[output.name]).named
    return "" if place is None else output.classes[place].meaning


def _everywhere(runtime: Runtime) -> Runtime:
    """The same student without the organs that its maps and classes are for: engines are compared
    here, and nobody is told of this slide."""
    manifest = runtime.manifest
    outputs = tuple(
        output.model_copy(update={"organs": ()})
        if isinstance(output, HeatmapOutput | ClassOutput)
        else output
        for output in manifest.outputs
    )
    same = copy(runtime)
    same.manifest = manifest.model_copy(update={"outputs": outputs})
    return same
