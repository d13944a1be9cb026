"""The model card of an exported student, from what the run measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training.bundle.classes.figures import calibrated_of
from training.bundle.figures.measured import Scored
from training.bundle.figures.subgroups import table
from training.bundle.told.origin import of_everybody, trained_on
from training.bundle.told.student import Student
from training.methods.registry import better_recipe
from training.scoring.resample import Interval

_TEXT = """# {name}

{method} student, task {task}, cohort {cohort}. Research only: not for diagnosis, prognosis or
treatment. {recipe}

## What it says

{says}

{heatmap}

## How well

{figures}

{unit_of_use}

{trained}

{correlations}

{parts}
## Calibration

Probabilities were recalibrated (one scale, one shift per {unit}) on {validation}: loss
{before:.3f} before, {after:.3f} after. {order}

## Data

Cohort `{cohort}`, {patients} patients{beside}, digest `{digest}`. Left out: {dropped}.

## Limitations

- {trained_on}. No external cohort was used.
- {site}
- A slide farther than {limit:.2f} from the training slides is unlike them. A report says so only
  where the manifest states how often that was right (`dicom-train ood`).
- {beside_kind}
{magnifications}- Weights carry the licence terms of the data and features they were trained on.
"""

_HEATMAP = {
    False: "Heatmap: attention relative to uniform. It shows where the model looked, not where "
    "tumor is.",
    True: "Heatmap: none worth the name. The student weighs all tiles alike, its attention is "
    "even, and the map is of one value.",
}
"""By whether its attention is even."""


def card(student: Student, name: str) -> str:
    """Markdown text from `run.json`, `unit.json` and the figures over all folds."""
    run, unit = student.run, student.unit
    survival = "risk" in unit["student_outputs"]
    facts = unit["facts"]
    return _TEXT.format(
        name=name,
        method=run["method"],
        task=run["task"],
        cohort=run["cohort"],
        recipe=_recipe(run),
        says=_says(student),
        figures="\n".join(
            (
                *(_figure(student, scored) for scored in student.figures),
                *_named(student),
            )
        ),
        trained=_of_everybody(student) if student.is_of_everybody else _of_a_fold(unit),
        unit_of_use=_unit_of_use(student),
        beside=f" and {run['patients_beside']} beside it in training"
        if run.get("patients_beside")
        else "",
        validation=_validation(student),
        correlations="\n".join(
            f"- {key.replace('_', ' ')}: {value:.3f}"
            for key, value in sorted(facts.items())
            if "correlation" in key
        ),
        unit="time bin" if survival else "class",
        order="The order of risks is as it was before."
        if survival
        else "The figure above is of the recalibrated probabilities.",
        before=facts["inner_loss"],
        after=facts["inner_loss_calibrated"],
        patients=run["patients"],
        digest=run["cohort_digest"],
        dropped="; ".join(f"{count} {why}" for why, count in run["dropped"].items()) or "nobody",
        trained_on=trained_on(run),
        heatmap=_HEATMAP[student.attention_is_even],
        magnifications=_magnifications(student),
        site=_sites(student),
        limit=student.reference["limit"],
        parts=table(student.parts, "C-index" if survival else "AUC"),
        beside_kind="Measured on both kinds of folds."
        if student.beside
        else f"Measured on {run['kind']} folds alone (`export --beside` shows the others).",
    )


def _magnifications(student: Student) -> str:
    """What the student reads of a slide, where its method is made for two magnifications."""
    if student.coarse_mpp is not None:
        (first,) = {made["mpp"] for made in student.run["features"]}
        return (
            f"- It reads two magnifications of a slide, {first:g} and {student.coarse_mpp:g} um a "
            "pixel, in training as in the node; the heatmap shows the finer.\n"
        )
    if student.run.get("second_magnification") == "derived":
        return (
            "- Made for two magnifications; the second is derived from the first (the mean of four "
            "neighbors in the list of regions) and holds nothing that the first does not.\n"
        )
    return ""


def _unit_of_use(student: Student) -> str:
    """What a node shows it, that the figures above are of just that, and what one slide costs."""
    use = student.use
    shown = {
        "slide": "A node shows it one slide (unit `slide`)",
        "case": "A node shows it all slides of a study together (unit `case`)",
    }[use.unit]
    if use.other is None or use.cost is None:
        return f"{shown}. Every patient of the cohort has one slide" + (
            ": nothing is known of several together." if use.unit == "case" else "."
        )
    name = "C-index" if student.survival else "AUC"
    scored, other = {
        "slide": ("on the first slide of each patient alone", "on all slides of each patient"),
        "case": ("on all slides of each patient", "on the first slide of each patient alone"),
    }[use.unit]
    return (
        f"{shown}. The figures are those {scored}; {other} the {name} is {_told(use.other)}. All "
        f"slides minus one: {use.cost.value:+.3f} ({use.cost.low:+.3f} to {use.cost.high:+.3f}). "
        "It was trained and calibrated on all slides of a patient together."
    )


def _told(figure: Interval) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _recipe(run: Mapping[str, Any]) -> str:
    """What measured best for the task, on the cohorts where that was asked (LOG.md)."""
    best = better_recipe(run["task"], run["method"])
    if best is None:
        return ""
    return f"On published cohorts another method measured better for {run['task']}: {best}."


_SHARED = {True: "sites are shared between training and test", False: "no site is shared"}
"""Of the folds of a figure."""


def _sites(student: Student) -> str:
    sites, kind = student.sites, student.run["kind"]
    if not sites.are_shared:
        return f"The {kind} folds share no tissue source site."
    some = f"{sites.counted} " if sites.counted else ""
    return f"The {kind} folds share {some}tissue source sites: part of the figure may be the site."


def _figure(student: Student, scored: Scored) -> str:
    name, figure = "C-index" if student.survival else "AUC", scored.figure
    return (
        f"- {name} on the outer {scored.kind} folds ({_SHARED[scored.sites.are_shared]}): "
        f"{figure.value:.3f} (95 % interval over patients {figure.low:.3f} to "
        f"{figure.high:.3f}; {scored.measured.told})."
    )


def _named(student: Student) -> Iterator[str]:
    """How good it is at naming a class."""
    found = student.of_classes
    if found is None:
        return
    for name, one in found.rows(student.floor):
        yield f"- {name}: {one.value:.3f} ({one.low:.3f} to {one.high:.3f})."
    for fold, absent in found.lacking.items():
        names = ", ".join(student.run["classes"][at] for at in absent)
        yield (
            f"- Fold {fold} holds nobody of class {names}: what it adds to these means is of the "
            "other classes alone."
        )


def _validation(student: Student) -> str:
    unit = student.unit
    if student.is_of_everybody:
        return (
            f"{unit['patients']['outer']} patients, each as a student that had not seen the "
            "patient said it"
        )
    by = "" if unit["epoch_is_chosen"] else ", by a student that had not seen them"
    return (
        f"the {unit['patients']['inner_validation']} inner validation patients, each counted "
        f"once{by}"
    )


def _of_everybody(student: Student) -> str:
    """Only what was measured out of fold: nothing is known of this very student."""
    training = student.unit["patients"]["inner_training"]
    validation = student.unit["patients"]["inner_validation"]
    chosen = (
        f"trained on {training}, its epoch chosen on {validation} others"
        if student.unit["epoch_is_chosen"]
        else "trained on all, no epoch was chosen"
    )
    fitted, given = of_everybody(student)
    whom = f"everybody, {given}" if fitted == given else f"{fitted} of all {given}"
    return (
        f"The student in this bundle was fitted after that on {whom} "
        f"patients ({chosen}; seed {student.unit['seed']}). The figures are those of the students "
        "of the folds, each on patients it had not seen; this one could be scored by other "
        "patients alone."
    )


def _of_a_fold(unit: Mapping[str, Any]) -> str:
    return f"The student in this bundle is that of fold {unit['fold']}, seed {unit['seed']}. " + (
        _trained(unit)
    )


def _trained(unit: Mapping[str, Any]) -> str:
    training = unit["patients"]["inner_training"]
    validation = unit["patients"]["inner_validation"]
    if unit["epoch_is_chosen"]:
        return (
            f"It was trained on {training} patients; its epoch was chosen on {validation} others."
        )
    return f"It was trained on {training + validation} patients; no epoch was chosen."


def _says(student: Student) -> str:
    run, unit, found = student.run, student.unit, student.of_classes
    if student.survival:
        months = ", ".join(f"{edge:.1f}" for edge in unit["edges_months"][1:])
        return (
            f"Risk of death (higher is worse) and the probability of living past {months} months."
        )
    known = "not known."
    if found is not None and found.calibration is not None:
        slope, intercept = found.calibration
        known = (
            f"slope {slope:.2f}, intercept {intercept:.2f} (1 and 0 would be perfect), "
            f"{found.patients} patients."
        )
    return (
        "A probability for each of: " + ", ".join(run["classes"]) + ". The most probable one is "
        f"named where it has {100 * student.floor:g} % or more. No other class can be found.\n\n"
        f"Calibration of the probabilities out of fold, {calibrated_of(run['classes'])}: {known}"
    )
