"""On what a student was trained and measured, in the words of its card and of its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.bundle.told.student import Student

_EVERYBODY = (
    "Fitted on {patients} of its cohort: its figures are those of students like it, each on "
    "patients it had not seen."
)
_DERIVED = (
    "Made for two magnifications; the second was derived from the first, in training as here."
)


def trained_on(run: Mapping[str, Any]) -> str:
    """The cohorts that taught the student, and the one that measured it; no full stop."""
    together = _together(run)
    if not together:
        return "Trained and measured on one cohort"
    return f"Trained on cohorts {', '.join(together)}; measured on {run['cohort']}"


def limits(student: Student) -> list[str]:
    """What a report of a node has to say of the student, sentences."""
    run = student.run
    others = "others" if _together(run) else "another"
    return [
        f"{trained_on(run)}; nothing is known of slides of {others}.",
        _hospitals(student),
        *([_EVERYBODY.format(patients=_all(student))] if student.is_of_everybody else []),
        *([_DERIVED] if run.get("second_magnification") == "derived" else []),
        *student.use.limits,
    ]


def of_everybody(student: Student) -> tuple[int, int]:
    """Patients whom a student of everybody was fitted on, and how many its method was given: one
    that needs genes leaves out who has none."""
    counts, run = student.unit["patients"], student.run
    fitted = counts["inner_training"] + counts["inner_validation"]
    return fitted, run["patients"] + run.get("patients_beside", 0)


def _all(student: Student) -> str:
    fitted, given = of_everybody(student)
    return "all patients" if fitted == given else f"{fitted} of all {given} patients"


def _hospitals(student: Student) -> str:
    if not student.sites.are_shared:
        return "Training and test patients share no hospital."
    some = f" ({student.sites.counted})" if student.sites.counted else ""
    return f"Training and test patients share hospitals{some}: part of the figures may be that."


def training_data(student: Student) -> list[str]:
    """Whose data the weights come from: the student's own cohort first."""
    run, counts = student.run, student.unit["patients"]
    training, validation = counts["inner_training"], counts["inner_validation"]
    beside = run.get("patients_beside")
    more = f" and {beside} beside it in training" if beside else ""
    whole = f"cohort {run['cohort']}, {run['patients']} patients{more}, {run['kind']} folds"
    which = "everybody" if student.is_of_everybody else f"fold {student.unit['fold']}"
    parts = f"the student of {which} learned from " + (
        f"{training}, its epoch was chosen on {validation} others"
        if student.unit["epoch_is_chosen"]
        else f"{training + validation}"
    )
    others = {name: digest for name, digest in _together(run).items() if name != run["cohort"]}
    return [
        f"{whole}; {parts}",
        *(f"cohort {name}, digest {digest}; its training patients taught heads that all cohorts "
          "share" for name, digest in others.items()),
    ]  # fmt: skip


def _together(run: Mapping[str, Any]) -> dict[str, str]:
    """Name -> digest of all cohorts that taught it together (`dicom-train pan`); empty for one."""
    said = run["settings"].get("pan") or ""
    words = [word.rsplit(maxsplit=1) for word in said.split(", ") if word]
    return {name: digest for name, digest in words}
