"""What is worth a line in the log once, and not a thousand times a second."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

_HOSTS = 4096  # remembered; a flood may come from more


@dataclass(slots=True)
class _Told:
    since: float
    lines: int = 0
    kept_back: int = 0


class Repeats:
    """So many lines about one host in a time; how many were kept back is told with the next one.

    A hostile or a misconfigured peer would fill the disk with refusals. Used by one thread.
    """

    def __init__(self, lines: int = 20, per_s: float = 60.0) -> None:
        self._lines = lines
        self._per_s = per_s
        self._told: OrderedDict[str, _Told] = OrderedDict()

    def due(self, host: str) -> int | None:
        """How many lines about this host were kept back before this one; None to keep this back."""
        now = time.monotonic()
        told = self._told.get(host)
        if told is None:
            while len(self._told) >= _HOSTS:
                self._told.popitem(last=False)
            told = self._told[host] = _Told(now)
        elif now - told.since > self._per_s:
            told.since, told.lines = now, 0
        if told.lines >= self._lines:
            told.kept_back += 1
            return None
        told.lines += 1
        kept_back, told.kept_back = told.kept_back, 0
        return kept_back
