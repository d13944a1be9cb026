"""`dicom-train features`."""

from __future__ import annotations

import argparse

from training.tiles import features


def run(arguments: argparse.Namespace) -> int:
    """Extracts what is missing; 1 where a slide was refused."""
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
