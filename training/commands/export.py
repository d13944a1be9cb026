"""`dicom-train export`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Export:
    """A bundle of one unit of a run."""

    run: Path
    encoder: str
    out: Path
    name: str
    version: str
    fold: int
    seed: int


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--encoder", required=True, metavar="BUNDLE",
                        help="the bundle whose encoder made the features")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(arguments=Export)


def run(arguments: Export) -> int:
    """Writes the bundle and says how to try it."""
    from training.bundle.compilers import ask_compilers
    from training.bundle.export import Request, export

    out = export(
        Request(
            run=arguments.run,
            encoder=arguments.encoder,
            out=arguments.out,
            name=arguments.name,
            version=arguments.version,
            fold=arguments.fold,
            seed=arguments.seed,
        )
    )
    print(ask_compilers(out))
    print(f"{out}: a bundle; next: dicom-node engine compare {out}")
    return 0
