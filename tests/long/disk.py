"""A small disk that can be filled to the last byte."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PIECE_BYTES = 1 << 20


@dataclass
class Disk:
    """A folder; `mounted` says that it is a file system of its own."""

    folder: Path
    mounted: bool
    reason: str = ""
    """Why it is none."""

    @contextmanager
    def full(self) -> Iterator[None]:
        """No byte is free inside this block, whatever the node gives back."""
        emptied, filled = threading.Event(), threading.Event()
        filler = self.folder / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file:
                while not emptied.is_set():
                    _fill(file.fileno())
                    filled.set()
                    emptied.wait(0.05)

        thread = threading.Thread(target=fill)
        thread.start()
        filled.wait()
        try:
            yield
        finally:
            emptied.set()
            thread.join()
            filler.unlink()


def _fill(fd: int) -> None:
    size = _PIECE_BYTES
    while size:
        try:
            if os.write(fd, bytes(size)) < size:
                size //= 2
        except OSError:
            size //= 2


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Disk]:
    """A tmpfs of this size on a new folder, or only the folder where mounting is not allowed."""
    folder.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    disk = Disk(folder, mount.returncode == 0, mount.stderr.strip())
    try:
        yield disk
    finally:
        if disk.mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
