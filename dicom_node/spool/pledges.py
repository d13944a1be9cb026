"""What has to outlive the database: promises to senders, and holds; kept beside the spool.

A lost database takes its rows with it, and a promise on which a sender deleted its only copy must
not go with them. Each is written here before the row is, and durably: what stands here and not in
a database counts all the same.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inference.durable import sync_folder, whole

_PROMISED, _HOLDS = "promised", "holds"


@dataclass(frozen=True, slots=True)
class HoldNote:
    """A study that somebody put on hold."""

    study: str
    reason: str
    token: str
    """Tells this hold from every other."""


class Pledges:
    """Of one data folder; any process may write, one at a time."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file, self._folder = data_dir / _PROMISED, data_dir / _HOLDS
        self._seen: tuple[tuple[int, int], frozenset[str]] | None = None

    def promise(self, instance_uids: Iterable[str]) -> None:
        """Write that these are promised; durable on return. Raises OSError: promise nothing
        then."""
        lines = "".join(f"{_digest(uid)}\n" for uid in instance_uids)
        if not lines:
            return
        with self._alone():
            is_new = not self._file.exists()
            fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "ab") as file:
                file.write(f"\n{lines}".encode())  # after what a power cut may have left half
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self._data_dir)

    def promised(self, instance_uids: Iterable[str]) -> set[str]:
        """Those that were promised. Raises OSError where that cannot be read: then nothing may
        go."""
        known = self._promised()
        return {uid for uid in instance_uids if _digest(uid) in known} if known else set()

    def break_promises(self, instance_uids: Collection[str]) -> None:
        """Forget that these were promised, because the law says so. Raises OSError."""
        broken = {_digest(uid) for uid in instance_uids}
        with self._alone():
            known = self._promised()
            if known & broken:
                with whole(self._file) as file:
                    file.writelines(f"{one}\n".encode() for one in sorted(known - broken))

    def hold(self, study: str, reason: str) -> str:
        """Write that a study is on hold, once; the token of the hold. Raises OSError."""
        with self._alone():
            found = self._hold_in(self._path(study))
            if found is not None:
                return found.token
            token = secrets.token_hex(8)
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700)
                sync_folder(self._data_dir)
            with whole(self._path(study)) as file:
                says = {"study": study, "reason": reason, "token": token}
                file.write(json.dumps(says).encode())
        return token

    def release(self, study: str) -> None:
        """Forget a hold. Raises OSError."""
        with self._alone():
            if self._path(study).exists():
                self._path(study).unlink()
                sync_folder(self._folder)

    def holds(self) -> list[HoldNote]:
        """All holds. Raises OSError, also for one that makes no sense: nothing may go then."""
        paths = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        notes = [note for note in map(self._hold_in, paths) if note is not None]
        if len(notes) < len(paths) and not all(self._hold_in(p) for p in paths if p.exists()):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        return notes

    def _hold_in(self, path: Path) -> HoldNote | None:
        try:
            says = json.loads(path.read_bytes())
            return HoldNote(str(says["study"]), str(says["reason"]), str(says["token"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _path(self, study: str) -> Path:
        return self._folder / f"{_digest(study)[:32]}.json"

    def _promised(self) -> frozenset[str]:
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return frozenset()
        version = (stat.st_mtime_ns, stat.st_size)
        if self._seen is None or self._seen[0] != version:
            lines = self._file.read_bytes().split()
            self._seen = version, frozenset(line.decode("ascii", "replace") for line in lines)
        return self._seen[1]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = os.open(self._data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()
