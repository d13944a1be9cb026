"""One class for a whole slide or case: all probabilities, and which stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.outputs import ClassOutput

TOGETHER = 0.01
"""How far the probabilities of all classes may be from 1 together: engines that compute with 16
bits round each of them, by at most 1/256 of itself."""
BELOW_ZERO = 1e-5
"""So far a probability may be below 0 by rounding; it is clipped."""
APART = 1e-3
"""Two classes of which one is no more than this above the other are equally probable: two engines
differ by as much, and no report shows more digits."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Which class stands out, and what keeps one from it."""

    first: int
    """Place of the most probable class among those of the manifest; of equal ones the first."""
    probability: float
    """Its own."""
    equal: tuple[int, ...]
    """Places of all classes that are as probable, the first included."""
    floor: float
    """What a class must have to be named."""

    @property
    def named(self) -> int | None:
        """Place of the class that is the result; None where no class stands out."""
        return self.first if len(self.equal) == 1 and self.probability >= self.floor else None


def probabilities_fault(output: ClassOutput, values: NDArray[Any]) -> str:
    """Why what an aggregator gave is not a probability of each class, in a sentence; empty where it
    is."""
    found = np.asarray(values, np.float64).reshape(-1)
    if len(found) != len(output.classes):
        return (
            f"The model gave {len(found)} probabilities for {output.name}; expected "
            f"{len(output.classes)}."
        )
    if not np.all(np.isfinite(found)):
        return f"The model gave a value for {output.name} that is no number."
    low, high = float(found.min()), float(found.max())
    if low < -BELOW_ZERO or high > 1 + TOGETHER:
        return f"The model gave {low:g} to {high:g} for {output.name}; expected 0 to 1."
    together = float(found.sum())
    if abs(together - 1) > TOGETHER:
        return (
            f"The model gave probabilities for {output.name} that are {together:g} together; "
            "expected 1."
        )
    return ""


def probabilities_of(values: NDArray[Any]) -> tuple[float, ...]:
    """The probability of each class, in [0, 1], of a tensor [C] without a fault."""
    found: list[float] = np.clip(np.asarray(values, np.float64).reshape(-1), 0, 1).tolist()
    return tuple(found)


def standing(output: ClassOutput, probabilities: Sequence[float]) -> Standing:
    """Which class of the output stands out, of a probability for each."""
    if len(probabilities) != len(output.classes):
        raise ValueError(
            f"{output.name}: found {len(probabilities)} probabilities, expected "
            f"{len(output.classes)}"
        )
    values = np.asarray(probabilities, np.float64)
    highest = float(values.max())
    equal = np.flatnonzero(values >= highest - APART)
    return Standing(int(values.argmax()), highest, tuple(equal.tolist()), output.floor)
