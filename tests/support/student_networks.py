"""Every method's student as it is exported, untrained: compilers ask for shapes, not for sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from training_patients import CLASSES, OS, WIDTH, drawn

from training.cohorts.material import Task
from training.learning.calibrate import calibrated
from training.learning.deployed import INSTANCE_AXIS, Deployed
from training.learning.graphs import write_graph
from training.methods.baselines import method as baselines
from training.methods.crossfit import network as crossfit
from training.methods.disentangled import student as disentangled
from training.methods.ghanet import genes as ghanet_genes
from training.methods.ghanet import method as ghanet
from training.methods.mkd import networks as mkd
from training.methods.moments import network as moments

REFERENCES = {
    "transmil", "snn", "mcat", "late-fusion", "age", "clinical", "coxnet",
}  # fmt: skip
"""Methods that have no student to export."""
_SLIDE_NETWORKS = {
    "meanpool": baselines.MeanPool, "abmil": baselines.Abmil, "clam": baselines.ClamSb,
}  # fmt: skip


def _baseline(name: str, task: Task) -> nn.Module:
    out = 4 if task is OS else 2
    return baselines.Student(_SLIDE_NETWORKS[name](WIDTH, out, baselines.Settings()), task)


def _ghanet() -> nn.Module:
    groups = tuple(ghanet_genes.Group(n, (0, 1, 2), ("", "", "")) for n in ("first", "second"))
    return ghanet.SlideStudent(ghanet.build(WIDTH, groups, ghanet.Settings()), groups)


def _crossfit(*, linear: bool = False) -> nn.Module:
    branch = crossfit.AttentionBranch(torch.randn(50, WIDTH), 2, crossfit.Widths())
    if linear:
        branch.silence()
    rest = torch.randn(WIDTH, 2), torch.zeros(WIDTH), torch.ones(WIDTH)
    network = crossfit.SlideRisk(branch, *rest).eval()
    network.fit_scales(drawn(10))
    return crossfit.SlideStudent(network)


def _disentangled(side: int, *, survives: bool) -> nn.Module:
    shape = disentangled.Shape(WIDTH, 4 if survives else 2, side=side, ratio=2 / side**2)
    return disentangled.SlideStudent(disentangled.Student(shape), survives=survives)


def _mkd(settings: mkd.Settings) -> nn.Module:
    return mkd.SlideStudent(mkd.Student(WIDTH, settings))


def _moments(*, cap: float | None) -> nn.Module:
    size = 2 * WIDTH
    drawn_weights = np.random.default_rng(0).normal(size=(size, 2))
    return moments.MomentsStudent(np.zeros(size), np.ones(size), drawn_weights, np.zeros(2), cap)


STUDENTS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "ghanet": (_ghanet, ()),
    "crossfit": (_crossfit, ()),
    "crossfit linear": (lambda: _crossfit(linear=True), ()),
    "disentangled survival": (lambda: _disentangled(8, survives=True), ()),
    "disentangled classes": (lambda: _disentangled(8, survives=False), CLASSES.classes),
    "disentangled published": (lambda: _disentangled(50, survives=True), ()),
    "mkd": (lambda: _mkd(mkd.Settings()), ("negative", "positive")),
    "mkd moments": (
        lambda: _mkd(mkd.Settings(pooling="attention+moments", standardize=True)),
        ("negative", "positive"),
    ),
    "moments": (lambda: _moments(cap=4.0), CLASSES.classes),
    "pooled": (lambda: _moments(cap=None), CLASSES.classes),
    **{f"{name} survival": (lambda name=name: _baseline(name, OS), ()) for name in _SLIDE_NETWORKS},
    **{
        f"{name} classes": (lambda name=name: _baseline(name, CLASSES), CLASSES.classes)
        for name in _SLIDE_NETWORKS
    },
}
"""Label, beginning with the method's name -> its network, and the classes it tells apart."""


def deployed(label: str) -> tuple[Deployed, Tensor]:
    """The student, calibrated, behind the names of its outputs; features [37, WIDTH] of a slide."""
    make, classes = STUDENTS[label]
    torch.manual_seed(0)
    example = torch.randn(37, WIDTH)
    student, _ = calibrated(make().eval(), drawn(8), "classification" if classes else "survival")
    return Deployed(student, classes, example).eval(), example


def write(label: str, folder: Path) -> Path:
    """Its graph, as a finished unit has it."""
    module, example = deployed(label)
    axes = {name: {axis: "N"} for name, axis in INSTANCE_AXIS.items() if name in module.names}
    return write_graph(
        "student", module, (example,), folder, inputs=["features"], outputs=module.names,
        dynamic={"features": {0: "N"}} | axes,
    )  # fmt: skip
