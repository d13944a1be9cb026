"""The many ways in which one message may be cut into items, PDUs and segments (PS3.8 Annex E)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from conformance.wire import pdus


def pieces(data: bytes, size: int) -> list[bytes]:
    """Pieces of a size; the last one may be shorter. Nothing is one empty piece."""
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


def items(context_id: int, data: bytes, size: int, *, is_command: bool) -> list[bytes]:
    """Presentation data values of a size."""
    cut = pieces(data, size)
    return [
        pdus.pdv(context_id, part, is_command=is_command, is_last=n == len(cut) - 1)
        for n, part in enumerate(cut)
    ]


def with_empty_last(context_id: int, data: bytes, *, is_command: bool) -> list[bytes]:
    """All of it in one item that is not the last, and a last one without bytes."""
    return [
        pdus.pdv(context_id, data, is_command=is_command, is_last=False),
        pdus.pdv(context_id, b"", is_command=is_command, is_last=True),
    ]


def one_each(items: Iterable[bytes]) -> Iterator[bytes]:
    """P-DATA-TF PDUs of one item each."""
    return (pdus.p_data([item]) for item in items)


def packed(items: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    """P-DATA-TF PDUs of as many items as fit into a length."""
    held: list[bytes] = []
    for item in items:
        if held and sum(map(len, held)) + len(item) > most_bytes:
            yield pdus.p_data(held)
            held = []
        held.append(item)
    if held:
        yield pdus.p_data(held)


def message(
    context_id: int, command: bytes, dataset: bytes = b"", *, size: int = 16_000
) -> Iterator[bytes]:
    """The PDUs of a message cut the usual way: items of a size, one in a PDU."""
    parts = items(context_id, command, size, is_command=True)
    data = items(context_id, dataset, size, is_command=False) if dataset else []
    return one_each(itertools.chain(parts, data))
