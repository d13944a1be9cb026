"""The two libraries behind the door: TensorRT, and TensorRT for RTX, which needs no GPU to build.

Both have one API. They differ in what is imported, in the GPUs they take, and in where a plan runs:
TensorRT's on the kind of GPU it was built on, that of TensorRT for RTX on all RTX generations from
Ampere on, compiled to the end by the device itself. Neither reads a plan of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from engines.errors import EngineMissing

Capability = tuple[int, int]
"""Compute capability of a GPU: (8, 9) for 8.9."""
PlanEngine = Literal["tensorrt", "tensorrt-rtx"]
"""The engines that run plans."""


@dataclass(frozen=True, slots=True)
class Library:
    """One of the two, and its rule of which plan runs where."""

    engine: PlanEngine
    name: str
    tag: str
    """In the name of a plan, before the release."""
    modules: tuple[str, ...]
    """Imported in this order; the last one is the API."""
    portable: tuple[Capability, ...] = ()
    """GPUs that share one plan."""
    single: tuple[Capability, ...] | None = None
    """GPUs that need a plan of their own; None: any."""
    needs_device: bool = True
    """Whether plans are built on the kind of GPU that they run on."""

    def load(self) -> Any:
        """The API's module. Raises EngineMissing."""
        try:
            return [import_module(name) for name in self.modules][-1]
        except (ImportError, OSError) as error:  # OSError: the bindings without their libraries
            raise EngineMissing(
                f"engine '{self.engine}': {self.name} cannot be loaded ({error}); pip install "
                f"'dicom-node[{self.engine}]'"
            ) from error

    def target(self, release: str, capability: Capability) -> Target:
        """What a plan for this GPU is built for. Raises EngineMissing for a GPU it does not take.

        `release` is the library's own version.
        """
        takes = None if self.single is None else {*self.portable, *self.single}
        if takes is not None and capability not in takes:
            raise EngineMissing(
                f"engine '{self.engine}': found a GPU of compute capability "
                f"{spelled(capability)}, {self.name} takes {', '.join(map(spelled, sorted(takes)))}"
            )
        return Target(release, capability, self)


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan runs on."""

    release: str
    capability: Capability
    library: Library

    @property
    def is_portable(self) -> bool:
        """Whether its plan is that of all GPUs of the library's family."""
        return self.capability in self.library.portable

    @property
    def label(self) -> str:
        """Of library, release and GPUs, in the name of a plan."""
        kinds = self.library.portable if self.is_portable else (self.capability,)
        numbers = "-".join(f"{major}{minor}" for major, minor in kinds)
        return f"{self.library.tag}{self.release}-sm{numbers}"

    @property
    def gpu(self) -> str:
        """Its compute capability as people write it."""
        return spelled(self.capability)

    def __str__(self) -> str:
        kinds = self.library.portable if self.is_portable else (self.capability,)
        return (
            f"{self.library.name} {self.release}, compute capability "
            f"{', '.join(map(spelled, kinds))}"
        )


TENSORRT = Library("tensorrt", "TensorRT", "trt", ("tensorrt",))
TENSORRT_RTX = Library(
    "tensorrt-rtx",
    "TensorRT for RTX",
    "rtx",
    ("tensorrt_rtx_libs", "tensorrt_rtx_bindings"),
    portable=((8, 6), (8, 9), (12, 0), (12, 1)),
    single=((7, 5), (8, 0)),
    needs_device=False,
)


def spelled(capability: Capability) -> str:
    """As people write it: 8.9."""
    return ".".join(map(str, capability))


def read_capability(text: str) -> Capability:
    """The capability in `8.9`; ValueError for another text."""
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise ValueError(f"found {text!r}, expected a compute capability such as 8.9")
    return int(major), int(minor)
