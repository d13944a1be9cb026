"""Whose a file is, and what stands for that when it is gone: a keyed digest.

The key lies beside the database, not in it, so that the database alone does not tell whether a
patient was here. Who has the key and a Patient ID can ask for the studies of that patient.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

KEY_FILE = "patient.key"
"""In the data folder; to be kept in backups together with the database."""
_KEY_BYTES = 32
_AFTER_PATIENT_ID = BaseTag(0x00100021)
UNREADABLE = (
    OSError,
    EOFError,
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    NotImplementedError,
    AttributeError,
    LookupError,
)
"""What a file may raise whose header is not as it should be."""


class PatientKey:
    """The key of one data folder."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.name = hashlib.sha256(b"name of " + key).hexdigest()[:16]
        """Tells two keys apart, and nothing of the key."""

    @classmethod
    def of(cls, data_dir: Path) -> PatientKey:
        """The key of a data folder, made durably when it is asked for first. Raises OSError."""
        if not (data_dir / KEY_FILE).exists():
            _make(data_dir / KEY_FILE)
        return cls._read(data_dir / KEY_FILE)

    @classmethod
    def found(cls, data_dir: Path) -> PatientKey | None:
        """The key of a data folder that has one. Raises OSError."""
        path = data_dir / KEY_FILE
        return cls._read(path) if path.exists() else None

    @classmethod
    def _read(cls, path: Path) -> PatientKey:
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise OSError(f"{path}: found {len(key)} bytes, expected {_KEY_BYTES}: put back a copy")
        return cls(key)

    def digest(self, patient_id: str) -> str:
        """What stands for a Patient ID (0010,0020): 64 hexadecimal digits."""
        whole = patient_id.encode(errors="surrogatepass")
        return hmac.new(self._key, whole, hashlib.sha256).hexdigest()

    def digests_of(self, paths: Iterable[Path]) -> frozenset[str]:
        """The same of files: an empty one where a file cannot be read, none for files of nobody."""
        found = set()
        for path in paths:
            try:
                patient_id = patient_id_of(path)
            except UNREADABLE:
                found.add("")
            else:
                found |= {self.digest(patient_id)} if patient_id else set()
        return frozenset(found)


def patient_id_of(path: Path) -> str:
    """Patient ID of a file, without the spaces around it; empty if none.

    Raises `UNREADABLE`.
    """
    with path.open("rb") as file:
        ds = read_partial(file, lambda tag, _vr, _length: tag >= _AFTER_PATIENT_ID)
    return str(ds.get("PatientID") or "").strip()


def _make(path: Path) -> None:
    """A new key under its name, whole or not at all; another process may be first."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    spare = path.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}")
    try:
        fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, secrets.token_bytes(_KEY_BYTES))
            os.fsync(fd)
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(spare, path)
        os.fsync(folder)
    finally:
        spare.unlink(missing_ok=True)
        os.close(folder)
