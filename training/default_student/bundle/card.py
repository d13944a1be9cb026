"""The model card: a page to read, then tables; and the sentences that a report says first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.default_student.bundle.figures import SHOWN
from training.default_student.bundle.held import Figure
from training.default_student.bundle.manifest import VERSION
from training.default_student.bundle.outputs import FLOOR, THRESHOLD, TISSUES
from training.default_student.bundle.said import Floats
from training.default_student.tissue.densenet import CLASSES


@dataclass(frozen=True)
class OfRole:
    """What was measured of student, twin, null or teacher."""

    agreement: Sequence[Figure]
    figures: Sequence[Figure]
    colon: Floats
    """[32, 9] logits of the colon tiles."""


@dataclass(frozen=True)
class Told:
    """All that the card tells."""

    ships: str
    roles: Mapping[str, OfRole]
    teacher: OfRole
    truth: NDArray[np.int64]
    """[32] index into CLASSES."""
    temperatures: tuple[float, float]
    calibration: tuple[float, float]
    spots: int
    errors: Mapping[str, float]
    limit: float
    flagged: float
    """Share of slides of held tiles that lie beyond the limit."""
    log: Mapping[str, Any]

    @property
    def shipped(self) -> OfRole:
        """The role in the bundle."""
        return self.roles[self.ships]

    def named(self, figure: str, subgroup: str) -> Figure:
        """A figure of the shipped role."""
        every = (*self.shipped.figures, *self.shipped.agreement)
        return next(f for f in every if (f.figure, f.subgroup) == (figure, subgroup))

    def right(self, role: OfRole) -> NDArray[np.bool_]:
        """[32] colon tiles whose tissue was told."""
        told: NDArray[np.bool_] = role.colon.argmax(axis=1) == self.truth
        return told


def limits(told: Told) -> list[str]:
    """What a report says before any number."""
    right, stroma = told.right(told.shipped), told.truth == CLASSES.index("STR")
    accuracy = told.named("tumor accuracy", "colon")
    wrong = round((1 - accuracy.value) * accuracy.count)
    return [
        "Both maps are those of a small classifier of tiles. They say nothing of the outcome, the "
        "grade or the spread of a disease.",
        f"Classes of tissue were compared with the truth on {len(right)} colorectal tiles alone: "
        f"{right.sum()} were right. Of {stroma.sum()} tiles of stroma {right[stroma].sum()} was "
        f"told as such; the others were taken for {_instead(told, 'STR') or 'nothing else'}. A "
        "tumor-stroma ratio may be far too high.",
        "The tumor map was taught on lung and breast. On colorectal tiles it is wrong on "
        f"{wrong} of {accuracy.count}: mucosa, stroma, muscle and debris are called tumor. The "
        "class of tumor epithelium is the better one there. On skin it called benign epidermis "
        "tumor: on other organs than these three it is not given.",
        "Benign epithelium, carcinoma in situ and invasive carcinoma are not told apart. How well "
        "it does on other stains and scanners is not known.",
    ]


def card(told: Told) -> str:
    """Markdown by the words of card.md."""
    text = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    log, teacher = told.log, told.teacher
    return text.format(
        version=VERSION,
        threshold=THRESHOLD,
        floor=FLOOR,
        colon_right=told.right(told.shipped).sum(),
        teacher_right=told.right(teacher).sum(),
        class_accuracy=_interval(told.named("tissue class accuracy", "colon")),
        class_auc=_interval(told.named("tumor AUC by tissue class", "colon")),
        breast_auc=_interval(told.named("tumor AUC", "breast")),
        breast_spearman=_interval(told.named("Spearman with epithelium", "breast")),
        colon_auc=_interval(told.named("tumor AUC", "colon")),
        colon_accuracy=_interval(told.named("tumor accuracy", "colon")),
        lung_auc=_interval(told.named("tumor AUC", "lung")),
        ships=told.ships,
        means=", ".join(f"{name} {_mean(role):.3f}" for name, role in told.roles.items()),
        figures=_figures(told),
        tissues=_tissues(told),
        roles=_roles(told),
        slope=told.calibration[0],
        intercept=told.calibration[1],
        spots=told.spots,
        tumor_temperature=told.temperatures[0],
        class_temperature=told.temperatures[1],
        limit=told.limit,
        flagged=told.flagged,
        steps=log["steps"],
        batch=log["batch"],
        seconds=log["seconds"],
        device=log["device"],
        seed=log["seed"],
    )


def _mean(role: OfRole) -> float:
    return float(np.mean([row.value for row in role.agreement]))


def _interval(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _figures(told: Told) -> str:
    """What is shipped: each figure with whom and how many."""
    return "\n".join(
        f"| {row.figure} | {_interval(row)} | {row.subgroup} | {row.count} | {row.data} |"
        for row in (*told.shipped.figures, *told.shipped.agreement)
    )


def _tissues(told: Told) -> str:
    """Colon tiles told right by tissue and role, what the shipped role took them for instead, and
    how far a share is off."""
    roles = {**told.roles, "teacher": told.teacher}
    lines = [
        f"| tissue | {' | '.join(roles)} | taken for instead | 95 % of shares within |",
        "|---|" + "---|" * (len(roles) + 2),
    ]
    for name in SHOWN:
        rows = told.truth == CLASSES.index(name)
        counts = [f"{told.right(role)[rows].sum()} of {rows.sum()}" for role in roles.values()]
        instead, error = _instead(told, name) or "-", f"{told.errors[name]:.3f}"
        lines.append(f"| {_meaning(name)} | {' | '.join(counts)} | {instead} | {error} |")
    sums = [f"{told.right(role).sum()} of {len(told.truth)}" for role in roles.values()]
    return "\n".join([*lines, f"| all | {' | '.join(sums)} | | |"])


def _instead(told: Told, name: str) -> str:
    """What the shipped role took colon tiles of this tissue for; empty where all were right."""
    own = told.shipped.colon.argmax(axis=1)[told.truth == CLASSES.index(name)]
    others = [CLASSES[at] for at in own if CLASSES[at] != name]
    return ", ".join(
        f"{_meaning(other)} ({others.count(other)})" for other in dict.fromkeys(others)
    )


def _meaning(name: str) -> str:
    return TISSUES[name]["meaning"].lower()


def _roles(told: Told) -> str:
    """Every figure of every role beside each other."""
    roles = {**told.roles, "teacher": told.teacher}
    by_role = {
        name: {(row.figure, row.data): row for row in (*role.figures, *role.agreement)}
        for name, role in roles.items()
    }
    lines = [f"| figure | data | {' | '.join(roles)} |", "|---|---|" + "---|" * len(roles)]
    for figure, data in by_role[told.ships]:
        cells = (
            _interval(rows[figure, data]) if (figure, data) in rows else "-"
            for rows in by_role.values()
        )
        lines.append(f"| {figure} | {data} | {' | '.join(cells)} |")
    return "\n".join(lines)
