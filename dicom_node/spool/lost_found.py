"""Files of the spool that the ledger does not know: kept aside until somebody asks for them.

Without the right database every received file is unknown, so none is ever removed for it. One
process at a time moves such files (`LostFound.held`): the listener when it starts, or `dicom-node
recover`.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicom_node.spool.incoming import SpoolFailed, dataset_start, storage_failure
from dicom_node.spool.spool import Spool, SpoolUnusable

_META_LIMIT_BYTES = 64 << 10  # of file meta information; ours is some 300 bytes
_META_START = 132  # PS3.10 7.1: after the preamble and DICM


class LostFoundBusy(Exception):
    """Another process is moving files in or out."""


class LostFile:
    """One file of the folder, open for reading; can be kept as an instance that arrives is."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or SpoolFailed when it is not a file with a header of ours."""
        # Not blocking and no link: what is no file of ours must not hold us or lead elsewhere.
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self._start, self.size_bytes = _dataset_span(self.fd)
        except BaseException:
            os.close(self.fd)
            raise

    def __enter__(self) -> LostFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def file_meta(self) -> bytes:
        """The file meta information, encoded."""
        return os.pread(self.fd, min(self._start - _META_START, _META_LIMIT_BYTES), _META_START)

    def read_at(self, offset: int, count: int) -> bytes:
        """At most `count` dataset bytes from `offset`."""
        return os.pread(self.fd, count, self._start + offset)

    def sync(self) -> None:
        """Wait until the bytes are on the disk: a file copied here may not be. Raises SpoolFailed
        or SpoolFull.
        """
        try:
            os.fdatasync(self.fd)
        except OSError as error:
            raise storage_failure(error) from error


class LostFound:
    """The folder `lost+found` of a spool."""

    def __init__(self, spool: Spool) -> None:
        self.folder = spool.own / "lost+found"
        self._spool = spool

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only process that moves files in or out.

        Raises LostFoundBusy, and SpoolUnusable when the folder cannot be written.
        """
        self.folder.mkdir(exist_ok=True, mode=0o700)
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise SpoolUnusable(
                f"{self.folder}: no right to write there, expected a folder of the node's user "
                "(that of a file system belongs to root): change its owner, or put data_dir, not "
                "its spool, on that file system"
            )
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._lock(folder)
            yield
        finally:
            os.close(folder)

    def _lock(self, folder: int) -> None:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LostFoundBusy(
                f"{self.folder}: another process moves files there (`dicom-node recover`, or a "
                "node that starts); wait until it is done"
            ) from error

    def sweep(self, known_paths: Callable[[], set[str]]) -> int:
        """Move published files without a ledger row here, durably; how many were moved.

        Only after `claim`, before the first association. Raises LostFoundBusy.
        """
        if not self._spool.is_claimed:
            raise SpoolUnusable(f"{self._spool.root}: sweep needs the spool claimed first")
        with self.held():
            # Asked for only now: `recover` may have recorded a file a moment ago.
            known = known_paths()
            unknown = [path for path in published_paths(self._spool) if path not in known]
            for path in unknown:
                name = "".join(Path(path).parts[-2:])
                (self._spool.root / path).rename(self._free_name(name))
            if unknown:
                # The new names first: a power cut may leave a file in both places, never in none.
                _sync_folders([self.folder, *{(self._spool.root / p).parent for p in unknown}])
        return len(unknown)

    def names(self) -> list[str]:
        """Names of the files that wait here."""
        return sorted(os.listdir(self.folder)) if self.folder.is_dir() else []

    def open(self, name: str) -> LostFile:
        """One file. Raises OSError or SpoolFailed."""
        return LostFile(self.folder / name)

    def discard(self, name: str) -> None:
        """Remove the name of a file that is durably kept elsewhere.

        One that comes back after a power cut is found to be known.
        """
        (self.folder / name).unlink()

    def _free_name(self, name: str) -> Path:
        """A path nothing has; nobody else makes one while the folder is held."""
        path = self.folder / name
        while os.path.lexists(path):
            path = self.folder / f"{uuid.uuid4().hex}-{name}"
        return path


def published_paths(spool: Spool) -> list[str]:
    """Paths, relative to the spool, of whatever is in the folders that its receiver writes."""
    folders = sorted(spool.own.glob("[0-9a-f][0-9a-f]"))
    return [
        str((folder / name).relative_to(spool.root))
        for folder in folders
        for name in sorted(os.listdir(folder))
    ]


def _dataset_span(fd: int) -> tuple[int, int]:
    """Start and length of the dataset of a file of ours. Raises OSError or SpoolFailed."""
    size = os.fstat(fd).st_size
    start = dataset_start(fd)
    if start is None or start > size:
        raise SpoolFailed("not a DICOM file with file meta information")
    return start, size - start


def _sync_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
