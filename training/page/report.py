"""The report as JSON and as one HTML file without network or scripts, the main table first."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from string import Template
from typing import Any

import numpy as np

from inference.durable import whole
from training.page.tables import list_table
from training.page.task import task_sections
from training.scoring.evaluate import Evaluation
from training.scoring.runs import Run, Unit

TEMPLATE = Path(__file__).parent / "report.html"
_MAGNIFICATIONS = {
    "none": "one",
    "read": "two, both read",
    "derived": "one; the second is derived from it",
    "unread": "two; the second is not read",
    None: "the run does not say",
}
_DERIVED = (
    "A derived second magnification is made of the first, the mean of four neighbors in the list "
    "of a patient’s regions: it holds nothing that the first does not. A method of two "
    "magnifications is fitted on it where regions at one magnification are all there is."
)


def write_html(evaluation: Evaluation, path: Path) -> None:
    """Writes the report as one file that needs nothing else."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    title = "Evaluation of students on held-out patients"
    body = [
        f"<header><h1>{title}</h1>{_what_was_run(evaluation)}</header>",
        *(task_sections(report) for report in evaluation.tasks),
        _reading(evaluation),
        _cohorts(evaluation),
    ]
    _write(path, template.substitute(title=title, body="\n".join(body)))


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Every figure and every prediction; what is undefined is null."""
    content = {
        "created": evaluation.created,
        "command": evaluation.command,
        "warnings": evaluation.warnings,
        "tasks": evaluation.tasks,
        "runs": [{"run": run, "units": units} for run, units in evaluation.runs],
    }
    _write(path, json.dumps(_plain(content), allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    """A file whole or not at all; what is no file of its own, as /dev/stdout or a pipe, through."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
        return
    with whole(path) as file:
        file.write(text.encode())


def _plain(value: Any) -> Any:  # any dataclass below Evaluation to what json writes
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        if all(isinstance(key, (str, int)) for key in value):
            return {str(key): _plain(item) for key, item in value.items()}
        return [{"at": _plain(key), "is": _plain(item)} for key, item in value.items()]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _what_was_run(evaluation: Evaluation) -> str:
    count = sum(len(units) for _, units in evaluation.runs)
    seeds = max(len({unit.seed for unit in units}) for _, units in evaluation.runs)
    words = (
        f'<p class="faint">{evaluation.created.replace("T", " ").replace("+00:00", " UTC")} · '
        f"{len(evaluation.runs)} runs, {count} fitted folds, up to {seeds} "
        f"seed{'s' if seeds > 1 else ''} · <code>{escape(evaluation.command)}</code></p>"
    )
    if not evaluation.warnings:
        return words
    lines = "".join(f"<li>{escape(line)}</li>" for line in evaluation.warnings)
    return f'{words}<div class="warn"><p><b>Not complete.</b></p><ul>{lines}</ul></div>'


def _reading(evaluation: Evaluation) -> str:
    lines = [
        "The intervals come from redrawing patients inside their fold. They say how much other "
        "patients of the same kind would move a figure, not how much another training run would: "
        "for that see the seeds. Folds share training patients, so the standard deviation over "
        "folds is not a standard error.",
        "Differences of 0.01 to 0.02 in C-index are within the noise of one cohort of this size. "
        "Several cohorts and several comparisons are shown and none is corrected for the others.",
        "Folds “by site” put all patients of a hospital on one side; official folds need not, "
        "and a model can score there by recognizing the hospital.",
        "Uno’s C, the time-dependent AUC and the Brier score are weighted by the censoring of the "
        "training patients and stop where fewer than a tenth of them would still be watched. Times "
        "outside the follow-up are left out; the JSON names them.",
        "Pooled figures put risks of different folds on one scale, which they were not trained to "
        "share; they are given because others give them.",
        "A twin is the same network without distillation; the null has the teacher’s targets "
        "shuffled among training patients. A student that does not beat both has not been taught.",
        *([_DERIVED] if any(run.second == "derived" for run, _ in evaluation.runs) else []),
        "All patients are from TCGA: research material, retrospective, mostly from large centers. "
        "Nothing here says how a model does elsewhere.",
    ]
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f"<section><h2>How to read this</h2><ul>{items}</ul></section>"


def _cohorts(evaluation: Evaluation) -> str:
    rows = []
    for run, units in evaluation.runs:
        scored = {patient for unit in units for patient in unit.patients}
        rows.append(
            [
                f"{escape(run.method)}, {escape(run.cohort)}, {escape(run.task)}, {run.kind}",
                f"{len(scored)} scored of {'?' if run.patients is None else run.patients}",
                _cost(units),
                _dropped(run),
                _MAGNIFICATIONS[run.second],
                f"<code>{escape(run.digest[:12])}</code>",
                escape(", ".join(f"{key}={value}" for key, value in run.settings.items()))
                or "none",
            ]
        )
    versions = sorted({f"{k} {v}" for run, _ in evaluation.runs for k, v in run.versions.items()})
    head = (
        "run", "patients", "cost of a fold", "dropped", "magnifications", "cohort digest",
        "settings",
    )  # fmt: skip
    return (
        f"<section><h2>Runs and who was left out</h2>{list_table(head, rows)}"
        f'<p class="faint">{escape(", ".join(versions))}</p></section>'
    )


def _cost(units: Sequence[Unit]) -> str:
    seconds = [unit.seconds for unit in units if unit.seconds is not None]
    memory = [unit.peak_rss_mb for unit in units if unit.peak_rss_mb is not None]
    if not seconds or not memory:
        return "the run does not say"
    return f"{median(seconds):.0f} s (most {max(seconds):.0f}), {max(memory) / 1024:.1f} GB"


def _dropped(run: Run) -> str:
    if run.dropped is None:
        return "the run does not say"
    return escape("; ".join(f"{count}: {why}" for why, count in run.dropped.items())) or "nobody"
