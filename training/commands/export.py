"""`dicom-train export`."""

from __future__ import annotations

import argparse

from training.bundle.export import Request, export


def run(arguments: argparse.Namespace) -> int:
    """Writes the bundle and says how to try it."""
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
    print(f"{out}: a bundle; next: dicom-node engine compare {out}")
    return 0
