"""How well a number is known, in words: its interval, its calibration, or nothing."""

from __future__ import annotations

from dicom_node.results.sr.figures import rounded
from engines.manifest.uncertainty import Calibrated, Ensemble, Interval, Uncertainty


def known(uncertainty: Uncertainty, ends: tuple[float, float] | None, unit: str = "") -> str:
    """What is known of a number: its interval, its calibration, or nothing."""
    if isinstance(uncertainty, Calibrated):
        return f"interval not known; calibration: {calibration(uncertainty).rstrip('.')}"
    if ends is None or not isinstance(uncertainty, Interval | Ensemble):
        return "uncertainty: not known"
    low, high = (rounded(end) for end in ends)
    if isinstance(uncertainty, Ensemble):
        return f"members of an ensemble say {low} to {high}{unit}; {uncertainty.source}"
    return f"{100 * uncertainty.level:g} % interval {low} to {high}{unit}; {uncertainty.source}"


def calibration(uncertainty: Uncertainty) -> str:
    """How far a probability may be taken as it is."""
    if not isinstance(uncertainty, Calibrated):
        return "not known."
    tendency = ""
    if uncertainty.intercept:
        tendency = f", the values are too {'high' if uncertainty.intercept < 0 else 'low'} there"
    return (
        f"slope {uncertainty.slope:.2f} and intercept {uncertainty.intercept:.2f} (1 and 0 would "
        f"be perfect{tendency}), on {uncertainty.count} of: {uncertainty.data}."
    )
