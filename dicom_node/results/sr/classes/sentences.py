"""What a report says of the one class of a slide or case: every word of it.

The most probable class is the result only where it stands out; the probability of every class is
told in any case, and which classes the model knows.
"""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.results.sr.counted.composition import measured_on
from dicom_node.results.sr.figures import calibration, percent, rounded
from engines.manifest.outputs import ClassOutput
from engines.manifest.uncertainty import Calibrated, Ensemble, Interval
from engines.manifest.whole import Manifest
from inference.outputs.classification import Standing, standing
from inference.types import Prediction

_LEAST = 1e-4
"""A smaller probability is told as that it is below this one: no model is surer."""


def of_classes(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """For each output of classes: which one stands out, or why none does, the probability of each,
    how sure that is, and that the model knows no others; or why it says nothing of this slide.

    Raises ValueError for a result that lacks what the manifest promises.
    """
    for output in manifest.classifications:
        if why := result.not_assessed.get(output.name):
            yield f"{output.code.meaning}: {why[:1].lower()}{why[1:]}"
            continue
        found = standing_of(result, output)
        each = "; ".join(_chances(output, found, result))
        told = (result_of(output, found), f"Probability of each class: {each}.", *beside_of(output))
        yield " ".join(told)


def result_of(output: ClassOutput, found: Standing) -> str:
    """Which class stands out, or why none does."""
    what, first = output.code.meaning, output.classes[found.first].meaning
    if found.named is not None:
        share = percent(found.probability)
        return f"{what}: {first} is the most probable class, with {share} %."
    if len(found.equal) > 1:
        equal = " and ".join(output.classes[place].meaning for place in found.equal)
        share = percent(found.probability)
        return f"{what}: no class stands out, because {equal} are equally probable, with {share} %."
    share = _short_of(found.probability, found.floor)
    return (
        f"{what}: no class stands out, because the most probable one, {first}, has only {share} %."
    )


def _short_of(share: float, floor: float) -> float | int:
    """Percent, with as many digits as tell it from the floor that it does not reach."""
    told = [rounded(100 * share, digits=digits) for digits in range(3, 17)]
    return next((one for one in told if one < 100 * floor), told[-1])


def _chances(output: ClassOutput, found: Standing, result: Prediction) -> Iterator[str]:
    """The most probable first; of equal ones in the order of the manifest."""
    values = result.probabilities[output.name]
    for place in sorted(range(len(values)), key=lambda place: -values[place]):
        ends, name = ends_of(output, place, result), output.classes[place].meaning
        is_small = 0 <= values[place] < _LEAST
        share = f"below {percent(_LEAST)} %" if is_small else f"{percent(values[place])} %"
        yield f"{name} {share}" + (f" ({_between(ends)} %)" if ends else "")


def beside_of(output: ClassOutput) -> Iterator[str]:
    """From where on a class is named, how sure the probabilities are, which classes are known, and
    on which organs."""
    if output.floor:
        yield f"A class is named from {percent(output.floor)} % on."
    else:
        yield (
            "No floor is stated by the model: its most probable class is named, however low its "
            "probability."
        )
    yield _sure(output)
    yield (
        f"The model knows these {len(output.classes)} classes only: what is none of them cannot be "
        f"found, and the probabilities say nothing of it."
    )
    if said := measured_on(output):
        yield said


def _sure(output: ClassOutput) -> str:
    known = output.uncertainty
    if isinstance(known, Interval):
        return (
            f"In brackets the {100 * known.level:g} % interval of the probability: {known.source}."
        )
    if isinstance(known, Ensemble):
        return f"In brackets what the members of an ensemble say: {known.source}."
    if isinstance(known, Calibrated):
        how = calibration(known, of_classes=True)
        return f"No interval of these probabilities is known; calibration: {how}"
    return "The uncertainty of these probabilities is not known."


def ends_of(output: ClassOutput, place: int, result: Prediction) -> tuple[float, float] | None:
    """Low and high of a class, in percent; None where no interval is known."""
    if output.name not in result.intervals:
        return None
    low, high = result.intervals[output.name][place]
    return 100 * low, 100 * high


def _between(ends: tuple[float, float]) -> str:
    low, high = (rounded(end) for end in ends)
    return f"{low} to {high}"


def standing_of(result: Prediction, output: ClassOutput) -> Standing:
    """Which class stands out; ValueError for a result without its probabilities."""
    if output.name not in result.probabilities:
        raise ValueError(
            f"the manifest promises {output.name}; the result holds {sorted(result.probabilities)}"
        )
    return standing(output, result.probabilities[output.name])
