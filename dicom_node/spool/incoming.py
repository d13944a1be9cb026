"""One instance while it arrives: an unnamed file and its header."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_node import implementation

_STEP_BYTES = 16 << 20  # after so many bytes: free space is looked at, writing to disk begins
_MAXIMUM_PIECES = 512  # one writev(2) takes 1024
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of errors that say that there is no room."""
_GROUP_LENGTH = struct.Struct("<128x4sHH2sHL")  # PS3.10 7.1: up to the value of (0002,0000)

Pieces = Sequence[bytes | memoryview]


class SpoolFull(Exception):
    """No room for an instance now; the sender should try later."""


class SpoolFailed(Exception):
    """The spool's storage does not work: an I/O error, or a file that is not what it should be."""


class WholeInstance(Protocol):
    """An instance in an open file, to be kept: one that arrived, or one that was found."""

    @property
    def fd(self) -> int:
        """Its file."""

    @property
    def size_bytes(self) -> int:
        """Of the dataset."""

    def read_at(self, offset: int, count: int) -> bytes:
        """At most `count` dataset bytes from `offset`."""

    def sync(self) -> None:
        """Wait until the bytes are on the disk. Raises SpoolFull or SpoolFailed."""


class Incoming:
    """One instance on its way in: an unnamed file and a byte count.

    `write` never raises: the peer's bytes have to be drained before it can be answered. What went
    wrong is in `failure`, and the space is given back at once.
    """

    def __init__(self, fd: int, header: bytes, require_space: Callable[[], None]) -> None:
        self.fd = fd
        self.header = header
        self.size_bytes = 0
        """Dataset bytes received, also those dropped after a failure."""
        self.failure: SpoolFull | SpoolFailed | None = None
        self._require_space = require_space
        self._step_start = 0
        try:
            _write_all(fd, [header])
        except OSError as error:
            self._fail(storage_failure(error))

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append dataset bytes."""
        self.size_bytes += sum(map(len, pieces))
        if self.failure is not None or not pieces:
            return
        try:
            _write_all(self.fd, pieces)
            if self.size_bytes - self._step_start >= _STEP_BYTES:
                self._step()
        except OSError as error:
            self._fail(storage_failure(error))
        except SpoolFull as error:
            self._fail(error)

    def _step(self) -> None:
        self._require_space()
        length = self.size_bytes - self._step_start
        # Linux begins to write a range it is told is not needed: less is left for fdatasync. What
        # is not written yet stays in memory.
        os.posix_fadvise(self.fd, self._step_start, length, os.POSIX_FADV_DONTNEED)
        self._step_start = self.size_bytes

    def sync(self) -> None:
        """Wait until the bytes are on the disk. Raises SpoolFull or SpoolFailed."""
        self.require_whole()
        try:
            os.fdatasync(self.fd)
        except OSError as error:
            raise storage_failure(error) from error

    def require_whole(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.failure is not None:
            raise self.failure

    def read_at(self, offset: int, count: int) -> bytes:
        """At most `count` dataset bytes from `offset`, 0 being the first after the header."""
        return os.pread(self.fd, count, len(self.header) + offset)

    def close(self) -> None:
        """Give the descriptor back, and the space too unless the file was published."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _fail(self, failure: SpoolFull | SpoolFailed) -> None:
        self.failure = failure
        self.close()


def file_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """A null preamble, `DICM` and file meta information (PS3.10 7.1).

    The preamble is ours: a peer's could make the file something else as well (PS3.10 7.5).
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(implementation.CLASS_UID)
    meta.ImplementationVersionName = implementation.VERSION_NAME
    buffer = DicomBytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def dataset_start(fd: int) -> int | None:
    """Where the dataset of a file of ours begins; None when its header is not one of ours."""
    try:
        magic, group, element, vr, _, length = _GROUP_LENGTH.unpack(
            os.pread(fd, _GROUP_LENGTH.size, 0)
        )
    except struct.error:  # shorter
        return None
    if (magic, group, element, vr) != (b"DICM", 0x0002, 0x0000, b"UL"):
        return None
    return _GROUP_LENGTH.size + int(length)


def storage_failure(error: OSError) -> SpoolFull | SpoolFailed:
    """What an error of the operating system means for the sender."""
    kind = SpoolFull if error.errno in FULL else SpoolFailed
    return kind(f"{errno.errorcode.get(error.errno or 0, 'EIO')}: {error.strerror}")


def _write_all(fd: int, pieces: Pieces) -> None:
    if len(pieces) > _MAXIMUM_PIECES:
        pieces = [b"".join(pieces)]
    rest = sum(map(len, pieces)) - os.writev(fd, pieces)
    if rest:  # the disk filled up, most likely
        left = memoryview(b"".join(pieces))[-rest:]
        while left:
            left = left[os.write(fd, left) :]
