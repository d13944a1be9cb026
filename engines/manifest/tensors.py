"""What the graphs of a bundle take and give, and the exam that proves it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.manifest.values import Strict

SMALLEST_TILE, LARGEST_TILE = 32, 1024
"""Pixels of a side."""


class Tensor(Strict):
    """One input or output of a graph. A dimension is a size or the name of a dynamic axis."""

    name: str
    dtype: Literal["uint8", "float32", "int64"]
    shape: tuple[int | str, ...]


class Graph(Strict):
    """One ONNX file and its tensors."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class TileInput(Strict):
    """Tiles the encoder takes: uint8 RGB [N, tile_px, tile_px, 3] at `mpp` um per pixel."""

    tile_px: Annotated[int, Field(ge=SMALLEST_TILE, le=LARGEST_TILE)]
    mpp: Annotated[float, Field(gt=0.05, lt=10)]
    mpp_tolerance: Annotated[float, Field(ge=0, le=0.5)]
    """Relative spacing difference up to which level pixels are used without resampling."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 32
    """Tiles the encoder computes at once, on every engine; a last block is padded to it."""
    coarse_mpp: float | None = None
    """Second magnification of the same slide, a whole multiple of `mpp`: its tiles form a second,
    coarser grid."""
    icc: Literal["ignore", "srgb"] = "ignore"
    """Whether the slide's ICC profile is applied (to sRGB) before the graph sees pixels."""
    scaled_decoding: bool = False
    """Whether JPEG frames may be decoded at 1/2, 1/4 or 1/8 in the DCT domain instead of being
    resampled, where a level is 2, 4 or 8 times finer than `mpp`."""
    unreadable_tiles: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Tolerated share of tiles whose frames cannot be read; above it a slide is not assessable."""

    @model_validator(mode="after")
    def _coarse_is_a_multiple(self) -> TileInput:
        if self.coarse_mpp is not None:
            times = self.coarse_mpp / self.mpp
            if round(times) < 2 or abs(times - round(times)) > 1e-6 * times:
                raise ValueError(
                    f"coarse_mpp: found {self.coarse_mpp:g}, expected 2, 3, ... times mpp "
                    f"{self.mpp:g}"
                )
        return self


class Probe(Strict):
    """The exam every runtime sits when it opens the bundle.

    The file holds arrays named `<graph>/in/<tensor>` and `<graph>/out/<tensor>`; `tolerance` is
    the largest absolute difference allowed per `<graph>/<tensor>`.
    """

    file: str
    tolerance: dict[str, Annotated[float, Field(gt=0)]]
