"""`python -m training.default_student.sections --data DIR`: the tile level by section of patient C.

Each section is held out once from everything: the gene selection, the teacher, the student's second
stage, and the reader. Shorter than the shipped training; student and twin only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.default_student import tiles, train

ROLES: dict[str, train.Terms] = {"distilled": "distilled", "twin": "plain"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints, by target and role, the mean over sections of the correlation on the held-out one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--steps", type=int, nargs=2, default=(150, 60))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sources, found = tiles.load(asked.data)
    lung, _, phantom = sources.part("train")
    first = train.started([lung, phantom], asked.steps[0], asked.seed)
    sections = [name for name in np.unique(found.section) if name.startswith("C")]
    collected: dict[str, list[tiles.Predicted]] = {}
    for section in sections:
        training = np.isin(found.section, sections) & (found.section != section)
        spots = tiles.dressed(sources.spots, found, training)
        part = replace(spots, split=np.where(training, "train", "test")).part("train")
        encoded = {}
        for role, terms in ROLES.items():
            fitting = [lung, part, phantom]
            encoder = train.branched(first, fitting, terms, asked.steps[1], asked.seed)
            encoded[role] = train.encoded(encoder, spots.images, spots.mpp)
        read = tiles.predicted(encoded, found, training, found.section == section)
        collected.setdefault(section, []).append(read)
        _show(section, [read])
    _show("mean of sections", [read for reads in collected.values() for read in reads])


def _show(name: str, reads: list[tiles.Predicted]) -> None:
    tables = [dict(tiles.expression_table(read)) for read in reads]
    for role in ("color", *ROLES):
        cells = []
        for target in tiles.SHOWN:
            raw, beyond = zip(*(table[target][role] for table in tables), strict=True)
            cells.append(f"{target} {np.mean(raw):.2f}/{np.mean(beyond):.2f}")
        print(f"{name}, {role}: {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
