"""A thread that looks for what people should know, logs it, and sends it where they asked.

It reads the story that the ledger keeps and the free space of the disk; whoever works on studies
neither waits for it nor knows of it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from dicom_node.config.whole import Config
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.rows import Event
from dicom_node.notify.disk import Room, look
from dicom_node.notify.sending import Notice, Send, sender
from dicom_node.observe.log import os_reason, place_of, trace_of
from dicom_node.observe.plain import plain

log = structlog.get_logger()

TOLD_KINDS = ("study_parked",)
_EVERY_S = 2.0
_AGAIN_S = 3600.0
"""A disk that stays low is told again so often."""
_KEPT = "notified"
"""File in data_dir: the number of the last event that was told."""
_AT_ONCE = 50
_UID = re.compile(r"\b[0-9]+(?:\.[0-9]+){3,}\b")


class Lookout(threading.Thread):
    """Looks until `stop`; a notice that cannot be sent is logged and not sent again."""

    def __init__(self, config: Config, ledger: EgressLedger, stop: threading.Event) -> None:
        super().__init__(name="lookout", daemon=True)
        self._config = config
        self._ledger = ledger
        self._stop_asked = stop
        self._send: Send | None = sender(config.notify)
        self._room = Room.ENOUGH
        self._told_at = 0.0
        self._last: int | None = None

    def run(self) -> None:
        while not self._stop_asked.wait(_EVERY_S):
            try:
                self.look()
            except LedgerFailed as error:
                log.warning("ledger_busy", error=str(error))
            except OSError as error:
                log.warning("lookout_failed", reason=os_reason(error))
            except Exception as error:  # noqa: BLE001 - a thread that ends would tell nothing more
                log.error("lookout_failed", error=place_of(error), trace=trace_of(error))

    def look(self) -> None:
        """Tell what is new since the last look."""
        self._look_at_disk()
        if self._send is not None:
            for notice in self._new():
                self._send(notice)
                self._look_at_disk()  # sending may take long

    def _look_at_disk(self) -> None:
        node = self._config.node
        room, free_mb = look(node.data_dir, node.reserve_mb, node.warn_free_percent, self._room)
        now = time.monotonic()
        is_over = room is Room.ENOUGH
        if room is self._room and (is_over or now - self._told_at < _AGAIN_S):
            return
        self._room, self._told_at = room, now
        fields = {"free_mb": free_mb, "reserve_mb": node.reserve_mb}
        if is_over:
            log.info("disk_has_room", **fields)
            return
        say = log.error if room is Room.NONE else log.warning
        what = "free space on data_dir; C-STORE is answered A700 below the reserve"
        say(room.value, **fields, what_to_do=what)
        if self._send is not None:
            self._send({**self._about(room.value), **fields})

    def _new(self) -> Iterator[Notice]:
        """Notices of events that are not told yet, oldest first.

        Each is told once at most, also where a process ends in the middle; on a disk too full to
        keep its number, once more after a restart.
        """
        if self._last is None:
            self._last = self._kept()
        for number, event in self._ledger.queries.events_after(self._last, TOLD_KINDS, _AT_ONCE):
            if self._stop_asked.is_set():
                return  # the rest is told after the next start
            self._last = number
            self._keep(number)
            yield self._notice(event)

    def _notice(self, event: Event) -> Notice:
        at = self._ledger.database.wall_time(event.at)
        reason = plain(str(event.fields.get("reason", "")))
        notice = self._about(event.kind, datetime.fromtimestamp(at, UTC))
        if self._config.notify.with_uids:
            return {**notice, "study_instance_uid": event.study_instance_uid, "reason": reason}
        return {**notice, "reason": _UID.sub("(UID)", reason)}

    def _about(self, kind: str, at: datetime | None = None) -> dict[str, Any]:
        at = at or datetime.now(UTC)
        name, title = self._config.node.name, self._config.node.ae_title
        return {"event": kind, "at": at.isoformat(timespec="seconds"), "node": name, "ae": title}

    @property
    def _file(self) -> Path:
        return self._config.node.data_dir / _KEPT

    def _kept(self) -> int:
        """The last event told before this start; where none is known, the last that there is. One
        that there is not yet is of a database that was replaced."""
        last = self._ledger.queries.last_event()
        with suppress(OSError, ValueError):
            if (told := int(self._file.read_text())) <= last:
                return told
        self._keep(last)
        return last

    def _keep(self, number: int) -> None:
        with suppress(OSError):  # a full disk: after a restart it is told once more
            self._file.write_text(f"{number}\n")
