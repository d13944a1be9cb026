"""What every runtime offers to the door, and tiles in blocks of one size.

The encoder runs blocks of exactly `manifest.input.batch` tiles, the last one padded: an engine
chooses other kernels for other shapes, so a tile's numbers would depend on its neighbors' count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.manifest.precision import Precision
from engines.names import FormName

ENCODER = "encoder"
AGGREGATOR = "aggregator"

Arrays = Mapping[str, NDArray[Any]]


class Executor(Protocol):
    """A bundle on an engine. `run` may be called by as many threads as there are lanes."""

    description: str
    """Engine, version, precision and device."""
    lanes: int
    """Threads that may run the encoder at the same time with profit. On a GPU they are those that
    can make its tiles: the device takes blocks of several callers by turns."""
    batch: int
    """Tiles in a call that keep a lane busy."""

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]: ...


def blocks(tiles: int, size: int) -> Iterator[tuple[int, int]]:
    """First tile and number of tiles of each block; only the last may be short."""
    for first in range(0, tiles, size):
        yield first, min(size, tiles - first)


def filled(part: NDArray[Any], spare: NDArray[Any]) -> NDArray[Any]:
    """A whole block that begins with `part`: itself where an engine can read it in place, else
    `spare` overwritten.

    The rows behind a short part keep what `spare` held; nobody reads what comes of them.
    """
    if len(part) == len(spare) and part.flags.c_contiguous and part.flags.writeable:
        return part
    spare[: len(part)] = part
    return spare


def graphs_of(bundle: Bundle) -> list[str]:
    """Its graphs in the order in which they run; an encoder alone has one."""
    return [name for name in (ENCODER, AGGREGATOR) if name in bundle.manifest.graphs]


def graph_file(bundle: Bundle, graph_name: str, precision: Precision | None) -> str:
    """Name of the ONNX file of a graph; only the encoder has cheaper forms."""
    if graph_name == ENCODER and precision is not None and precision.file is not None:
        return precision.file
    return bundle.manifest.graphs[graph_name].file


def precision_name(precision: Precision | None) -> FormName:
    """`fp32` without a cheaper form."""
    return precision.name if precision else "fp32"
