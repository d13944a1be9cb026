"""Received instances on disk: written once under random names, durable before anyone is told.

An instance is received into a file that has no name (O_TMPFILE), so whatever ends the transfer, a
crash included, leaves nothing to clean up; `publish` gives it its name in one atomic link. There
is no other way in: on a file system without unnamed files the node refuses to start.
"""

from __future__ import annotations

import errno
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dicom_node.spool.incoming import (
    Incoming,
    SpoolFull,
    WholeInstance,
    dataset_start,
    storage_failure,
)
from inference.lock import held, holder

_COMPARE_BYTES = 1 << 20  # of each file in memory while two are compared


class SpoolUnusable(Exception):
    """The spool cannot be used at all; the message says what to change."""


class Spool:
    """A folder of received instances, 256 folders of random names: no peer chooses where it writes.

    One process at a time receives into a spool (`claim`); any process may read published files.
    Receivers of several names share a spool by a folder each (`writer`), which nobody else claims
    or sweeps; paths are relative to the spool, so they hold for all of them.
    """

    def __init__(self, root: Path, reserve_bytes: int, *, writer: str = "") -> None:
        self.root = root
        self.own = root / writer
        """Where this receiver writes."""
        self._writer = writer
        self._reserve_bytes = reserve_bytes
        self._low = False
        self._claim: ExitStack | None = None

    def claim(self, *, stop: threading.Event | None = None, patience_s: float = 0.0) -> None:
        """Create the folders and become the spool's only receiver, until `release`.

        Raises SpoolUnusable when another process still receives into it after `patience_s`, or when
        it cannot hold unnamed files.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.own.mkdir(exist_ok=True, mode=0o700)
        path, claim = self.own / ".lock", ExitStack()
        if not claim.enter_context(held(path, stop=stop, patience_s=patience_s)):
            claim.close()
            raise SpoolUnusable(
                f"{self.own}: {holder(path)} already receives into this spool; stop it, or give "
                "this node its own data_dir"
            )
        self._claim = claim
        # All folders now, so that publishing never has to make a folder durable.
        for prefix in range(256):
            (self.own / f"{prefix:02x}").mkdir(exist_ok=True, mode=0o700)
        for made in (path, self.own):
            with _folder(made) as folder:
                os.fsync(folder)
        os.close(self._unnamed_file())

    @property
    def is_claimed(self) -> bool:
        """Whether this object is the spool's receiver."""
        return self._claim is not None

    def release(self) -> None:
        """Let another process receive into the spool."""
        if self._claim is not None:
            self._claim.close()
            self._claim = None

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

    def new_path(self) -> str:
        """A path for a new instance, relative to the spool: random, so it is nobody else's."""
        name = uuid.uuid4().hex
        return str(Path(self._writer, name[:2], f"{name[2:]}.dcm"))

    def publish(self, incoming: WholeInstance, path: str) -> None:
        """Give a synced instance a name, a new one, durably; `incoming` stays open.

        Raises SpoolFull or SpoolFailed.
        """
        with _storage_errors(), _folder(self.root / path) as folder:
            _link(incoming, self.root / path, folder)
            os.fsync(folder)

    def withdraw(self, path: str) -> None:
        """Undo a `publish` that could not be recorded."""
        (self.root / path).unlink(missing_ok=True)

    def replace(self, path: str, incoming: WholeInstance) -> None:
        """Put a synced instance in the place of a lost or damaged one, durably and at once.

        Raises SpoolFull or SpoolFailed.
        """
        target = self.root / path
        # A crash before the rename leaves a file without a row: the next start moves it away.
        spare = target.with_name(f"{uuid.uuid4().hex}.new")
        with _storage_errors(), _folder(target) as folder:
            _link(incoming, spare, folder)
            spare.replace(target)
            os.fsync(folder)

    def is_damaged(self, path: str, size_bytes: int) -> bool:
        """Whether a published file is lost, or holds another number of dataset bytes than recorded.

        Raises SpoolFailed when that cannot be found out.
        """
        with _storage_errors():
            try:
                fd = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return True
            try:
                start = dataset_start(fd)
                return start is None or os.fstat(fd).st_size != start + size_bytes
            finally:
                os.close(fd)

    def holds(self, path: str, incoming: WholeInstance) -> bool:
        """Whether a published file has exactly the dataset bytes of `incoming`.

        Reads both in pieces. Raises SpoolFailed when the published file cannot be read.
        """
        with _storage_errors():
            fd = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                start = dataset_start(fd)
                return start is not None and _same_bytes(fd, start, incoming)
            finally:
                os.close(fd)

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


def _link(incoming: WholeInstance, target: Path, folder: int) -> None:
    """Give an open file a name, its first or one more."""
    source = f"/proc/self/fd/{incoming.fd}"
    # A folder descriptor makes CPython call linkat(2), which can follow the /proc link.
    os.link(source, target, src_dir_fd=folder, follow_symlinks=True)


def _same_bytes(fd: int, start: int, incoming: WholeInstance) -> bool:
    """Whether a file has, from `start` to its end, the dataset bytes of `incoming`."""
    offset = 0
    while True:
        stored = os.pread(fd, _COMPARE_BYTES, start + offset)
        if stored != incoming.read_at(offset, _COMPARE_BYTES):
            return False
        if not stored:
            return True
        offset += len(stored)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_failure(error) from error


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A descriptor of the folder of a file."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
