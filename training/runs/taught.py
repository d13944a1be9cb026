"""Who taught a student: how many patients, and where their features lie.

A method may leave patients of inner training out, as one that needs their genes does.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from training.learning.fitted import Fitted
from training.learning.split import Split


def counts(split: Split, fitted: Fitted, outer: int) -> dict[str, int]:
    """Patients by part, as a unit says them: of inner training those who taught the student."""
    return {
        "inner_training": len(_taught(split, fitted).train),
        "inner_validation": len(split.valid),
        "outer": outer,
    }


def references_of(split: Split, fitted: Fitted) -> dict[str, object]:
    """Where patients of the training parts lie, and their slides, as a unit says it."""
    known = _taught(split, fitted)
    return {
        "reference": reference(known),
        "reference_of_slides": reference(known, of_slides=True),
    }


def reference(split: Split, *, of_slides: bool = False) -> dict[str, object]:
    """Mean and deviation [D] of the mean features of patients, or of their slides, and how far
    training ones lie."""
    parts = (split.train, split.valid)
    shown = [bag for part in parts for bag in (part.each_slide() if of_slides else part.bags)]
    means = torch.stack([bag.mean(dim=0) for bag in shown]).double()
    mean, std = means.mean(dim=0), means.std(dim=0, correction=0).clamp(min=1e-6)
    distance = ((means - mean) / std).square().mean(dim=1).sqrt()
    return {
        "mean": mean.tolist(),
        "std": std.tolist(),
        "limit": float(torch.quantile(distance, 0.99)),
    }


def _taught(split: Split, fitted: Fitted) -> Split:
    return split if fitted.taught is None else replace(split, train=fitted.taught)
