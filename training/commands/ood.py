"""`dicom-train ood`: how well a student tells foreign slides from ordinary ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ood:
    """A bundle, and the sources it is tried on."""

    bundle: str
    data: Sequence[Path]
    sources: Path | None
    out: Path
    tiles: int


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("bundle", metavar="BUNDLE", help="its folder or name; it is not changed")
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="DIR",
                        help="folders that the table's paths are below")  # fmt: skip
    parser.add_argument("--sources", type=Path, metavar="TOML",
                        help="table of sources; default: that of the shipped student")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="for ood.json and ood.md")  # fmt: skip
    parser.add_argument("--tiles", type=int, default=200, metavar="N",
                        help="most tiles of a source")  # fmt: skip
    parser.set_defaults(arguments=Ood)


def run(arguments: Ood) -> int:
    """Writes the report and prints its text; the bar decides nothing of the exit status."""
    from engines.bundle import open_bundle, require_student
    from engines.errors import BundleRejected, EngineMissing
    from engines.runtime import open_runtime
    from training.errors import TrainingError
    from training.foreign import bench, report
    from training.foreign.sources import SHIPPED, read_table

    if arguments.tiles < bench.FEWEST_TILES:
        raise TrainingError(
            f"found --tiles {arguments.tiles}, expected at least {bench.FEWEST_TILES}"
        )
    entries = read_table(arguments.sources or SHIPPED)
    try:
        with open_runtime(require_student(open_bundle(arguments.bundle))) as runtime:
            found = bench.measured(entries, arguments.data, runtime, arguments.tiles)
            text = report.write(found, runtime, arguments.out)
    except (BundleRejected, EngineMissing) as error:
        raise TrainingError(str(error)) from error
    print(text, end="")
    return 0
