"""Bags of instance features: one patient, a padded batch of patients, a fixed number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B patients, their bags padded with zeros to the longest (N instances of width D)."""

    bags: Tensor
    """float32 [B, N, D]."""
    mask: Tensor
    """bool [B, N]: True at real instances."""
    genes: Tensor
    """float32 [B, G], standardized; G is 0 where the cohort has no genes."""
    time: Tensor
    """float32 [B] months."""
    event: Tensor
    """float32 [B]: 1 death observed, 0 censored."""
    bin: Tensor
    """int64 [B]: time bin by the edges of the fold."""
    label: Tensor
    """int64 [B]: class; 0 for survival."""
    rows: Tensor
    """int64 [B]: positions in the Patients the batch was drawn from."""
    coarse: Tensor | None = None
    """float32 [B, M, D] of the second magnification, padded as `bags` are; None without one."""
    coarse_counts: Tensor | None = None
    """int64 [B]: real instances of `coarse`."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Patients:
    """P patients with everything a method may look at."""

    ids: tuple[str, ...]
    bags: tuple[Tensor, ...]
    """P tensors, float32 [N_i, D]: all slides of the patient, one after the other."""
    genes: Tensor
    time: Tensor
    event: Tensor
    bin: Tensor
    label: Tensor
    age: Tensor
    """float32 [P] years; NaN where unknown."""
    privileged: dict[str, Tensor] = field(default_factory=dict)
    """Name -> float32 [P, C] of what only a teacher may see; NaN where unknown."""
    slides: tuple[tuple[int, ...], ...] = ()
    """Of each patient the instances of each slide, as they follow in the bag; empty: one slide."""
    coarse: tuple[Tensor, ...] | None = None
    """P tensors, float32 [M_i, D] of the second magnification; None where there is none."""
    coarse_slides: tuple[tuple[int, ...], ...] = ()
    """`slides` of the second magnification."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        """D, the width of an instance's features."""
        return int(self.bags[0].shape[1])

    def subset(self, rows: Sequence[int] | Tensor) -> Patients:
        """The patients at `rows`, in that order."""
        at = torch.as_tensor(rows, dtype=torch.int64)
        return Patients(
            tuple(self.ids[i] for i in at.tolist()),
            tuple(self.bags[i] for i in at.tolist()),
            self.genes[at],
            self.time[at],
            self.event[at],
            self.bin[at],
            self.label[at],
            self.age[at],
            {name: block[at] for name, block in self.privileged.items()},
            tuple(self.slides[i] for i in at.tolist()) if self.slides else (),
            None if self.coarse is None else tuple(self.coarse[i] for i in at.tolist()),
            tuple(self.coarse_slides[i] for i in at.tolist()) if self.coarse_slides else (),
        )

    @property
    def shown(self) -> list[tuple[Tensor, ...]]:
        """What a student is shown of each patient: the bag, and that of the second magnification
        where there is one."""
        return _paired(self.bags, self.coarse)

    def first_slides(self) -> list[tuple[Tensor, ...]]:
        """`shown` of each patient's first slide: what a node is shown where it sees one."""
        return self.shown_one_slide().shown

    def shown_one_slide(self) -> Patients:
        """The same patients, each with the first slide alone."""
        bags = _firsts(self.bags, self.slides)
        coarse = None if self.coarse is None else _firsts(self.coarse, self.coarse_slides)
        return replace(self, bags=bags, slides=(), coarse=coarse, coarse_slides=())

    def each_slide(self) -> tuple[Tensor, ...]:
        """The bags of all slides, those of a patient one after the other."""
        if not self.slides:
            return self.bags
        return tuple(
            slide for bag, of in zip(self.bags, self.slides, strict=True) for slide in bag.split(of)
        )

    def batch(self, rows: Sequence[int] | Tensor) -> Batch:
        """The patients at `rows` (repeats allowed) as one padded batch."""
        at = torch.as_tensor(rows, dtype=torch.int64)
        bags = [self.bags[i] for i in at.tolist()]
        lengths = torch.tensor([len(bag) for bag in bags])
        return Batch(
            torch.nn.utils.rnn.pad_sequence(bags, batch_first=True),
            torch.arange(int(lengths.max())) < lengths.unsqueeze(1),
            self.genes[at],
            self.time[at],
            self.event[at],
            self.bin[at],
            self.label[at],
            at,
            *self._second([] if self.coarse is None else [self.coarse[i] for i in at.tolist()]),
        )

    @staticmethod
    def _second(bags: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """`Batch.coarse` and `Batch.coarse_counts`."""
        if not bags:
            return None, None
        counts = torch.tensor([len(bag) for bag in bags])
        return torch.nn.utils.rnn.pad_sequence(list(bags), batch_first=True), counts


def _firsts(bags: tuple[Tensor, ...], slides: tuple[tuple[int, ...], ...]) -> tuple[Tensor, ...]:
    if not slides:
        return bags
    return tuple(bag[: of[0]] for bag, of in zip(bags, slides, strict=True))


def _paired(
    bags: tuple[Tensor, ...], coarse: tuple[Tensor, ...] | None
) -> list[tuple[Tensor, ...]]:
    return [(bag,) for bag in bags] if coarse is None else list(zip(bags, coarse, strict=True))


def has_genes(genes: Tensor) -> Tensor:
    """bool [P]: whether any gene of a patient was measured; z-scores [P, G].

    A missing value stands at the training mean, 0 after standardization: all zero is a patient
    without genes.
    """
    return (genes != 0).any(dim=1)


def concatenated(first: Patients, second: Patients) -> Patients:
    """The patients of both, `first` before `second`."""
    return Patients(
        first.ids + second.ids,
        first.bags + second.bags,
        torch.cat([first.genes, second.genes]),
        torch.cat([first.time, second.time]),
        torch.cat([first.event, second.event]),
        torch.cat([first.bin, second.bin]),
        torch.cat([first.label, second.label]),
        torch.cat([first.age, second.age]),
        {
            name: torch.cat([block, second.privileged[name]])
            for name, block in first.privileged.items()
        },
        first.slides + second.slides if first.slides and second.slides else (),
        first.coarse + second.coarse if first.coarse and second.coarse else None,
        first.coarse_slides + second.coarse_slides if second.coarse_slides else (),
    )


def batches(patients: Patients, size: int = 64) -> Iterator[Batch]:
    """All patients in order, `size` at a time, for scoring."""
    for rows in torch.arange(len(patients)).split(size):
        yield patients.batch(rows)


def on_instances(layer: Callable[[Tensor], Tensor], bags: Tensor, mask: Tensor) -> Tensor:
    """`layer` [M, D] -> [M, W] of the real instances of bags [B, N, D]: [B, N, W], 0 at padding.

    The longest bag of a batch may be ten times the usual one; padding should cost nothing.
    """
    if len(bags) == 1:
        return layer(bags[0]).unsqueeze(0)
    found = layer(bags[mask])
    return found.new_zeros(*mask.shape, found.shape[-1]).masked_scatter(mask.unsqueeze(-1), found)


def fixed_rows(count: int, size: int) -> Tensor:
    """int64 [size]: which of `count` instances fill a bag of exactly `size` places.

    Fewer instances are repeated from the start; more are thinned evenly, the row of place i being
    i * count / size rounded half to even, in 64-bit arithmetic.
    """
    places = torch.arange(size, dtype=torch.float64)
    if count < size:
        return torch.arange(size) % count
    return torch.round(places * count / size).long().clamp(max=count - 1)


def capped(bag: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """At most `limit` instances of `bag` [N, D], drawn without repeats, in their order; 0: all."""
    if limit <= 0 or len(bag) <= limit:
        return bag
    chosen = torch.randperm(len(bag), generator=generator)[:limit]
    return bag[chosen.sort().values]
