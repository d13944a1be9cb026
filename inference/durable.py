"""The way to write a file that must survive: whole and durable, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
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


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill; when the block ends, its files are at `path`, durable, in one move.

    An empty folder that is there is filled instead, which takes a move for each file: it may be
    where a disk is mounted. When the block raises, nothing of it is left. Raises OSError, of files
    at `path` too.
    """
    path = path.resolve()
    has_place = path.is_dir()
    part = (path / "new" if has_place else path).with_name(
        f".{path.name}.{secrets.token_hex(4)}{SUFFIX}"
    )
    part.mkdir(parents=True)
    try:
        yield part
        _sync_below(part)
        if not has_place:
            part.rename(path)
        else:
            for file in sorted(part.iterdir()):
                file.rename(path / file.name)
            part.rmdir()
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(path if has_place else path.parent)


def put_together(source: Path, target: Path, last: str) -> None:
    """Puts the files of one folder, those below it too, into another that has some of them.

    All are written beside their places before the first is moved, `last` is moved at the end: where
    there is no room, what is in `target` stays as it is. Raises OSError.
    """
    names = sorted(p.relative_to(source) for p in source.rglob("*") if not p.is_dir())
    names.sort(key=lambda name: str(name) == last)
    staged: list[tuple[Path, Path]] = []
    try:
        for name in names:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.{secrets.token_hex(4)}{SUFFIX}")
            staged.append((part, place))
            with (source / name).open("rb") as given, part.open("xb") as file:
                shutil.copyfileobj(given, file)
                file.flush()
                os.fsync(file.fileno())
        for part, place in staged:
            part.replace(place)
    except BaseException:
        for part, _ in staged:
            part.unlink(missing_ok=True)
        raise
    for folder in {place.parent for _, place in staged}:
        sync_folder(folder)


def _sync_below(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


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
