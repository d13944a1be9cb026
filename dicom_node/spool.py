"""Received instances on disk: written once under names of ours, durable before anyone is told.

An instance is received into a file that has no name (O_TMPFILE), so whatever ends the transfer, a
crash included, leaves nothing to clean up; `publish` gives it its name in one atomic link. There
is no other way in: on a file system without unnamed files the node refuses to start.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from dicom_node.incoming import Incoming, SpoolFull, storage_failure


class SpoolUnusable(Exception):
    """The spool cannot be used at all; the message says what to change."""


class OtherContent(Exception):
    """The same dataset bytes are on the spool under another file header (transfer syntax)."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where an instance is, relative to the spool, and whether this call put it there."""

    path: str
    created: bool


class Spool:
    """A folder of received instances, named by the SHA-256 of their dataset.

    One process at a time receives into a spool (`claim`); any process may read published files.
    """

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        self.root = root
        self._reserve_bytes = reserve_bytes
        self._low = False
        self._lock_fd: int | None = None

    def claim(self) -> None:
        """Create the folders and become the spool's only receiver, until `release`.

        Raises SpoolUnusable when another process receives into it or it cannot hold unnamed files.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise SpoolUnusable(
                f"{self.root}: another process already receives into this spool; stop it, or give "
                "this node its own data_dir"
            ) from error
        self._lock_fd = lock
        # All folders now, so that publishing never has to make a folder durable.
        for prefix in range(256):
            (self.root / f"{prefix:02x}").mkdir(exist_ok=True, mode=0o700)
        _sync_folder(self.root)
        os.close(self._unnamed_file())

    def release(self) -> None:
        """Let another process receive into the spool."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def sweep(self, known_paths: set[str]) -> int:
        """Remove published files without a ledger row: they were never acknowledged.

        Only after `claim`, before the first association. Returns how many were removed.
        """
        if self._lock_fd is None:
            raise SpoolUnusable(f"{self.root}: sweep needs the spool claimed first")
        removed = 0
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                if str(path.relative_to(self.root)) not in known_paths:
                    path.unlink()
                    removed += 1
        return removed

    def free_bytes(self) -> int:
        """Free space on the spool's file system for an unprivileged process."""
        stat = os.statvfs(self.root)
        return stat.f_bavail * stat.f_frsize

    def require_space(self) -> None:
        """Raise SpoolFull below the reserve, and then until a tenth more than the reserve is free.

        The distance keeps a sender from being let in and refused again with every instance.
        """
        needed = self._reserve_bytes + (self._reserve_bytes // 10 if self._low else 0)
        free = self.free_bytes()
        self._low = free < needed
        if self._low:
            raise SpoolFull(f"{free} bytes free, {needed} needed: free space on {self.root}")

    def receive(self, header: bytes) -> Incoming:
        """An empty file for one instance, its preamble and file meta information already written.

        Raises SpoolFull or SpoolFailed.
        """
        self.require_space()
        try:
            return Incoming(self._unnamed_file(), header, self.require_space)
        except OSError as error:
            raise storage_failure(error) from error

    def publish(self, incoming: Incoming, sha256: str) -> Published:
        """Give a finished instance its name, durably. `incoming` stays open.

        When the name is taken by the same bytes nothing changes; a damaged file is replaced.
        Publishing, recording and withdrawing must not interleave with another instance's: the
        caller holds a lock. Raises OtherContent, SpoolFull or SpoolFailed.
        """
        path = f"{sha256[:2]}/{sha256[2:]}.dcm"
        try:
            return Published(path, self._link(incoming, self.root / path))
        except OSError as error:
            raise storage_failure(error) from error

    def withdraw(self, published: Published) -> None:
        """Undo a `publish` that could not be recorded."""
        if published.created:
            (self.root / published.path).unlink(missing_ok=True)

    def _link(self, incoming: Incoming, target: Path) -> bool:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            source = f"/proc/self/fd/{incoming.fd}"
            # A folder descriptor makes CPython call linkat(2), which can follow the /proc link.
            try:
                os.link(source, target, src_dir_fd=folder, follow_symlinks=True)
            except FileExistsError:
                if _is_whole(target, incoming):
                    return False
                spare = target.with_suffix(".new")
                spare.unlink(missing_ok=True)
                os.link(source, spare, src_dir_fd=folder, follow_symlinks=True)
                spare.replace(target)
            os.fsync(folder)
            return True
        finally:
            os.close(folder)

    def _unnamed_file(self) -> int:
        try:
            return os.open(self.root, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):
                raise SpoolUnusable(
                    f"{self.root}: its file system has no unnamed files (O_TMPFILE); put data_dir "
                    "on ext4, xfs, btrfs or tmpfs"
                ) from error
            raise


def _is_whole(path: Path, incoming: Incoming) -> bool:
    """Whether a published file of the same digest has our header and our length."""
    with path.open("rb") as file:
        if file.read(len(incoming.header)) == incoming.header:
            return path.stat().st_size == len(incoming.header) + incoming.size_bytes
    if path.stat().st_size < len(incoming.header):
        return False
    raise OtherContent(f"{path.name}: the same bytes are stored under another transfer syntax")


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
