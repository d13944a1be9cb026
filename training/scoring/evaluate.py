"""`dicom-train evaluate`: what the runs scored, beside every floor, with intervals.

Rows are a role of a method, columns a cohort under one kind of folds. Both rules of choosing the
epoch are kept; "inner" comes first. Floors and controls that no run holds stay as empty cells: the
report says "not run".
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import TrainingError
from training.scoring import cells, metrics, resample, runs
from training.scoring.cells import Series
from training.scoring.comparisons import RULES, Difference, Row, differences, row
from training.scoring.focus import Focus, focus
from training.scoring.naming import ROLES, row_names
from training.scoring.places import Column, Place, gather, method_labels, mixed_rows
from training.scoring.published import PublishedRow, published_rows
from training.scoring.resample import NoiseFloor
from training.scoring.runs import Run, Unit


@dataclass(frozen=True)
class Facts:
    """A number the method reported, mean and sd over folds (of the mean over seeds)."""

    method: str
    """As in the rows: with the settings that tell it from another run of the method."""
    column: Column
    name: str
    mean: float
    sd: float


@dataclass(frozen=True)
class TaskReport:
    """Everything about one task."""

    task: str
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    noise: Mapping[Column, NoiseFloor]
    training_curve_brier: Mapping[Column, tuple[float, float]]
    focus: tuple[Focus, ...]
    facts: tuple[Facts, ...]
    published: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Evaluation:
    """The report of several runs: what `report.write_json` and `report.write_html` write."""

    created: str
    command: str
    tasks: tuple[TaskReport, ...]
    runs: tuple[tuple[Run, tuple[Unit, ...]], ...]
    warnings: tuple[str, ...]


def evaluate(paths: Sequence[Path], published: Path | None = None) -> Evaluation:
    """Reads the runs and scores them; `published` is the table of other people's results.

    Raises TrainingError for no run, runs without a finished unit, and two runs of one thing.
    """
    read = tuple(runs.read(path) for path in paths)
    if not any(units for _, units in read):
        raise TrainingError(
            f"found no finished unit in {len(paths)} runs, expected some; run dicom-train fit first"
        )
    tasks = sorted(
        {run.task for run, units in read if units}, key=lambda task: (task != "os", task)
    )
    return Evaluation(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=" ".join(["dicom-train", *sys.argv[1:]]),
        tasks=tuple(
            _task(task, [(run, units) for run, units in read if run.task == task], published)
            for task in tasks
        ),
        runs=read,
        warnings=tuple(_warnings(read)),
    )


def _task(
    task: str, read: list[tuple[Run, tuple[Unit, ...]]], published: Path | None
) -> TaskReport:
    classes = read[0][0].classes
    found = gather(read)
    labels = method_labels([run for run, _ in read])
    columns = tuple(sorted({place.column for place in found}))
    drawn = {place: cells.draws(given) for place, given in found.items()}
    made = {place: cells.cell(given, drawn[place]) for place, given in found.items()}
    names = row_names({place.name for place in found})
    main = {place: [fold[found[place].main] for fold in drawn[place].values()] for place in found}
    return TaskReport(
        task=task,
        classes=classes,
        columns=columns,
        rows=tuple(row(name, columns, made, main) for name in names),
        differences=tuple(differences(found, made, main, columns)),
        noise={} if classes else {at: _noise(found, at) for at in columns},
        training_curve_brier={} if classes else {at: _floor(found, at) for at in columns},
        focus=tuple(
            focus(place.name.text, place.column.kind, place.column.cohort, found[place])
            for place in sorted(found, key=lambda place: (place.name, place.column))
            if place.rule == RULES[0] and _in_focus(place, found)
        ),
        facts=tuple(fact for run, units in read for fact in _facts(run, units, labels[run.path])),
        published=published_rows(published, task, sorted({at.cohort for at in columns})),
    )


def _noise(found: Mapping[Place, Series], column: Column) -> NoiseFloor:
    return resample.noise_floor(cells.outcomes(_most(found, column)))


def _floor(found: Mapping[Place, Series], column: Column) -> tuple[float, float]:
    return cells.training_curve_brier(_most(found, column))


def _most(found: Mapping[Place, Series], column: Column) -> Series:
    """The series of a column with the most folds: its outcomes stand for the cohort."""
    at = [given for place, given in found.items() if place.column == column]
    return max(at, key=lambda given: len(given.folds))


def _in_focus(place: Place, found: Mapping[Place, Series]) -> bool:
    """Students; where there is none in a report, the methods themselves."""
    if any(at.name.role == "student" for at in found):
        return place.name.role == "student"
    return place.name.role not in ROLES


def _facts(run: Run, units: Sequence[Unit], label: str) -> list[Facts]:
    result = []
    column = Column(run.kind, run.cohort)
    for name in sorted({name for unit in units for name in unit.facts}):
        folds: dict[int, list[float]] = {}
        for unit in units:
            if name in unit.facts:
                folds.setdefault(unit.fold, []).append(unit.facts[name])
        means = [float(np.mean(values)) for values in folds.values()]
        result.append(Facts(label, column, name, float(np.mean(means)), float(np.std(means))))
    return result


def _tells(run: Run, unit: Unit) -> bool:
    """Whether the main figure of this fold is defined: two patients whose order can be known."""
    if run.classes:
        return len(set(unit.label.tolist())) > 1
    return metrics.comparable(unit.outcome)


def _lacking(run: Run, units: Sequence[Unit]) -> list[str]:
    """Folds that hold several classes but not all, and which of their figures are of fewer."""
    labels = {unit.fold: unit.label for unit in units}
    found = []
    for fold, label in sorted(labels.items()):
        there = set(label.tolist())
        lacks = [name for at, name in enumerate(run.classes) if at not in there]
        if lacks and len(there) > 1:
            found.append(
                f"fold {fold} holds nobody of class {', '.join(lacks)}; its AUC, average "
                f"precision, balanced accuracy, F1 and sensitivity are means over {len(there)} of "
                f"{len(run.classes)} classes (balanced accuracy without skill is "
                f"{1 / len(there):.2f} there, not {1 / len(run.classes):.2f}), and so the means "
                "over folds are of unlike questions"
            )
    return found


def _warnings(read: Sequence[tuple[Run, Sequence[Unit]]]) -> list[str]:
    """What is not complete in a run, run by run, then what is unlike in a row."""
    labels: dict[Path, str] = {}
    mixed: list[str] = []
    for task in sorted({run.task for run, _ in read}):
        of_task = [run for run, _ in read if run.task == task]
        labels |= method_labels(of_task)
        mixed += mixed_rows(of_task)
    return [
        line for run, units in read for line in _incomplete(run, units, labels[run.path])
    ] + mixed


def _incomplete(run: Run, units: Sequence[Unit], label: str) -> list[str]:
    where = f"{label} on {run.cohort} ({run.task}, {run.kind} folds)"
    found = [f"{where}: {name} is unfinished and was not read" for name in run.unfinished]
    scored = {patient for unit in units for patient in unit.patients}
    if run.patients is not None and len(scored) < run.patients:
        folds = ", ".join(str(fold) for fold in sorted({unit.fold for unit in units})) or "none"
        found.append(
            f"{where}: {len(scored)} of {run.patients} patients are scored (folds {folds})"
        )
    blank = sum({unit.fold: unit.without_genes for unit in units}.values())
    if blank:
        found.append(
            f"{where}: {blank} of {len(scored)} scored patients have no genes; teacher, genes "
            "alone and late fusion see them at the mean"
        )
    mute = {unit.fold for unit in units if not _tells(run, unit)}
    lacks = "one class alone" if run.classes else "no death to compare"
    found += [
        f"{where}: fold {fold} holds {lacks}; "
        "its figure is undefined, and so are the mean over folds and its differences"
        for fold in sorted(mute)
    ]
    found += [f"{where}: {line}" for line in _lacking(run, units)]
    for seed in run.seeds:
        has = {unit.fold for unit in units if unit.seed == seed}
        missing = {unit.fold for unit in units} - has
        found += [f"{where}: fold {fold} lacks seed {seed}" for fold in sorted(missing)]
    return found
