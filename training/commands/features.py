"""`dicom-train features`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.commands.words import count


@dataclass(frozen=True, slots=True)
class Features:
    """Tile features of slides."""

    slides: Sequence[Path]
    encoder: str
    out: Path
    mpp: Sequence[float] | None
    workers: int
    database_url: str | None
    take_over: Sequence[str]


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("slides", nargs="+", type=Path, metavar="SLIDES",
                        help="folders or files: DICOM slides, SVS, tiled TIFF")  # fmt: skip
    parser.add_argument("--encoder", required=True, metavar="NAME",
                        help="timm:NAME, hf-hub:NAME, an ONNX file or a bundle")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--mpp", type=float, nargs="+", metavar="UM",
                        help="one or two spacings of one grid")  # fmt: skip
    parser.add_argument("--workers", type=count, default=1, metavar="N")
    parser.add_argument("--database-url", metavar="URL", help="queue shared by several machines")
    parser.add_argument("--take-over", nargs="+", default=[], metavar="HOST",
                        help="machines of a shared queue that died")  # fmt: skip
    parser.set_defaults(arguments=Features)


def run(arguments: Features) -> int:
    """Extracts what is missing; 1 where a slide was refused."""
    from training.tiles import features

    report = features.run(
        arguments.slides,
        arguments.encoder,
        arguments.out,
        mpp=arguments.mpp or (),
        workers=arguments.workers,
        database_url=arguments.database_url,
        take_over=arguments.take_over,
    )
    for outcome in report.of("refused"):
        print(f"refused {outcome.slide}: {outcome.reason}")
    print(report.sentence)
    return 1 if report.of("refused") else 0
