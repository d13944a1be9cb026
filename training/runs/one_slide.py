"""What a student loses that sees one slide of a patient where it was scored on all of them.

The node shows a student of unit `slide` one slide at a time; the figures of the folds are of all
slides of a patient in one bag.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from training.learning.bags import Patients
from training.scoring import metrics

MOST = 5
"""Draws of one slide each; whoever has fewer slides is asked again with the first."""
Say = Callable[[Tensor], dict[str, Tensor]]


def unit_facts(say: Say, patients: Patients, classes: tuple[str, ...]) -> dict[str, float]:
    """C-index (AUC for classes) of all slides, of one slide, and the first minus the second.

    One slide: the mean over draws, the k-th taking each patient's k-th slide. Empty where nobody
    has several slides, or no two patients can be compared.
    """
    most = min(MOST, max((len(lengths) for lengths in patients.slides), default=1))
    if most < 2:
        return {}
    whole = _figure(say, patients.bags, patients, classes)
    parts = [bag.split(list(n)) for bag, n in zip(patients.bags, patients.slides, strict=True)]
    drawn = [
        _figure(say, tuple(slides[k % len(slides)] for slides in parts), patients, classes)
        for k in range(most)
    ]
    one = float(np.mean(drawn))
    if not np.isfinite([whole, one]).all():
        return {}
    name = "auc" if classes else "c_index"
    return {
        f"{name}_all_slides": whole,
        f"{name}_one_slide": one,
        "one_slide_costs": whole - one,
        "patients_with_several_slides": float(sum(len(n) > 1 for n in patients.slides)),
    }


def _figure(
    say: Say, bags: tuple[Tensor, ...], patients: Patients, classes: tuple[str, ...]
) -> float:
    with torch.inference_mode():
        said = [say(bag) for bag in bags]
    if classes:
        columns = [[float(one[f"probability_{label}"][0]) for one in said] for label in classes]
        found = metrics.class_figures(patients.label.numpy(), np.array(columns).T)
        return found["auc"]
    outcome = metrics.Outcome(patients.time.double().numpy(), patients.event.numpy().astype(bool))
    return metrics.concordance(outcome, np.array([float(one["risk"][0]) for one in said]))
