"""The bench: what each score says of ordinary, foreign and changed sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.manifest.foreign import OutOfDistribution
from engines.runtime import Runtime
from training.errors import TrainingError
from training.foreign.changed import CHANGES, drawn
from training.foreign.scores import NEEDS_ATTENTION, SCORES, Bag, Reference, Seen, shares
from training.foreign.sources import Entry, tiles_of

Floats = NDArray[np.float64]
OF_THE_BUNDLE = "the bundle's own distance and limit"
LIMIT = 95
"""Percentile of reference bags at which a limit is set: 5 % false alarms are allowed."""
FEWEST_TILES = 4
_CHANGED_TILES = 50
_DRAWN_SEEDS = (7001, 7002, 7003)
_SMALLEST = 1e-6
_BAGS = 40
"""Bags of a size drawn from each reference source."""


@dataclass(frozen=True, eq=False)
class Source:
    """One source and what the scores say of it."""

    name: str
    kind: str
    """reference, ordinary, foreign, or the synthetic change."""
    what: str
    bag: Bag

    @property
    def tiles(self) -> int:
        """How many it has."""
        return len(self.bag.features)


@dataclass(frozen=True, eq=False)
class Measured:
    """The sources, and by score what each got over the limit for bags of its size."""

    sources: tuple[Source, ...]
    left_out: tuple[str, ...]
    """One sentence each."""
    over_limit: dict[str, Floats]
    """[S]: above 1 the source is flagged; reference sources against the others of them."""

    def of(self, score: str, kind: str) -> Floats:
        """What the score says of the sources of a kind."""
        return self.over_limit[score][[source.kind == kind for source in self.sources]]


def measured(
    entries: Sequence[Entry], folders: Sequence[Path], runtime: Runtime, most: int, seed: int = 0
) -> Measured:
    """All scores of all sources, and of synthetic changes of the ordinary ones.

    Raises TrainingError where fewer than two sources set the limits or one kind has none.
    """
    sources, left_out = _sources(entries, folders, runtime, most)
    for kind, least in (("reference", 2), ("ordinary", 1), ("foreign", 1)):
        count = sum(source.kind == kind for source in sources)
        if count < least:
            told = "; ".join(left_out) or "none was left out"
            raise TrainingError(
                f"found {count} {kind} sources, expected at least {least} ({told}); "
                "name the folders of the data and check the table"
            )
    return Measured(
        tuple(sources),
        tuple(left_out),
        _over_limits(sources, runtime.manifest.out_of_distribution, seed),
    )


def _sources(
    entries: Sequence[Entry], folders: Sequence[Path], runtime: Runtime, most: int
) -> tuple[list[Source], list[str]]:
    wanted = runtime.manifest.input
    found: list[Source] = []
    left_out: list[str] = []
    for entry in entries:
        try:
            for name, tiles in tiles_of(entry, folders, wanted, most):
                if len(tiles) < FEWEST_TILES:
                    left_out.append(f"{name}: {len(tiles)} tiles, {FEWEST_TILES} are needed")
                    continue
                found.append(Source(name, entry.kind, entry.what, _bag(runtime, tiles)))
                if entry.kind == "ordinary":
                    few = tiles[:: -(-len(tiles) // _CHANGED_TILES)]
                    for kind, change in CHANGES.items():
                        bag = _bag(runtime, change(few, wanted.mpp))
                        found.append(Source(name, kind, f"synthetic: {entry.what}", bag))
        except TrainingError as error:
            left_out.append(str(error))
    for seed in _DRAWN_SEEDS:
        tiles = drawn(seed, wanted, _CHANGED_TILES)
        if len(tiles) >= FEWEST_TILES:
            found.append(Source(f"drawing {seed}", "drawn", "no tissue", _bag(runtime, tiles)))
    return found, left_out


def _bag(runtime: Runtime, tiles: NDArray[np.uint8]) -> Bag:
    size = runtime.manifest.input.batch
    encoded = [
        runtime.run("encoder", {"tiles": np.ascontiguousarray(tiles[at : at + size])})["features"]
        for at in range(0, len(tiles), size)
    ]
    features = np.concatenate(encoded)
    graph = runtime.manifest.graphs["aggregator"]
    attention = None
    has_it = "attention" in {tensor.name for tensor in graph.outputs}
    if has_it and [tensor.name for tensor in graph.inputs] == ["features"]:
        said = runtime.run("aggregator", {"features": features})["attention"]
        if said.shape == (len(features),):
            attention = shares(said.astype(np.float64))
    return Bag(features.astype(np.float64), attention)


def _over_limits(
    sources: Sequence[Source], reference: OutOfDistribution | None, seed: int
) -> dict[str, Floats]:
    """By score: what each source got, over the limit for bags of its size."""
    known = [source.bag for source in sources if source.kind == "reference"]
    attended = all(source.bag.attention is not None for source in sources)
    names = [name for name in SCORES if attended or name != NEEDS_ATTENTION]
    whole = Reference(known)
    left = [Reference([*known[:at], *known[at + 1 :]]).seen(known[at]) for at in range(len(known))]
    limits = {size: _limits(left, size, names, seed) for size in {s.tiles for s in sources}}
    at, found = 0, {name: np.empty(len(sources)) for name in names}
    for row, source in enumerate(sources):
        if source.kind == "reference":
            seen, at = left[at], at + 1
        else:
            seen = whole.seen(source.bag)
        for name in names:
            found[name][row] = SCORES[name](seen) / limits[source.tiles][name]
    if reference is not None:
        means = np.stack([source.bag.features.mean(axis=0) for source in sources])
        offset = (means - reference.mean) / reference.std
        found = {OF_THE_BUNDLE: np.sqrt((offset**2).mean(axis=1)) / reference.limit, **found}
    return found


def _limits(left: Sequence[Seen], size: int, names: Sequence[str], seed: int) -> dict[str, float]:
    """By score: the 95th percentile of bags of a size, each drawn from a source left out."""
    rng = np.random.default_rng([seed, size])
    bags = [
        seen.part(rng.choice(len(seen.scaled), size, replace=size > len(seen.scaled)))
        for seen in left
        for _ in range(_BAGS)
    ]
    found = {name: np.percentile([SCORES[name](bag) for bag in bags], LIMIT) for name in names}
    return {name: max(float(limit), _SMALLEST) for name, limit in found.items()}
