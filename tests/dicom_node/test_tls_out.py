"""Results over TLS: DCMTK's storescp and openssl's sockets as destinations, good and bad ones."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import Authority, Identity
from nodes import StoreScp, need, storescp
from peers import read_pdu
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_node.association.wire import CONGESTION
from dicom_node.config.peers import Destination
from dicom_node.config.tls import DestinationTls
from dicom_node.deliver.dimse import ask, send
from dicom_node.ledger.states import DeliveryState
from dicom_node.results.kinds import result_classes
from dicom_node.sop_classes import COMPREHENSIVE_3D_SR


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture(scope="module")
def pacs(authority: Authority) -> Identity:
    return authority.issue("pacs")


@pytest.fixture(scope="module")
def own(authority: Authority) -> Identity:
    return authority.issue("node")


@pytest.fixture
def result(tmp_path: Path) -> Path:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = COMPREHENSIVE_3D_SR.uid, generate_uid()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(tmp_path / "result.dcm", enforce_file_format=True)
    return tmp_path / "result.dcm"


def destination(
    port: int, authority: Authority, own: Identity | None = None, **changes: object
) -> Destination:
    tls = DestinationTls(
        ca=authority.ca,
        certificate=own.certificate if own else None,
        key=own.key if own else None,
    )
    return Destination(
        name="pacs",
        ae_title="PACS",
        host="127.0.0.1",
        port=port,
        tls=tls.model_copy(update=changes),
    )


@contextmanager
def secured_scp(folder: Path, who: Identity, authority: Authority) -> Iterator[StoreScp]:
    with storescp(folder, "+xa", *who.dcmtk, "+cf", str(authority.ca)) as scp:
        yield scp


@contextmanager
def peer(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A destination of one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            thread.join(30)


def context_of(who: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(who.certificate, who.key)
    return context


def test_a_result_is_delivered_over_tls_with_the_nodes_own_certificate(
    authority: Authority, pacs: Identity, own: Identity, result: Path, tmp_path: Path
) -> None:
    with secured_scp(tmp_path / "pacs", pacs, authority) as scp:
        target = destination(scp.port, authority, own)
        answer = ask(target, "NODE")
        assert answer.echoes
        assert answer.accepted[COMPREHENSIVE_3D_SR.uid]
        assert set(answer.accepted) == set(result_classes())
        for _ in range(3):
            assert send(result, target, "NODE").state is DeliveryState.DELIVERED
        assert len(scp.objects()) == 1


def test_a_new_certificate_is_in_use_without_a_restart(
    authority: Authority, pacs: Identity, own: Identity, tmp_path: Path
) -> None:
    used = Identity(tmp_path / "own.pem", tmp_path / "own.key")
    used.certificate.write_text("spoiled")
    used.key.write_bytes(own.key.read_bytes())
    with secured_scp(tmp_path / "pacs", pacs, authority) as scp:
        target = destination(scp.port, authority, used)
        assert "the files of its TLS are of no use" in ask(target, "NODE").reason
        used.certificate.write_bytes(own.certificate.read_bytes())
        assert ask(target, "NODE").echoes


def test_the_name_of_the_peer_is_checked(
    authority: Authority, own: Identity, result: Path, tmp_path: Path
) -> None:
    other = authority.issue("elsewhere", alternative="DNS:archive.hospital")
    with secured_scp(tmp_path / "pacs", other, authority) as scp:
        outcome = send(result, destination(scp.port, authority, own), "NODE")
        assert outcome.state is DeliveryState.PENDING
        assert not outcome.is_answered
        assert "certificate is not valid for '127.0.0.1'" in str(outcome.error)
        named = destination(scp.port, authority, own, peer_name="archive.hospital")
        assert send(result, named, "NODE").state is DeliveryState.DELIVERED


def test_a_peer_that_cannot_be_trusted_gets_nothing_and_the_reason_is_told(
    authority: Authority, pacs: Identity, own: Identity, result: Path, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path / "other" / "ca")
    expired = authority.issue("expired", end="20250601000000Z")
    revoked = authority.issue("revoked")
    authority.revoke(revoked)
    for name, who, expected, changes in (
        ("foreign", foreign.issue("pacs"), "unable to get local issuer certificate", {}),
        ("expired", expired, "certificate has expired", {}),
        ("revoked", revoked, "certificate revoked", {"crl": authority.crl()}),
    ):
        with secured_scp(tmp_path / name, who, authority) as scp:
            outcome = send(result, destination(scp.port, authority, own, **changes), "NODE")
            assert outcome.state is DeliveryState.PENDING
            assert f"do not agree on TLS: {expected}" in str(outcome.error)
            assert scp.objects() == []


def test_a_peer_that_wants_a_certificate_and_gets_none_says_so(
    authority: Authority, pacs: Identity, tmp_path: Path
) -> None:
    with secured_scp(tmp_path / "pacs", pacs, authority) as scp:
        reason = ask(destination(scp.port, authority), "NODE").reason
    assert "do not agree on TLS: " in reason
    assert "certificate required" in reason or "handshake failure" in reason


def test_a_peer_without_tls_gets_nothing(
    authority: Authority, own: Identity, result: Path, tmp_path: Path
) -> None:
    with storescp(tmp_path / "pacs") as scp:
        outcome = send(result, destination(scp.port, authority, own), "NODE")
        assert outcome.state is DeliveryState.PENDING
        assert scp.objects() == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_association_ends_with_close_notify(
    authority: Authority, pacs: Identity, version: ssl.TLSVersion
) -> None:
    ends: list[str] = []
    context = context_of(pacs)
    context.minimum_version = context.maximum_version = version

    def reject(connection: socket.socket) -> None:
        with context.wrap_socket(
            connection, server_side=True, suppress_ragged_eofs=False
        ) as secured:
            assert read_pdu(secured)[0] == 1
            secured.sendall(CONGESTION.encoded())
            try:
                while secured.recv(4096):
                    pass
                ends.append("close_notify")
            except OSError as error:
                ends.append(repr(error))

    with peer(reject) as port:
        assert "rejected the association" in ask(destination(port, authority), "NODE").reason
    assert ends == ["close_notify"]


def test_a_peer_that_stops_in_the_handshake_or_after_it_holds_up_nobody_for_long(
    authority: Authority, pacs: Identity
) -> None:
    done = threading.Event()

    def mute(_connection: socket.socket) -> None:
        done.wait(40)

    def mute_after_handshake(connection: socket.socket) -> None:
        with context_of(pacs).wrap_socket(connection, server_side=True):  # with tickets
            done.wait(40)

    for serve in (mute, mute_after_handshake):
        done.clear()
        with peer(serve) as port:
            begin = time.monotonic()
            answer = ask(destination(port, authority), "NODE")
            took = time.monotonic() - begin
            done.set()
        assert not answer.reachable
        assert took < 30, serve.__name__
        if serve is mute:
            assert answer.reason.endswith("do not agree on TLS: no answer in the handshake")


def test_old_versions_are_not_spoken(authority: Authority, pacs: Identity) -> None:
    said: list[str] = []

    def offer_old(connection: socket.socket) -> None:
        context = context_of(pacs)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        try:
            context.wrap_socket(connection, server_side=True)
        except OSError as error:
            said.append(str(error))

    with pytest.warns(DeprecationWarning, match="TLS"), peer(offer_old) as port:
        assert "do not agree on TLS" in ask(destination(port, authority), "NODE").reason
    assert said
