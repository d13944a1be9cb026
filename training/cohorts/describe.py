"""Who is in a cohort, who was left out and why, and how the folds came out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from training.cohorts.genes import SUFFIXES
from training.cohorts.material import Bag, Cohort

SHOWN = 5  # patients named per reason in the text; the dict has them all


def facts(cohort: Cohort) -> dict[str, Any]:
    """Counts of the cohort as plain values, ready for JSON."""
    patients = cohort.patients
    survival = cohort.task.kind == "survival"
    reasons: dict[str, list[str]] = {}
    for drop in cohort.dropped:
        reasons.setdefault(drop.reason, []).append(drop.patient)
    return {
        "name": cohort.name,
        "task": cohort.task.name,
        "digest": cohort.digest,
        "patients": len(patients),
        "slides": len(cohort.slides),
        "width": cohort.width,
        "instances_per_patient": _spread(cohort.bags),
        "second_magnification": _second(cohort),
        "events": int(patients["event"].sum()) if survival else None,
        "median_time_months": round(float(patients["time_months"].median()), 1),
        "classes": {} if survival else _classes(cohort),
        "age_unknown": int(patients["age"].isna().sum()),
        "gene_columns": {
            suffix: sum(name.endswith(suffix) for name in cohort.genes) for suffix in SUFFIXES
        },
        "without_genes": int((~patients["has_genes"]).sum()),
        "sites": int(patients["site"].nunique()),
        "folds": {kind: _folds(cohort, kind) for kind in ("official", "site")},
        "dropped": {reason: sorted(ids) for reason, ids in sorted(reasons.items())},
        "notes": list(cohort.notes),
    }


def _spread(bags: dict[str, Bag]) -> list[int]:
    """Fewest, median and most instances of a patient."""
    return [int(v) for v in np.percentile([len(bag) for bag in bags.values()], [0, 50, 100])]


def _second(cohort: Cohort) -> dict[str, Any] | None:
    """Both spacings and the instances at the second; None where there is one magnification."""
    if cohort.second is None:
        return None
    spread = _spread(cohort.second.bags)
    return {"mpps": list(cohort.second.mpps), "instances_per_patient": spread}


def _classes(cohort: Cohort) -> dict[str, int]:
    count = Counter(cohort.patients["label"])
    return {name: count[at] for at, name in enumerate(cohort.task.classes)}


def _folds(cohort: Cohort, kind: str) -> list[dict[str, Any]]:
    """Per fold: patients, sites, and events (survival) or patients per class."""
    survival = cohort.task.kind == "survival"
    rows = []
    for number, group in cohort.patients.groupby(f"fold_{kind}", sort=True):
        others = cohort.patients[cohort.patients[f"fold_{kind}"] != number]
        rows.append(
            {
                "fold": int(str(number)),
                "patients": len(group),
                "sites": int(group["site"].nunique()),
                "shared_sites": len(set(group["site"]) & set(others["site"])),
                "events": int(group["event"].sum()) if survival else None,
                "classes": [] if survival else _per_class(group, len(cohort.task.classes)),
            }
        )
    return rows


def _per_class(group: pd.DataFrame, classes: int) -> list[int]:
    return [int((group["label"] == at).sum()) for at in range(classes)]


def text(cohort: Cohort) -> str:
    """The report for a person: what is in, what was left out, the folds, what to know."""
    found = facts(cohort)
    low, middle, high = found["instances_per_patient"]
    lines = [
        f"Cohort {found['name']}, task {found['task']}, digest {found['digest']}",
        f"  {found['patients']} patients, {found['slides']} slides, {found['sites']} sites",
        f"  features of width {found['width']}, {low} to {high} instances per patient "
        f"(median {middle})",
    ]
    if (second := found["second_magnification"]) is not None:
        low, middle, high = second["instances_per_patient"]
        fine, coarse = second["mpps"]
        lines.append(
            f"  two magnifications, {fine:g} and {coarse:g} um per pixel: at the second {low} to "
            f"{high} instances per patient (median {middle})"
        )
    if found["events"] is not None:
        lines.append(
            f"  {found['events']} events, {found['patients'] - found['events']} censored, median "
            f"time {found['median_time_months']} months"
        )
    lines += [f"  {name}: {count} patients" for name, count in found["classes"].items()]
    columns = ", ".join(f"{count} {suffix[1:]}" for suffix, count in found["gene_columns"].items())
    lines += [f"  gene columns: {columns}", f"  age unknown: {found['age_unknown']}"]
    lines.append("Left out:" if found["dropped"] else "Left out: nobody")
    for reason, ids in found["dropped"].items():
        more = "" if len(ids) <= SHOWN else ", ..."
        lines.append(f"  {len(ids)} patients, {reason}: {', '.join(ids[:SHOWN])}{more}")
    for kind, folds in found["folds"].items():
        lines.append(f"Folds, {kind}:")
        lines += [_fold_line(fold) for fold in folds]
    lines += ["Notes:" if found["notes"] else "Notes: none"]
    lines += [f"  {note}" for note in found["notes"]]
    return "\n".join(lines) + "\n"


def _fold_line(fold: dict[str, Any]) -> str:
    if fold["events"] is not None:
        what = f"{fold['events']} events"
    else:
        what = f"{' / '.join(map(str, fold['classes']))} by class"
    return (
        f"  {fold['fold']}: {fold['patients']} patients, {what}, {fold['sites']} sites, "
        f"{fold['shared_sites']} of them in other folds too"
    )
