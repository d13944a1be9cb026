"""The methods by name: how each is fitted and what can be set.

To add a method: a folder whose `method.py` holds `Settings` (with `epochs`) and `fit`, and one line
in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, get_type_hints

from training.errors import TrainingError
from training.learning.fitted import Fitted
from training.learning.journal import Journal
from training.learning.split import Split
from training.methods.baselines import linear, multimodal, transmil
from training.methods.baselines import method as baselines
from training.methods.crossfit import method as crossfit
from training.methods.disentangled import method as disentangled
from training.methods.ghanet import method as ghanet
from training.methods.mkd import method as mkd
from training.methods.moments import method as moments


@dataclass(frozen=True)
class Method:
    """A way to fit one fold with one seed, and its settings."""

    fit: Callable[[Split, Any, int, Journal], Fitted]
    settings: Any
    """The defaults: a frozen dataclass of numbers, words and switches."""
    published: Callable[[str], Any] | None = None
    """Task -> the settings as published, where `settings` are adapted to the data at hand."""
    task: str = "os"
    """The task it was made for, taken where none is asked for."""
    reads_second: bool = False
    """Whether it reads a second magnification; where there is none it derives one."""


METHODS: dict[str, Method] = {
    "ghanet": Method(ghanet.fit, ghanet.Settings()),
    "disentangled": Method(
        disentangled.fit,
        disentangled.Settings(),
        published=disentangled.published,
        reads_second=True,
    ),
    "mkd": Method(
        mkd.fit,
        mkd.adapted(),
        published=lambda task: mkd.published(),
        task="er",
    ),
    "crossfit": Method(crossfit.fit, crossfit.Settings()),
    "moments": Method(moments.fit, moments.Settings(), task="er"),
    "meanpool": Method(partial(baselines.fit, "meanpool"), baselines.Settings()),
    "abmil": Method(partial(baselines.fit, "abmil"), baselines.Settings()),
    "clam": Method(partial(baselines.fit, "clam"), baselines.Settings()),
    "transmil": Method(transmil.fit, transmil.Settings()),
    "snn": Method(partial(baselines.fit, "snn"), baselines.Settings()),
    "mcat": Method(multimodal.fit_mcat, multimodal.Settings()),
    "late-fusion": Method(multimodal.fit_late_fusion, baselines.Settings()),
    "age": Method(linear.fit_age, linear.Settings()),
    "clinical": Method(linear.fit_clinical, linear.Settings()),
    "coxnet": Method(linear.fit_genes, linear.Settings()),
    "pooled": Method(linear.fit_pooled, linear.Settings()),
}


def _needs_several(split: Split, settings: Any, seed: int, journal: Journal) -> Fitted:
    raise TrainingError(
        f"method crossfit-pan: found one cohort ({split.cohort}), expected several at once; use "
        "dicom-train pan"
    )


SEVERAL: dict[str, Method] = {"crossfit-pan": Method(_needs_several, crossfit.Settings())}
"""Methods that learn from several cohorts at once: `dicom-train pan`."""


RECIPES = {
    "os": "crossfit",
    "er": "moments",
    "pr": "moments",
    "her2": "moments",
    "grading": "moments",
    "diagnosis": "pooled",
}
"""Task -> the method that is fitted where none is named: the best that was measured for it on inner
splits, whether or not it is one of the three that the project was made for (LOG.md)."""


def recipe(task: str) -> str:
    """The method for `task`; a task of one's own has none: raises TrainingError."""
    if task not in RECIPES:
        raise TrainingError(
            f"found task {task!r} and no method, expected a task with a recipe "
            f"({', '.join(sorted(RECIPES))}) or the name of a method"
        )
    return RECIPES[task]


def better_recipe(task: str, name: str) -> str | None:
    """The recipe of `task` where it is another than the method `name`; one of pan is its kin."""
    best = RECIPES.get(task)
    return None if best is None or name.startswith(best) else best


def method(name: str) -> Method:
    """The method called `name`; raises TrainingError listing the names there are."""
    known = METHODS | SEVERAL
    if name not in known:
        raise TrainingError(f"found method {name!r}, expected one of {', '.join(sorted(known))}")
    return known[name]


def with_settings(defaults: Any, given: dict[str, str]) -> Any:
    """`defaults` with the values of `key=value` words; raises TrainingError for others."""
    types = get_type_hints(type(defaults))
    names = {field.name for field in fields(defaults)}
    if unknown := sorted(set(given) - names):
        raise TrainingError(
            f"found setting {unknown[0]!r}, expected one of {', '.join(sorted(names))}"
        )
    found = {name: _value(name, text, types[name]) for name, text in given.items()}
    for name, value in found.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            _refuse_out_of_range(
                name, value, 0 if defaults.epochs == 0 else _least_epochs(defaults)
            )
    return replace(defaults, **found)


def _least_epochs(defaults: Any) -> int:
    """0 where a method has something without its network: linear heads."""
    return 0 if isinstance(defaults, crossfit.Settings) else 1


def _refuse_out_of_range(name: str, value: float, epochs: int) -> None:
    """TrainingError for a number with which a network learns nothing, or is none."""
    low, below = 0.0, float("inf")
    if name.endswith("epochs") and name != "min_epochs":
        low = epochs
    elif name in _SIZES:
        low = 1
    elif name.endswith("lr"):
        low = 1e-12
    elif name.endswith("dropout"):
        below = 1.0
    if not low <= value < below:  # no number at all is neither
        said = (
            f"{low:g} and more" if below == float("inf") else f"{low:g} and more, below {below:g}"
        )
        raise TrainingError(f"setting {name}: found {value}, expected {said}")


_SIZES = frozenset(
    ("hidden", "heads", "width", "attention", "window", "side", "members", "landmarks",
     "iterations", "token", "genes", "fusion", "columns", "instances", "crossfit_folds")
)  # fmt: skip
"""Settings of which a network has one at least."""


def _value(name: str, text: str, kind: Any) -> object:
    if kind is bool:
        if text not in ("true", "false"):
            raise TrainingError(f"setting {name}: found {text!r}, expected true or false")
        return text == "true"
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise TrainingError(f"setting {name}: found {text!r}, expected {expected}") from None
