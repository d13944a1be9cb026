"""`dicom-node engine compare|build BUNDLE`: are the engines right and fast here; build plans."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dicom_node.commands import flags
from dicom_node.commands.screen.control_slide import control_slide
from dicom_node.config.loading import load_config
from dicom_node.exit_status import FAILED, REFUSED
from engines.bundle import Bundle, open_bundle, require_student
from engines.compare import Comparison, compare, keep
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.here.records import ControlCost, Records
from engines.names import CHOSEN, Chosen, EngineName
from engines.runtime import prepare
from engines.tensorrt.libraries import Capability, read_capability


@dataclass(frozen=True, slots=True)
class Build:
    """The plans to build."""

    bundle: str
    engine: EngineName
    precision: Chosen
    target: Capability | None
    """The GPU to build for; None: the one here."""


@dataclass(frozen=True, slots=True)
class Compare:
    """The comparison to make."""

    bundle: str
    threads: int
    as_json: bool
    config: Path | None
    """Of the node that keeps the outcome; None: `node.toml`, where it is."""
    slide: Path | None
    """The control slide; None: one that is drawn."""
    retime: bool


_CONFIG = Path("node.toml")


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `engine build` and `engine compare`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    help = "build the plans of a bundle for a GPU, by default this machine's"
    build = actions.add_parser("build", help=help, description=help)
    build.add_argument("bundle", metavar="BUNDLE", help="a shipped name or a directory")
    build.add_argument("--engine", default="tensorrt", choices=["tensorrt", "tensorrt-rtx"])
    build.add_argument("--precision", default="shipped", choices=CHOSEN)
    build.add_argument(
        "--target", type=_capability, metavar="X.Y",
        help="compute capability of the GPU, such as 8.9; tensorrt-rtx builds for any of its GPUs "
        "on any machine",
    )  # fmt: skip
    flags.gives(build, Build)
    help = "run the bundle's probe on every engine and precision, print a table, and keep it"
    compare = actions.add_parser("compare", help=help, description=help)
    compare.add_argument("bundle", metavar="BUNDLE", help="a shipped name or a directory")
    flags.add_threads(compare)
    flags.add_json(compare)
    compare.add_argument(
        "--config", type=Path, metavar="FILE",
        help="keep the outcome for this node, whose engine = \"auto\" and precision = "
        "\"fastest\" go by it; default: node.toml, where it is",
    )  # fmt: skip
    compare.add_argument(
        "--slide", type=Path, metavar="PATH",
        help="control slide for engines of a GPU; default: one that is drawn",
    )  # fmt: skip
    compare.add_argument(
        "--retime", action="store_true",
        help="replace the speeds that were kept of this bundle, device and release",
    )  # fmt: skip
    flags.gives(compare, Compare)


def run(arguments: Build | Compare) -> int:
    """Compare: 1 when an engine that is present gives wrong numbers. Both: 3 when refused."""
    try:
        bundle = require_student(open_bundle(arguments.bundle))
        if isinstance(arguments, Build):
            return _build(bundle, arguments)
        return _compare(bundle, arguments)
    except (BundleRejected, EngineMissing) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return REFUSED
    except DeviceFailed as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return FAILED


def _capability(text: str) -> Capability:
    try:
        return read_capability(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _build(bundle: Bundle, arguments: Build) -> int:
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

        names = prepare(bundle, arguments.engine, arguments.precision, show, arguments.target)
    for name in names:
        console.print(f"{bundle.root / 'plans' / name}")
    return 0


def _compare(bundle: Bundle, arguments: Compare) -> int:
    records = _records(arguments.config)  # a configuration that is none is told before the work
    with control_slide(arguments.slide) as control:
        rows = list(compare(bundle, arguments.threads, control))
    if arguments.as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2, default=_plain) + "\n")
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
    sys.stderr.write(f"{_kept(bundle, rows, records, retime=arguments.retime)}\n")
    return FAILED if any(row.verdict in ("outside", "failed") for row in rows) else 0


def _plain(value: object) -> object:
    if isinstance(value, ControlCost):
        return value.model_dump(mode="json")
    raise TypeError(f"expected a value of JSON, found {type(value).__name__}")


def _records(config: Path | None) -> Records | None:
    """Where the node keeps comparisons; None where no node was named and none is here."""
    if config is None and not _CONFIG.is_file():
        return None
    return Records(load_config(config or _CONFIG).comparisons_dir)


def _kept(bundle: Bundle, rows: list[Comparison], records: Records | None, *, retime: bool) -> str:
    if records is None:
        return "kept nowhere: no node.toml here; with --config FILE a node goes by it"
    kept = keep(bundle, rows, records, retime=retime)
    today = max((r.compared_on for r in kept), default="")
    earlier = {
        row.timed_on for r in kept for row in r.rows if row.timed_on and row.timed_on != today
    }
    told = f"; speeds stay as of {', '.join(sorted(earlier))}, see --retime" if earlier else ""
    return f"kept in {records.folder}{told}"


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
