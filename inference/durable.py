"""The way to write a file that must survive: whole and durable, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".part"
"""How a file ends that is not whole yet. After a kill it stays; `sweep` removes it."""


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A new file to write; when the block ends it is at `path`, also after a power cut.

    It takes the place of what is there in one move. When the block raises, what is there stays and
    nothing is left beside it. Several may write one path: the last to end wins. Raises OSError.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        with part.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: a file's own fsync does not. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> int:
    """Removes what killed writers left in a folder and below; how many files that were.

    Only for who knows that nobody writes there now.
    """
    left = [p for p in folder.rglob(f".*{SUFFIX}") if p.is_file()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
