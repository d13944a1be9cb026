"""The lobby: one thread accepts connections, and lets in who has asked for an association.

Whoever connects has one time for all of it: the header of a proxy, the TLS handshake and the whole
A-ASSOCIATE-RQ. Until then it costs a socket and the bytes it has sent, no thread. Where there is
no room, the one that has waited longest goes: a real sender has asked within moments.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network

import structlog

from dicom_node.association.admission import address_of
from dicom_node.association.lobby.doors import Door
from dicom_node.association.lobby.limits import LOBBY, LobbyLimits
from dicom_node.association.lobby.repeats import Repeats
from dicom_node.association.lobby.visitor import Dismissed, Entrant, Visitor
from dicom_node.association.wire import CONGESTION

log = structlog.get_logger()

_ACCEPTED_AT_ONCE = 64  # before those who wait inside are looked after
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_ROOM_PAUSE_S = 0.05
_CLOSES_WITHIN_S = 5.0
_LONGEST_PAUSE_S = 1.0  # so that whoever asks can tell a quiet lobby from one that hangs


class Lobby:
    """Accepts on all doors: `start`, then `close`.

    `decide(entrant)` is asked about each whole association request and gives the bytes to refuse
    it with, or None; then `admit(entrant)` gets the connection. Both are called in the lobby's
    thread.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        *,
        decide: Callable[[Entrant], bytes | None],
        admit: Callable[[Entrant], None],
        proxies: Sequence[IPv4Network | IPv6Network] = (),
        limits: LobbyLimits = LOBBY,
    ) -> None:
        self._doors = {door.sock.fileno(): door for door in doors}
        self._decide = decide
        self._admit = admit
        self._proxies = tuple(proxies)
        self._limits = limits
        self._epoll = select.epoll()
        self._wake, self._waker = socket.socketpair()
        self._closing = False
        # In the order of arrival, which is that of their deadlines.
        self._visitors: OrderedDict[int, Visitor] = OrderedDict()
        self._hosts: dict[str, OrderedDict[int, Visitor]] = {}
        self._held = 0
        self._turned_at = time.monotonic()
        self._repeats = Repeats()
        self._thread = threading.Thread(target=self._run, name="lobby", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        for fd, door in self._doors.items():
            door.sock.setblocking(False)
            self._epoll.register(fd, select.EPOLLIN)
        self._epoll.register(self._wake.fileno(), select.EPOLLIN)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether somebody looks after the doors."""
        return self._thread.is_alive()

    @property
    def silent_s(self) -> float:
        """Since its thread looked after doors and visitors last; it does so every second."""
        return time.monotonic() - self._turned_at

    def close(self) -> None:
        """Close the doors and show out who is still inside."""
        self._closing = True
        self._waker.close()
        if self._thread.ident is not None:
            self._thread.join(_CLOSES_WITHIN_S)  # one that hangs keeps no process from its end
        for visitor in list(self._visitors.values()):
            self._dismiss(visitor)
        for door in self._doors.values():
            door.sock.close()
        self._wake.close()
        self._epoll.close()

    def _run(self) -> None:
        while not self._closing:
            self._turned_at = time.monotonic()
            ready = self._epoll.poll(self._pause_s())
            for fd, _ in ready:
                if fd in self._doors:
                    self._accept(self._doors[fd])
                elif (visitor := self._visitors.get(fd)) is not None:
                    self._go_on(visitor)
            self._end_overdue()

    def _pause_s(self) -> float:
        """Until the first deadline, if somebody waits, and not for long."""
        first = _first(self._visitors)
        left = _LONGEST_PAUSE_S if first is None else first.deadline - time.monotonic()
        return min(max(0.0, left), _LONGEST_PAUSE_S)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        while (visitor := _first(self._visitors)) is not None and visitor.deadline <= now:
            if visitor.held:
                self._tell(visitor, "an association request did not arrive in time")
            self._dismiss(visitor)

    def _accept(self, door: Door) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, address = door.sock.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._make_room(self._visitors)
                return
            self._welcome(door, sock, address)

    def _welcome(self, door: Door, sock: socket.socket, address: tuple[str, int]) -> None:
        sock.setblocking(False)
        peer = address_of(address[0])
        is_proxy = any(peer in network for network in self._proxies)
        if len(self._visitors) >= self._limits.visitors:
            self._make_room(self._visitors)
        visitor = Visitor(
            sock,
            str(peer),
            address[1],
            deadline=time.monotonic() + self._limits.patience_s,
            is_proxied=is_proxy,
            context=door.tls.context if door.tls else None,
        )
        self._visitors[visitor.fd] = visitor
        if not is_proxy:
            self._place(visitor)
        visitor.course = self._course(visitor)
        self._go_on(visitor)

    def _place(self, visitor: Visitor) -> None:
        """Count a visitor among those of its host, in place of one where they are too many."""
        of_host = self._hosts.setdefault(visitor.host, OrderedDict())
        if len(of_host) >= self._limits.per_host:
            self._make_room(of_host)
            of_host = self._hosts.setdefault(visitor.host, OrderedDict())
        of_host[visitor.fd] = visitor

    def _make_room(self, among: OrderedDict[int, Visitor]) -> None:
        """Send away who has waited longest."""
        visitor = _first(among)
        if visitor is None:
            time.sleep(_NO_ROOM_PAUSE_S)  # others hold what the system lacks
            return
        self._tell(visitor, "too many connections that ask for no association")
        self._dismiss(visitor, CONGESTION.encoded())

    def _course(self, visitor: Visitor) -> Iterator[int]:
        """The way of a visitor through the lobby; each step gives the events it waits for."""
        if visitor.is_proxied:
            yield from visitor.name_origin()
            self._place(visitor)
        yield from visitor.shake_hands()
        for events in visitor.ask():
            self._weigh(visitor)
            yield events
        entrant = visitor.entrant()
        answer = self._decide(entrant)
        if answer is None:
            self._forget(visitor)
            self._admit(entrant)
        else:
            yield from visitor.hear(answer)
            self._dismiss(visitor)

    def _go_on(self, visitor: Visitor) -> None:
        """Let a visitor take its next step, whatever comes of it."""
        try:
            visitor.await_(next(visitor.course), self._epoll)
        except StopIteration:
            pass
        except Dismissed as dismissed:
            if dismissed.reason:
                self._tell(visitor, dismissed.reason, **dismissed.fields)
            self._dismiss(visitor, dismissed.last_words)
        except OSError:
            self._dismiss(visitor)
        except Exception as error:  # noqa: BLE001 - no visitor ends the listener
            log.error("visitor_failed", peer=visitor.host, error=type(error).__name__)
            self._dismiss(visitor)

    def _weigh(self, visitor: Visitor) -> None:
        """Account for what a visitor has sent; who holds most goes where all hold too much."""
        self._held += visitor.grown()
        while self._held > self._limits.held_bytes:
            largest = max(self._visitors.values(), key=lambda v: v.held)
            if largest is visitor:
                raise Dismissed("too many bytes in incomplete requests", CONGESTION.encoded())
            self._tell(largest, "too many bytes in incomplete requests")
            self._dismiss(largest, CONGESTION.encoded())

    def _forget(self, visitor: Visitor) -> bool:
        """Take a visitor off all lists; whether it was there."""
        if self._visitors.get(visitor.fd) is not visitor:
            return False
        del self._visitors[visitor.fd]
        visitor.await_(0, self._epoll)
        self._held -= visitor.accounted
        of_host = self._hosts.get(visitor.host)
        if of_host is not None:
            of_host.pop(visitor.fd, None)
            if not of_host:
                del self._hosts[visitor.host]
        return True

    def _dismiss(self, visitor: Visitor, last_words: bytes = b"") -> None:
        if self._forget(visitor):
            visitor.leave(last_words)

    def _tell(self, visitor: Visitor, reason: str, **fields: object) -> None:
        kept_back = self._repeats.due(visitor.host)
        if kept_back is None:
            return
        if kept_back:
            fields["lines_kept_back"] = kept_back
        log.warning("connection_refused", peer=visitor.host, reason=reason, **fields)


def _first(visitors: OrderedDict[int, Visitor]) -> Visitor | None:
    return next(iter(visitors.values()), None)
