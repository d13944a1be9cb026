"""`dicom-node engine compare|build BUNDLE`: are the engines right and fast here; build plans."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engines.bundle import Bundle, open_bundle
from engines.compare import Comparison, compare
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.runtime import prepare

REFUSED = 3


def run(arguments: argparse.Namespace) -> int:
    """Compare: 1 when an engine that is present gives wrong numbers. Both: 3 when refused."""
    try:
        bundle = open_bundle(arguments.bundle)
        if arguments.action == "build":
            return _build(bundle, arguments)
        return _compare(bundle, threads=arguments.threads, as_json=arguments.json)
    except (BundleRejected, EngineMissing) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return REFUSED
    except DeviceFailed as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return 1


def _build(bundle: Bundle, arguments: argparse.Namespace) -> int:
    console = Console(soft_wrap=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    tasks = {}
    with bars:

        def show(phase: str, done: int, steps: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=steps)
            bars.update(tasks[phase], completed=done, total=steps)

        names = prepare(bundle, arguments.engine, arguments.precision, show)
    for name in names:
        console.print(f"{bundle.root / 'plans' / name}")
    return 0


def _compare(bundle: Bundle, *, threads: int, as_json: bool) -> int:
    rows = list(compare(bundle, threads))
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    else:
        # Reasons hold brackets (an extra's name), and a row is read as one line.
        console = Console(soft_wrap=True, markup=False, highlight=False)
        manifest = bundle.manifest
        console.print(
            f"{manifest.name} {manifest.version}, shipped precision {manifest.shipped_precision}"
        )
        console.print(_table(rows))
        for row in rows:
            if row.reason:
                console.print(f"{row.engine} {row.precision}: {row.reason}")
    return 1 if any(row.verdict in ("outside", "failed") for row in rows) else 0


def _table(rows: Sequence[Comparison]) -> Table:
    table = Table(box=None)
    for name in ("engine", "precision"):
        table.add_column(name, no_wrap=True)
    for name in ("max error", "cosine", "ms/tile", "tiles/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        figures = [
            _figure(row.max_error, ".2g"),
            _figure(row.cosine, ".6f"),
            _figure(row.ms_per_tile, ".2f"),
            _figure(row.tiles_per_s, ".0f"),
        ]
        table.add_row(row.engine, row.precision, *figures, row.verdict)
    return table


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
