"""What is given up is set aside under a name that nothing else has, then removed.

To set aside is to rename, which is quick enough for a transaction; to remove takes as long as it
takes. What comes again gets the old names anew, and nothing of it is removed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from dicom_node.ledger.keeping.discards import ASIDE, RESULTS, aside_of

_TILES = f"{ASIDE}tiles-"


class Aside:
    """Sets aside and removes below one data folder; paths are relative to it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def folder(self, folder: Path) -> str:
        """Set a folder of results aside, durably; its new path, which tells its name."""
        return self._rename(folder, f"{ASIDE}{uuid.uuid4().hex}-{folder.name}")

    def tiles(self, folder: Path) -> str:
        """Set a folder of tiles aside, which may be removed whatever happens then; its new path."""
        return self._rename(folder, f"{_TILES}{uuid.uuid4().hex}")

    def path(self, path: str) -> None:
        """Set a listed path aside, unless it is gone or was set aside before."""
        if self.is_there(path) and (self._data_dir / path) != (self._data_dir / aside_of(path)):
            (self._data_dir / path).rename(self._data_dir / aside_of(path))

    def is_there(self, path: str) -> bool:
        """Whether something has a path."""
        return os.path.lexists(self._data_dir / path)

    def remove(self, path: str) -> None:
        """Remove what was set aside, durably: what the law has erased does not come back after a
        power cut."""
        target = self._data_dir / aside_of(path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        if target.parent.is_dir():
            _sync(target.parent)

    def tiles_left(self) -> list[str]:
        """Tiles that were set aside."""
        return [f"{RESULTS}/{p.name}" for p in (self._data_dir / RESULTS).glob(f"{_TILES}*")]

    def folders_left(self) -> dict[str, str]:
        """Folders of results that were set aside, by path, each with the name that it had."""
        found = {}
        for path in (self._data_dir / RESULTS).glob(f"{ASIDE}*-*"):
            if not path.name.startswith(_TILES):
                found[f"{RESULTS}/{path.name}"] = path.name.removeprefix(ASIDE).partition("-")[2]
        return found

    def put_back(self, path: str, name: str) -> None:
        """Give a folder of results its name again; what was made anew in its place stays."""
        aside, folder = self._data_dir / path, self._data_dir / RESULTS / name
        if not aside.is_dir():
            return
        folder.mkdir(exist_ok=True)
        for entry in aside.iterdir():
            if not os.path.lexists(folder / entry.name):
                entry.rename(folder / entry.name)
        _sync(folder)
        shutil.rmtree(aside)

    def _rename(self, folder: Path, name: str) -> str:
        target = self._data_dir / RESULTS / name
        folder.rename(target)
        _sync(folder.parent)
        if folder.parent != target.parent:
            _sync(target.parent)
        return f"{RESULTS}/{name}"


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
