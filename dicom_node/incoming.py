"""One instance while it arrives: an unnamed file, its header, its digest."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_node.contexts import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SPACE_CHECK_BYTES = 32 << 20  # free space is looked at again after this many bytes
_MAXIMUM_PIECES = 512  # one writev(2) takes 1024
_DIGEST_STEP_BYTES = 1 << 20  # the digest follows the file in steps of this size
_DIGEST_BLOCK_BYTES = 256 << 10  # small enough to be hashed from the processor's cache
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Pieces = Sequence[bytes | memoryview]


class SpoolFull(Exception):
    """No room for an instance now; the sender should try later."""


class SpoolFailed(Exception):
    """The spool's storage does not work: an I/O error, or a file that is not what it should be."""


class Incoming:
    """One instance on its way in: an unnamed file, its SHA-256 and a byte count.

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
        self._digest = FileDigest(fd, start=len(header))
        self._next_check = _SPACE_CHECK_BYTES
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
            self._digest.grown(self.size_bytes)
            if self.size_bytes >= self._next_check:
                self._next_check = self.size_bytes + _SPACE_CHECK_BYTES
                self._require_space()
        except OSError as error:
            self._fail(storage_failure(error))
        except SpoolFull as error:
            self._fail(error)

    def finish(self) -> str:
        """Wait until the bytes are on the disk; their SHA-256 in hexadecimal.

        Raises SpoolFull or SpoolFailed.
        """
        if self.failure is not None:
            raise self.failure
        try:
            os.fdatasync(self.fd)
            return self._digest.finish(self.size_bytes)
        except OSError as error:
            raise storage_failure(error) from error

    def read_at(self, offset: int, count: int) -> bytes:
        """At most `count` dataset bytes from `offset`, 0 being the first after the header."""
        return os.pread(self.fd, count, len(self.header) + offset)

    def close(self) -> None:
        """Give the descriptor back, and the space too unless the file was published."""
        if self.fd >= 0:
            self._digest.abandon()  # first: the number of a closed descriptor is soon another file
            os.close(self.fd)
            self.fd = -1

    def _fail(self, failure: SpoolFull | SpoolFailed) -> None:
        self.failure = failure
        self.close()


class FileDigest:
    """SHA-256 of a file from `start` on, computed by a thread of its own while the file grows.

    Hashing takes longer than receiving and writing together; beside them it costs less time. The
    thread reads the file back (from the page cache), so no buffer is shared and it may lag behind.
    """

    def __init__(self, fd: int, start: int) -> None:
        self._fd = fd
        self._start = start
        self._sha256 = hashlib.sha256()
        self._done = 0
        self._asked = 0
        self._targets: SimpleQueue[int | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._abandoned = False
        self._error: OSError | None = None

    def grown(self, size: int) -> None:
        """The file now holds `size` bytes after its start."""
        if size - self._asked < _DIGEST_STEP_BYTES:
            return
        self._asked = size
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="digest", daemon=True)
            self._thread.start()
        self._targets.put(size)

    def finish(self, size: int) -> str:
        """The digest of `size` bytes, in hexadecimal. Raises OSError when they cannot be read."""
        self._stop()
        if self._error is None:
            self._advance(size, memoryview(bytearray(_DIGEST_BLOCK_BYTES)))
        if self._error is not None:
            raise self._error
        return self._sha256.hexdigest()

    def abandon(self) -> None:
        """Stop reading the file."""
        self._abandoned = True
        self._stop()

    def _stop(self) -> None:
        if self._thread is not None:
            self._targets.put(None)
            self._thread.join()
            self._thread = None

    def _follow(self) -> None:
        buffer = memoryview(bytearray(_DIGEST_BLOCK_BYTES))
        while (target := self._targets.get()) is not None:
            self._advance(target, buffer)

    def _advance(self, target: int, buffer: memoryview) -> None:
        try:
            while self._done < target and not self._abandoned:
                want = buffer[: min(len(buffer), target - self._done)]
                count = os.preadv(self._fd, [want], self._start + self._done)
                if not count:
                    raise OSError(errno.EIO, "file shorter than what was written to it")
                self._sha256.update(want[:count])
                self._done += count
        except OSError as error:
            self._error = error


def file_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """A null preamble, `DICM` and file meta information (PS3.10 7.1).

    The preamble is ours: a peer's could make the file something else as well (PS3.10 7.5).
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = DicomBytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def storage_failure(error: OSError) -> SpoolFull | SpoolFailed:
    """What an error of the operating system means for the sender."""
    kind = SpoolFull if error.errno in _FULL else SpoolFailed
    return kind(f"{errno.errorcode.get(error.errno or 0, 'EIO')}: {error.strerror}")


def _write_all(fd: int, pieces: Pieces) -> None:
    if len(pieces) > _MAXIMUM_PIECES:
        pieces = [b"".join(pieces)]
    rest = sum(map(len, pieces)) - os.writev(fd, pieces)
    if rest:  # the disk filled up, most likely
        left = memoryview(b"".join(pieces))[-rest:]
        while left:
            left = left[os.write(fd, left) :]
