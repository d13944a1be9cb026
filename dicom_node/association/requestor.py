"""Associations that we ask for."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import MaximumLengthNotification
from pynetdicom.transport import AssociationSocket

from dicom_node.association.contexts import proposed_contexts
from dicom_node.association.dul import LenientDul
from dicom_node.association.limits import REQUESTED, Limits, prepare
from dicom_node.association.tls.contexts import TlsFailed, client_context, reason_of
from dicom_node.config.tls import DestinationTls
from dicom_node.sop_classes import SopClass

_FAREWELL_S = 2.0
_PATIENCE_S = 60.0


def request(
    *,
    host: str,
    port: int,
    called_ae: str,
    calling_ae: str,
    sop_classes: Sequence[SopClass],
    tls: DestinationTls | None = None,
    limits: Limits = REQUESTED,
    handlers: Sequence[tuple[Any, Callable[[Any], Any]]] = (),
    as_scp: bool = False,
    taken: Sequence[SopClass] = (),
) -> Association:
    """An association with every class and transfer syntax proposed; look whether it stands.

    `handlers` are events of the library and what is called when the peer sends something on it;
    with `as_scp` we propose to be the SCP of the classes, which a report needs. `taken` are
    proposed besides, as SCP, for what the peer sends us when we retrieve it.

    Raises OSError and RuntimeError where the network fails in the middle, TlsFailed where peer and
    node do not agree on TLS, and TlsUnusable where our own files are of no use.
    """
    entity = _Entity(ae_title=calling_ae)
    prepare(entity, limits)
    secured = None
    if tls is not None:
        # Made anew each time: a file that was replaced is in use at once.
        secured = client_context(tls)
        secured.sslsocket_class = _Noting
    as_scp_of = [*(sop_classes if as_scp else ()), *taken]
    roles = [build_role(sop_class.uid, scp_role=True) for sop_class in as_scp_of]
    association = entity.associate(
        host,
        port,
        contexts=proposed_contexts([*sop_classes, *taken]),
        ae_title=called_ae,
        max_pdu=limits.pdu_bytes,
        evt_handlers=list(handlers),
        ext_neg=roles or None,
        tls_args=None if secured is None or tls is None else (secured, tls.peer_name or host),
    )
    failure: OSError | None = getattr(secured, "failure", None)
    if failure is not None and not association.is_established:
        raise TlsFailed(reason_of(failure))
    if association.is_established:
        _keep_even(association)
    return association


def _keep_even(association: Association) -> None:
    """Fragments are of even length (PS3.8 Annex E), also where a peer takes an odd number of bytes:
    the library fills what it takes, and DCMTK breaks off at an odd fragment."""
    for item in association.acceptor.user_information:
        if isinstance(item, MaximumLengthNotification) and item.maximum_length_received % 2:
            item.maximum_length_received -= 1


class _Entity(AE):  # type: ignore[misc]  # untyped base
    """An application entity whose associations look for data before they read over TLS, and take
    answers with items that they do not know."""

    def _create_socket(self, *arguments: Any) -> AssociationSocket:
        sock = super()._create_socket(*arguments)
        sock.__class__ = _LookingSocket
        LenientDul.take_over(sock.assoc.dul)
        return sock


class _LookingSocket(AssociationSocket):  # type: ignore[misc]  # untyped base
    @property
    def ready(self) -> bool:
        """Whether reading would not wait."""
        ready: bool = super().ready
        return ready and (not isinstance(self.socket, _Noting) or self.socket.would_read())


class _Noting(ssl.SSLSocket):
    """A socket that keeps why TLS failed, which the library does not tell, and ends TLS properly.

    Only the thread that reads it closes it (pynetdicom's DUL of a requestor).
    """

    _ahead = b""
    """A byte that was read to see whether there is one."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands; the error, if any, is kept in the context."""
        try:
            super().do_handshake(block)
        except OSError as error:
            self._note(error)
            raise

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read; in TLS 1.3 what the peer says of our certificate comes only here."""
        if self._ahead and buffer is None:
            found, self._ahead = self._ahead, b""
            return found
        try:
            return super().read(len, buffer)
        except ssl.SSLError as error:
            self._note(error)
            raise

    def would_read(self) -> bool:
        """Whether data, the end of the stream or an error is there to be read, and not only a
        ticket of TLS 1.3: that wakes whoever waits for data, and who reads then waits on."""
        if self._ahead:
            return True
        patience_s = self.gettimeout()
        super().settimeout(0)
        try:
            self._ahead = super().read(1)
        except ssl.SSLWantReadError:
            return False
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                self._note(error)
            return True  # who reads sees it again, or the end of the stream
        finally:
            super().settimeout(patience_s)
        return True

    def settimeout(self, value: float | None) -> None:
        """Never wait for ever, for the rest of a PDU or of a record."""
        super().settimeout(_PATIENCE_S if value is None else value)

    def _note(self, error: OSError) -> None:
        # The context is made for this one connection.
        self.context.failure = error  # type: ignore[attr-defined]

    def shutdown(self, how: int) -> None:
        """Say that nothing follows (close_notify) and read what the peer still says: a socket that
        is closed over bytes not read takes back what was sent last."""
        with contextlib.suppress(OSError, ValueError):
            self.settimeout(_FAREWELL_S)
            self.unwrap()
        super().shutdown(how)
