"""What the tables say a role needs of a patient is what moves its answer, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from training_patients import CLASSES, OS, split  # noqa: E402

from training.learning.bags import Patients  # noqa: E402
from training.learning.fitted import Score  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.learning.split import Split  # noqa: E402
from training.methods.baselines import method as baselines  # noqa: E402
from training.methods.baselines import multimodal, transmil  # noqa: E402
from training.methods.crossfit import method as crossfit  # noqa: E402
from training.methods.disentangled import method as disentangled  # noqa: E402
from training.methods.ghanet import method as ghanet  # noqa: E402
from training.methods.mkd import method as mkd  # noqa: E402
from training.methods.registry import METHODS  # noqa: E402
from training.runs.references import references  # noqa: E402
from training.scoring.naming import TEACHERS_NEED, RowName  # noqa: E402

PLAIN = baselines.Settings(epochs=2, lr=1e-2, hidden=8, l1=0)
QUICK: dict[str, Any] = {
    "abmil": PLAIN,
    "clam": PLAIN,
    "coxnet": METHODS["coxnet"].settings,
    "crossfit": crossfit.Settings(epochs=0),
    "disentangled": disentangled.Settings(
        epochs=1, twin_epochs=1, teacher_epochs=1, window=32, cross_fit=0, gene_lists="groups"
    ),
    "ghanet": ghanet.Settings(epochs=1, hidden=16, heads=2, twin=True),
    "late-fusion": PLAIN,
    "mcat": multimodal.Settings(epochs=2, lr=2e-3, width=32),
    "meanpool": PLAIN,
    "mkd": replace(mkd.adapted(), epochs=1, token=6),
    "moments": METHODS["moments"].settings,
    "pooled": METHODS["pooled"].settings,
    "snn": PLAIN,
    "transmil": transmil.Settings(epochs=1, lr=1e-3, width=16, heads=2),
}
OF_CLASSES = ("mkd", "moments")


def _other_slides(patients: Patients) -> Patients:
    bags = tuple(3 + 2 * torch.flip(bag, (1,)) for bag in patients.bags)
    return replace(patients, bags=bags)


def _other_genes(patients: Patients) -> Patients:
    return replace(patients, genes=torch.flip(patients.genes, (0, 1)))


def _other_clinic(patients: Patients) -> Patients:
    clinical = torch.flip(patients.privileged["clinical"], (0,))
    return replace(patients, age=torch.flip(patients.age, (0,)), privileged={"clinical": clinical})


CHANGES: dict[str, Callable[[Patients], Patients]] = {
    "WSI": _other_slides, "genes": _other_genes, "clinic": _other_clinic,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def answers(name: str, given: Split, folder: Path) -> dict[str, np.ndarray]:
    """Role -> what it says of the outer fold, of the method and of what stands beside it."""
    with Journal(folder) as journal:
        fitted = METHODS[name].fit(given, QUICK[name], 0, journal)
        scores = references(given, fitted, 0, journal) | fitted.scores
    return {role: _said(score) for (role, rule), score in scores.items() if rule == "inner"}


def _said(score: Score) -> np.ndarray:
    found = score.risk if score.probability is None else score.probability
    assert found is not None
    return found


@pytest.mark.parametrize("name", QUICK)
def test_a_role_is_moved_by_what_it_needs_and_by_nothing_else(name: str, tmp_path: Path) -> None:
    given = split(CLASSES if name in OF_CLASSES else OS)
    groups = (*given.genes.groups, ("Cell Differentiation Markers", (9, 10, 11)))
    given = replace(given, genes=replace(given.genes, groups=groups))
    before = answers(name, given, tmp_path / "before")
    moved: dict[str, set[str]] = {role: set() for role in before}
    for what, change in CHANGES.items():
        after = answers(name, replace(given, test=change(given.test)), tmp_path / what)
        for role, said in after.items():
            if not np.allclose(said, before[role], atol=1e-6, rtol=0):
                moved[role].add(what)
    for role, what in moved.items():
        needs = RowName(name, role).needs.replace("age", "clinic")
        assert {word for word in CHANGES if word in needs} == what, f"{name}: {role}"


def test_a_label_with_settings_needs_what_its_method_needs() -> None:
    assert RowName("moments (labels_c=0.1)", "teacher").needs == "genes"
    assert RowName("crossfit-pan (epochs=0)", "teacher").needs == TEACHERS_NEED["crossfit"]
    assert RowName("mkd (epochs=2)", "teacher").needs == "WSI + genes"
    assert RowName("moments", "student").needs == "WSI"
