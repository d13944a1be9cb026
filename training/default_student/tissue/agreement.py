"""How far the roles agree with their teachers on tiles that are held; the only figure to choose by.

No tile of patient B, of the colon or of the test groups is among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.default_student.tissue.student import TissueEncoder

if TYPE_CHECKING:
    from training.default_student.tissue.learn import Fit

ASKED = ("lung", "slides")
"""Sources of which the second teacher is asked."""
_AT_ONCE = 256
Figures = dict[str, float]


def all_roles(fit: Fit) -> dict[str, Figures]:
    """By role: same class as the second teacher, lung label, and epithelium of section C6."""
    found = {}
    for role, model in fit.models.items():
        model.eval()
        with torch.no_grad():
            found[role] = _figures(fit, model)
        model.train()
    return found


def _figures(fit: Fit, model: TissueEncoder) -> Figures:
    figures = {}
    for name in ASKED:
        own, tumor = _said(fit, model, name)
        taught = fit.held_answers[name]
        figures[f"{name}: same class as the teacher"] = _mean(own.argmax(1) == taught.argmax(1))
        if name == "lung":
            truth = fit.shelf.known["tumor"][fit.shelf.held[name].to(fit.device)]
            figures["lung: tumor told right"] = _mean((tumor > 0) == (truth > 0.5))
    _, tumor = _said(fit, model, "spots")
    rows = fit.shelf.held["spots"].to(fit.device)
    epithelium = fit.shelf.known["tumor"][rows]
    figures["C6: rank correlation of tumor with epithelium"] = _ranked(tumor, epithelium)
    drawn, _ = _said(fit, model, "drawn")
    shown = fit.shelf.known["classes"][fit.shelf.held["drawn"].to(fit.device)]
    known = ~torch.isnan(shown[:, 0])
    figures["drawn: class told right"] = _mean(drawn[known].argmax(1) == shown[known].argmax(1))
    return figures


def _said(fit: Fit, model: TissueEncoder, name: str) -> tuple[Tensor, Tensor]:
    """Class logits and logits of tumor of the held tiles of a source."""
    own, tumor = [], []
    for rows in fit.shelf.held[name].split(_AT_ONCE):
        learned = model.learned(model.scaled(fit.shelf.plain(rows)))
        own.append(model.classes(learned))
        tumor.append(model.tumor(learned)[:, 0])
    return torch.cat(own), torch.cat(tumor)


def taught(fit: Fit) -> dict[str, Tensor]:
    """Classes [N, 9] of the held tiles by the second teacher, by source."""
    return {
        name: torch.cat(
            [fit.ask(fit.shelf.plain(rows))[1] for rows in fit.shelf.held[name].split(_AT_ONCE)]
        )
        for name in ASKED
    }


def _mean(right: Tensor) -> float:
    return round(float(right.float().mean()), 4)


def _ranked(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation; ties by order, which are few."""
    ranks = torch.stack([values.argsort().argsort().float() for values in (first, second)])
    return round(float(torch.corrcoef(ranks)[0, 1]), 4)
