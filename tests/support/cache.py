"""What tests make once and keep in `.cache`: slides as DICOM, the viewer."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"


@contextmanager
def one_at_a_time(lock: str = "lock") -> Iterator[None]:
    """What is kept is made by one test process; the others wait for it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / lock).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
