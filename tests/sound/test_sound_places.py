"""Sound slides in every position, tiling and stacking: in the right place, never refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from math import cos, radians, sin

import numpy as np
import pytest
from letters import Drawn, Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from tiny_slides import jpeg

Condition = Callable[[Drawn], None]


def turned(*orientation: float) -> Condition:
    """Every level lies so on the slide."""

    def change(slide: Drawn) -> None:
        for image in slide.images:
            image.header.ImageOrientationSlide = list(orientation)

    return change


def oblique(degrees: float) -> Condition:
    c, s = round(cos(radians(degrees)), 9), round(sin(radians(degrees)), 9)
    return turned(s, -c, 0, -c, -s, 0)


def starting_at(x_mm: float, y_mm: float, *, lower_off_mm: float = 0.0) -> Condition:
    def change(slide: Drawn) -> None:
        for n, image in enumerate(slide.images):
            origin = image.header.TotalPixelMatrixOriginSequence[0]
            origin.XOffsetInSlideCoordinateSystem = x_mm + n * lower_off_mm
            origin.YOffsetInSlideCoordinateSystem = y_mm - n * lower_off_mm

    return change


def spaced(row_factor: float, col_factor: float) -> Condition:
    """Pixels that are not quite square, stated alike wherever it is stated."""

    def change(slide: Drawn) -> None:
        for image in slide.images:
            row, col = (float(v) for v in image.measures.PixelSpacing)
            image.measures.PixelSpacing = [row * row_factor, col * col_factor]
            image.header.ImagedVolumeHeight *= row_factor
            image.header.ImagedVolumeWidth *= col_factor

    return change


def measures_per_frame(slide: Drawn) -> None:
    """Pixel Measures stand in the functional groups of every frame (PS3.3 C.7.6.16.2.1)."""
    for image in slide.images:
        image.state_positions()
        measures = image.header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        del image.header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        for groups in image.header.PerFrameFunctionalGroupsSequence:
            groups.PixelMeasuresSequence = copy.deepcopy(measures)


def spacing_from_volume(slide: Drawn) -> None:
    for image in slide.images:
        del image.measures.PixelSpacing


def without_thickness(slide: Drawn) -> None:
    for image in slide.images:
        del image.measures.SliceThickness


def lower_states_the_base_spacing(slide: Drawn) -> None:
    """Left aside: the base level alone is enough."""
    slide.lower.measures.PixelSpacing = list(slide.base.measures.PixelSpacing)


def lower_padded_to_whole_tiles(slide: Drawn) -> None:
    """As some scanners write levels: the matrix is cut to whole tiles."""
    image = slide.lower
    rows, cols = image.pixels.shape[:2]
    padded = np.full((-(-rows // 96) * 96, -(-cols // 96) * 96, 3), 243, np.uint8)
    padded[:rows, :cols] = image.pixels
    image.pixels = padded
    image.header.TotalPixelMatrixRows, image.header.TotalPixelMatrixColumns = padded.shape[:2]
    image.header.ImagedVolumeHeight = padded.shape[0] * 0.008
    image.header.ImagedVolumeWidth = padded.shape[1] * 0.008
    image.encode()


def sparse(
    *,
    order: Callable[[int], Sequence[int]] = range,
    organization: str = "TILED_SPARSE",
    levels: int = 2,
) -> Condition:
    """Frames in any order, each with its position."""

    def change(slide: Drawn) -> None:
        for image in slide.images[:levels]:
            image.keep(list(order(len(image.frames))))
            image.state_positions(organization)

    return change


def shuffled(count: int) -> list[int]:
    return [int(n) for n in np.random.default_rng(3).permutation(count)]


def by_columns(slide: Drawn) -> None:
    for image in slide.images:
        order = sorted(range(len(image.cells)), key=lambda n: image.cells[n][::-1])
        image.keep(order)
        image.state_positions("")


def without_glass(*levels: int) -> Condition:
    """A level whose frames of nothing but glass were not kept."""

    def change(slide: Drawn) -> None:
        for n in levels:
            image = slide.images[n]
            with_tissue = [
                k for k, cell in enumerate(image.cells) if int(image.tile(cell).min()) < 200
            ]
            image.keep(with_tissue)
            image.state_positions()

    return change


def agreeing_positions(slide: Drawn) -> None:
    for image in slide.images:
        image.state_positions("TILED_FULL")


def indexed(slide: Drawn) -> None:
    """With the dimensions of a tiled image (PS3.3 C.7.6.17)."""
    for image in slide.images:
        image.state_positions("TILED_SPARSE")
        uid = generate_uid(entropy_srcs=["dimensions"])
        organization, by_row, by_col = Dataset(), Dataset(), Dataset()
        organization.DimensionOrganizationUID = uid
        by_row.DimensionIndexPointer, by_col.DimensionIndexPointer = 0x0048021F, 0x0048021E
        for index in (by_row, by_col):
            index.DimensionOrganizationUID = uid
            index.FunctionalGroupPointer = 0x0048021A
        image.header.DimensionOrganizationSequence = [organization]
        image.header.DimensionIndexSequence = [by_row, by_col]
        for groups, (row, col) in zip(
            image.header.PerFrameFunctionalGroupsSequence, image.cells, strict=True
        ):
            content = Dataset()
            content.DimensionIndexValues = [row + 1, col + 1]
            groups.FrameContentSequence = [content]


def tiles_of(rows: int, cols: int) -> Condition:
    def change(slide: Drawn) -> None:
        for image in slide.images:
            image.encode(frame=(rows, cols))

    return change


def native_tiles(slide: Drawn) -> None:
    for image in slide.images:
        image.encode(
            lambda tile: tile.tobytes(),
            syntax=ExplicitVRLittleEndian,
            photometric="RGB",
            frame=(255, 257),
        )


def one_frame_a_level(slide: Drawn) -> None:
    """Untiled, and without the number of frames, as single images often are."""
    for image in slide.images:
        image.encode(frame=image.pixels.shape[:2])
        del image.header.NumberOfFrames


def short_edges(slide: Drawn) -> None:
    """Tiles at the edge hold only what is inside of the matrix."""
    for image in slide.images:
        image.encode(frame=(100, 100))
        for n, (row, col) in enumerate(image.cells):
            inside = image.pixels[row * 100 : row * 100 + 100, col * 100 : col * 100 + 100]
            image.frames[n] = jpeg(np.ascontiguousarray(inside))


def concatenated(
    parts: int, *, is_sparse: bool = False, total: bool = True, backwards: bool = False
) -> Condition:
    """The base level in several files (PS3.3 C.7.6.16.2.2.4)."""

    def change(slide: Drawn) -> None:
        whole = slide.base
        bounds = np.linspace(0, len(whole.frames), parts + 1).astype(int).tolist()
        made = []
        for n in range(parts):
            part = copy.deepcopy(whole)
            part.keep(list(range(bounds[n], bounds[n + 1])))
            header = part.header
            header.SOPInstanceUID = generate_uid(entropy_srcs=["part", str(n)])
            header.ConcatenationUID = generate_uid(entropy_srcs=["concatenation"])
            header.SOPInstanceUIDOfConcatenationSource = whole.header.SOPInstanceUID
            header.InConcatenationNumber = n + 1
            header.ConcatenationFrameOffsetNumber = bounds[n]
            if total:
                header.InConcatenationTotalNumber = parts
            if is_sparse:
                part.state_positions()
            made.append(part)
        slide.images = [*(made[::-1] if backwards else made), slide.lower]

    return change


def planes_in_one(slide: Drawn) -> None:
    """Three focal planes in one image; the middle one is what was drawn."""
    for image in slide.images:
        middle, sharp = image.frames, image.pixels
        image.pixels = np.full_like(sharp, 200)
        image.encode()
        image.frames = [*image.frames, *middle, *image.frames]
        image.header.NumberOfFrames = len(image.frames)
        image.header.TotalPixelMatrixFocalPlanes = 3
        image.measures.SpacingBetweenSlices = 0.003
        image.pixels = sharp


def planes_in_files(*, stated: int, is_sparse: bool = False) -> Condition:
    """Three focal planes, each an instance of its own."""

    def change(slide: Drawn) -> None:
        made: list[Image] = []
        for level in slide.images:
            for n, z_um in enumerate((0.0, 3.0, 6.0)):
                plane = copy.deepcopy(level)
                if n != 1:
                    plane.pixels = np.full_like(level.pixels, 200)
                    plane.encode()
                    plane.pixels = level.pixels
                header = plane.header
                header.SOPInstanceUID = generate_uid(
                    entropy_srcs=["plane", str(header.SOPInstanceUID), str(n)]
                )
                header.TotalPixelMatrixFocalPlanes = stated
                plane.measures.SpacingBetweenSlices = 0.003
                origin = header.TotalPixelMatrixOriginSequence[0]
                origin.ZOffsetInSlideCoordinateSystem = z_um
                if is_sparse:
                    plane.state_positions()
                    for position in plane.positions:
                        position.ZOffsetInSlideCoordinateSystem = z_um
                made.append(plane)
        slide.images = made

    return change


def focus_map(*levels: int) -> Condition:
    """Every tile has the height at which it was in focus: one plane, not many."""

    def change(slide: Drawn) -> None:
        rng = np.random.default_rng(4)
        for n in levels:
            image = slide.images[n]
            image.state_positions()
            for position in image.positions:
                position.ZOffsetInSlideCoordinateSystem = round(18 + 4 * float(rng.random()), 2)

    return change


def extended_depth(slide: Drawn) -> None:
    for image in slide.images:
        image.header.ExtendedDepthOfField = "YES"
        image.header.NumberOfFocalPlanes = 5
        image.header.DistanceBetweenFocalPlanes = 1.0


def one_level(slide: Drawn) -> None:
    del slide.images[1]


CONDITIONS: dict[str, Condition] = {
    "untouched": lambda slide: None,
    "one level": one_level,
    "identity": turned(1, 0, 0, 0, 1, 0),
    "turned by 180": turned(-1, 0, 0, 0, -1, 0),
    "mirrored": turned(-1, 0, 0, 0, 1, 0),
    "mirrored and turned": turned(0, 1, 0, 1, 0, 0),
    "turned by 90": turned(0, 1, 0, -1, 0, 0),
    "turned by 270": turned(0, -1, 0, 1, 0, 0),
    "negative zeros": turned(-0.0, -1, -0.0, -1, -0.0, 0),
    "oblique by 7.3 degrees": oblique(7.3),
    "oblique by 45 degrees": oblique(45),
    "negative origin": starting_at(-3.2, -1.5),
    "zero origin": starting_at(0, 0),
    "lower level half a pixel away": starting_at(20, 40, lower_off_mm=0.002),
    "pixels 1.6 percent from square": spaced(1.0, 1.016),
    "pixels 1.6 percent from square the other way": spaced(1.016, 1.0),
    "pixel measures per frame": measures_per_frame,
    "spacing from the imaged volume": spacing_from_volume,
    "no slice thickness": without_thickness,
    "all levels state the base spacing": lower_states_the_base_spacing,
    "lower level padded to whole tiles": lower_padded_to_whole_tiles,
    "sparse": sparse(),
    "sparse base beside a full lower level": sparse(levels=1),
    "sparse in any order": sparse(order=shuffled),
    "sparse from the end": sparse(order=lambda count: range(count - 1, -1, -1)),
    "organization type missing": sparse(organization=""),
    "organization type 3D": sparse(organization="3D"),
    "by columns without a type": by_columns,
    "glass left out": without_glass(0, 1),
    "glass left out of the base level": without_glass(0),
    "glass left out of the lower level": without_glass(1),
    "full with agreeing positions": agreeing_positions,
    "with dimensions": indexed,
    "tiles of 240": tiles_of(240, 240),
    "tiles of 1024, larger than the matrix": tiles_of(1024, 1024),
    "tiles of 512 x 256": tiles_of(512, 256),
    "tiles of 256 x 512": tiles_of(256, 512),
    "tiles of 72 x 104": tiles_of(72, 104),
    "native tiles of 255 x 257": native_tiles,
    "short edge tiles": short_edges,
    "one frame a level": one_frame_a_level,
    "concatenation": concatenated(3),
    "concatenation of one": concatenated(1),
    "concatenation without a total": concatenated(3, total=False),
    "concatenation from the end": concatenated(4, backwards=True),
    "sparse concatenation": concatenated(3, is_sparse=True),
    "focal planes in one image": planes_in_one,
    "focal planes in files that each state one": planes_in_files(stated=1),
    "focal planes in files that each state all": planes_in_files(stated=3),
    "sparse focal planes in files": planes_in_files(stated=1, is_sparse=True),
    "sparse focal planes in files that each state all": planes_in_files(stated=3, is_sparse=True),
    "focus map": focus_map(0, 1),
    "focus map of the base level": focus_map(0),
    "extended depth of field": extended_depth,
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_sound_slide_is_analyzed_in_its_place(
    name: str, is_sound: Callable[[Condition], None]
) -> None:
    is_sound(CONDITIONS[name])
