"""A report as a table on a terminal, and as JSON values: read back from the object itself."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from pydicom import Dataset
from rich.console import Console
from rich.table import Table

from dicom_node.view.reading import Group, Named, gathered, read_groups


def print_report(console: Console, report: Dataset) -> None:
    """Print every group of a report: numbers with units, coded statements, comments."""
    table = Table(title=str(report.SeriesDescription), title_justify="left", box=None)
    table.add_column("Group")
    table.add_column("Measurement")
    table.add_column("Value", justify="right")
    table.add_column("Unit")
    comments: list[str] = []
    for group in read_groups(report):
        title = group.title
        told = (_coded(group.result), _numbers(group), _coded(gathered(group.statements)))
        for name, value, unit in chain(*told):
            table.add_row(title, name, value, unit)
            title = ""
        comments += [c for c in group.comments if c not in comments]
    console.print(table)
    for comment in comments:
        console.print(f"  Note: {comment}")


def report_as_json(report: Dataset) -> list[dict[str, Any]]:
    """Groups of a report with their rows and comments."""
    return [
        {
            "group": group.title,
            "rows": [{"name": n, "value": v, "unit": u} for n, v, u in _rows(group)],
            "comments": list(group.comments),
        }
        for group in read_groups(report)
    ]


def _rows(group: Group) -> list[tuple[str, str, str]]:
    return _numbers(group) + _coded(group.evaluations)


def _coded(statements: Iterable[Named]) -> list[tuple[str, str, str]]:
    return [(name, meaning, "") for name, meaning in statements]


def _numbers(group: Group) -> list[tuple[str, str, str]]:
    return [(m.name, str(m.value), m.unit) for m in group.measurements]
