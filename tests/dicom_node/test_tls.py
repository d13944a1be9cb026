"""TLS against real peers: DCMTK's tools, openssl's, and sockets that break the handshake."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import psutil
import pytest
from certificates import Authority, Identity, openssl
from nodes import free_port, need, node, wait_for
from peers import association_request, connect, echo, is_closed, read_pdu, rejection, try_echo
from pydantic import ValidationError
from pynetdicom import AE
from structlog.testing import capture_logs
from wsm_files import write_wsm

from dicom_node.association import exposure
from dicom_node.association.tls.certificates import NotReadable, ends_of_certificates, ends_of_lists
from dicom_node.association.tls.contexts import ServerTls, TlsUnusable, soon_over
from dicom_node.commands.screen.listener import files as files_found
from dicom_node.commands.screen.listener import listener
from dicom_node.config.loading import load_config
from dicom_node.config.peers import Sender
from dicom_node.config.sections import NodeSection
from dicom_node.config.tls import NodeTls
from dicom_node.config.whole import Config
from dicom_node.ledger.ledger import Ledger
from dicom_node.processes.ingest import Ingest
from dicom_node.sop_classes import VERIFICATION
from dicom_node.spool.spool import Spool

LOOPBACK = (IPv4Network("127.0.0.0/8"),)
SENDER = Sender(ae_title="STORESCU", networks=LOOPBACK)
CALLING_AE_UNKNOWN = (1, 1, 3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Identity:
    return authority.issue("node")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Identity:
    return authority.issue("scanner", alternative="DNS:scanner.hospital")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Authority(tmp_path_factory.mktemp("pki") / "foreign").issue("stranger")


@pytest.fixture
def files(authority: Authority, server: Identity) -> NodeTls:
    return NodeTls(
        certificate=server.certificate, key=server.key, client_ca=authority.ca, port=2762
    )


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Ingest]]:
    started: list[Ingest] = []

    def make(files: NodeTls, **changes: Any) -> Ingest:
        settings: dict[str, Any] = {
            "ae_title": "NODE",
            "bind": "127.0.0.1",
            "port": 0,
            "senders": [SENDER],
            "spool": Spool(tmp_path / "data" / "spool", reserve_bytes=0),
            "ledger": Ledger.open(tmp_path / "data" / "node.sqlite"),
            "maximum_associations": 4,
            "tls": ServerTls(files),
        }
        ingest = Ingest(**(settings | changes))
        ingest.start()
        started.append(ingest)
        return ingest

    yield make
    for ingest in started:
        ingest.drain(0.5)


def secured(
    port: int | None, authority: Authority, who: Identity | None = None, **context: Any
) -> ssl.SSLSocket:
    """A connection of TLS with the node, as a Python client."""
    assert port is not None
    ours = ssl.create_default_context(cafile=str(authority.ca))
    for key, value in context.items():
        setattr(ours, key, value)
    if who is not None:
        ours.load_cert_chain(who.certificate, who.key)
    return ours.wrap_socket(connect(port), server_hostname="localhost")


def trusting(authority: Authority, who: Identity) -> tuple[str, ...]:
    return (*who.dcmtk, "+cf", str(authority.ca))


# -- who gets in --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [200_000, 40_000_000])
def test_an_instance_arrives_over_tls_byte_for_byte(
    listen: Callable[..., Ingest],
    files: NodeTls,
    authority: Authority,
    client: Identity,
    tmp_path: Path,
    size: int,
) -> None:
    ingest = listen(files)
    path = tmp_path / "a.dcm"
    write_wsm(path, size_bytes=size)
    command = ["storescu", "-v", "-R", "-xy", "-aec", "NODE", *trusting(authority, client)]
    sent = subprocess.run(
        [*command, "127.0.0.1", str(ingest.tls_port), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    [stored] = (tmp_path / "data" / "spool").glob("[0-9a-f][0-9a-f]/*")
    assert stored.read_bytes()[-size // 2 :] == path.read_bytes()[-size // 2 :]


def test_the_plain_port_stays_open_beside_the_one_of_tls(
    listen: Callable[..., Ingest], files: NodeTls, authority: Authority, client: Identity
) -> None:
    ingest = listen(files)
    assert ingest.port is not None
    assert ingest.tls_port is not None
    echo(ingest.port)
    echo(ingest.tls_port, *trusting(authority, client))


def test_where_tls_is_required_no_plain_port_is_open(
    listen: Callable[..., Ingest], files: NodeTls, authority: Authority, client: Identity
) -> None:
    ingest = listen(files, port=None)
    assert ingest.port is None
    assert ingest.tls_port is not None
    echo(ingest.tls_port, *trusting(authority, client))
    assert try_echo(ingest.tls_port).returncode != 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("profile", ["bcp195", "bcp195-modified"])
def test_both_versions_of_tls_open_an_association(
    listen: Callable[..., Ingest],
    files: NodeTls,
    authority: Authority,
    client: Identity,
    version: ssl.TLSVersion,
    profile: str,
) -> None:
    ingest = listen(files.model_copy(update={"profile": profile}))
    with secured(
        ingest.tls_port, authority, client, minimum_version=version, maximum_version=version
    ) as sock:
        sock.sendall(association_request())
        assert read_pdu(sock)[0] == 2


def handshake(port: int | None, *options: str) -> str:
    """What openssl's client says of a handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    done = subprocess.run(
        command, input="", capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1",),
        ("-tls1_1",),
        ("-tls1_2", "-cipher", "AES128-SHA"),
        ("-tls1_2", "-cipher", "AES256-GCM-SHA384"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"),
        ("-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"),
    ],
    ids=lambda o: " ".join(o),
)
def test_what_bcp_195_does_not_allow_is_not_negotiated(
    listen: Callable[..., Ingest], files: NodeTls, client: Identity, options: tuple[str, ...]
) -> None:
    ingest = listen(files)
    own = ("-cert", str(client.certificate), "-key", str(client.key))
    assert "Cipher is (NONE)" in handshake(ingest.tls_port, *own, *options)
    good = ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert "Cipher is ECDHE-RSA-AES128-GCM-SHA256" in handshake(ingest.tls_port, *own, *good)


def test_the_modified_profile_has_the_further_ciphers(
    listen: Callable[..., Ingest], files: NodeTls, client: Identity
) -> None:
    ingest = listen(files.model_copy(update={"profile": "bcp195-modified"}))
    own = ("-cert", str(client.certificate), "-key", str(client.key))
    for cipher in ("ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-GCM-SHA384"):
        said = handshake(ingest.tls_port, *own, "-tls1_2", "-cipher", cipher)
        assert f"Cipher is {cipher}" in said


def refused(ingest: Ingest, authority: Authority, who: Identity | None) -> str:
    """Why the log says that a connection was refused; the peer has got no association."""
    with capture_logs() as logs:
        try:
            with secured(ingest.tls_port, authority, who) as sock:
                sock.sendall(association_request())
                assert read_pdu(sock) == b""
        except (ssl.SSLError, ConnectionError):
            pass
        wait_for(lambda: [e for e in logs if e["event"] == "connection_refused"], within_s=60)
    [event] = [e for e in logs if e["event"] == "connection_refused"]
    return str(event["reason"])


def test_nobody_without_a_good_certificate_gets_in_and_the_log_says_why(
    listen: Callable[..., Ingest], files: NodeTls, authority: Authority, stranger: Identity
) -> None:
    ingest = listen(files)
    expired = authority.issue("expired", end="20250601000000Z")
    early = authority.issue("early", start="20450101000000Z")
    assert "peer did not return a certificate" in refused(ingest, authority, None)
    assert "unable to get local issuer" in refused(ingest, authority, stranger)
    assert "expired" in refused(ingest, authority, expired)
    assert "not yet valid" in refused(ingest, authority, early)


def test_a_revoked_certificate_is_refused_and_the_others_are_taken(
    listen: Callable[..., Ingest], files: NodeTls, authority: Authority, client: Identity
) -> None:
    gone = authority.issue("gone")
    authority.revoke(gone)
    ingest = listen(files.model_copy(update={"crl": authority.crl("revoked")}))
    assert "revoked" in refused(ingest, authority, gone)
    assert ingest.tls_port is not None
    echo(ingest.tls_port, *trusting(authority, client))


def test_without_a_client_ca_anybody_may_speak_tls(
    listen: Callable[..., Ingest], authority: Authority, server: Identity
) -> None:
    files = NodeTls(certificate=server.certificate, key=server.key, client_certificates="none")
    with secured(listen(files).tls_port, authority) as sock:
        sock.sendall(association_request())
        assert read_pdu(sock)[0] == 2


@pytest.mark.parametrize("pin", ["name", "fingerprint"])
def test_a_certificate_is_bound_to_its_sender(
    listen: Callable[..., Ingest],
    files: NodeTls,
    authority: Authority,
    client: Identity,
    server: Identity,
    pin: str,
) -> None:
    pins = client.sha256 if pin == "fingerprint" else "dns:SCANNER.hospital"
    sender = Sender.model_validate(
        {"ae_title": "STORESCU", "networks": ["127.0.0.0/8"], "certificate": pins}
    )
    ingest = listen(files, senders=[sender])
    assert ingest.tls_port is not None
    assert ingest.port is not None
    echo(ingest.tls_port, *trusting(authority, client))
    with capture_logs() as logs:
        assert try_echo(ingest.tls_port, *trusting(authority, server)).returncode != 0
        assert try_echo(ingest.port).returncode != 0
        with connect(ingest.port) as sock:
            sock.sendall(association_request())
            assert rejection(read_pdu(sock)) == CALLING_AE_UNKNOWN
    other, plain, _ = (e for e in logs if e["event"] == "association_refused")
    assert server.sha256.lower() in other["to_allow_it_add"].lower()
    assert plain["expected"] == "a connection to the TLS port"


def test_a_refusal_over_tls_reaches_the_sender(
    listen: Callable[..., Ingest], files: NodeTls, authority: Authority, client: Identity
) -> None:
    ingest = listen(files)
    with secured(ingest.tls_port, authority, client) as sock:
        sock.sendall(association_request(calling="NOBODY"))
        assert rejection(read_pdu(sock)) == CALLING_AE_UNKNOWN
        assert sock.recv(1) == b"", "close_notify: not a connection that was cut"


# -- who stands in the way ----------------------------------------------------------------------


def test_peers_that_stop_in_the_handshake_hold_up_nobody_and_are_shown_out(
    listen: Callable[..., Ingest], files: NodeTls, authority: Authority, client: Identity
) -> None:
    hello = b"\x16\x03\x01\x00\xa0\x01\x00\x00\x9c\x03\x03" + bytes(40)
    ingest = listen(files)
    port = ingest.tls_port
    assert port is not None
    idle = max(echo(port, *trusting(authority, client)) for _ in range(3))
    silent = [connect(port) for _ in range(150)]
    begun = [connect(port) for _ in range(150)]
    for sock in begun:
        sock.sendall(hello)
    begin = time.monotonic()
    took = max(echo(port, *trusting(authority, client)) for _ in range(3))
    assert took <= max(2 * idle, idle + 5)
    wait_for(lambda: all(map(is_closed, [*silent, *begun])), within_s=30, what="all are shown out")
    assert time.monotonic() - begin > 4
    for sock in (*silent, *begun):
        sock.close()


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"\x01\x00\x00\x00\x00\xd0", "it speaks no TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "it speaks no TLS"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "the TLS handshake failed"),
    ],
    ids=["DICOM", "HTTP", "nonsense"],
)
def test_who_speaks_something_else_on_the_port_of_tls_is_named_in_the_log(
    listen: Callable[..., Ingest], files: NodeTls, first: bytes, reason: str
) -> None:
    port = listen(files).tls_port
    assert port is not None
    with capture_logs() as logs, connect(port) as sock:
        sock.sendall(first)
        wait_for(lambda: is_closed(sock), within_s=60)
    [event] = [e for e in logs if e["event"] == "connection_refused"]
    assert event["reason"].startswith(reason)


def test_connections_that_close_at_once_are_no_word_in_the_log(
    listen: Callable[..., Ingest], files: NodeTls
) -> None:
    port = listen(files).tls_port
    assert port is not None
    with capture_logs() as logs:
        for _ in range(30):
            connect(port).close()
        time.sleep(0.3)
    assert logs == []


# -- new files ----------------------------------------------------------------------------------


def copied(files: NodeTls, folder: Path) -> NodeTls:
    """The files of a node in a folder of its own, to be replaced there."""
    folder.mkdir()
    own = {"certificate": files.certificate, "key": files.key, "client_ca": files.client_ca}
    return files.model_copy(
        update={name: Path(shutil.copy(str(file), folder / name)) for name, file in own.items()}
    )


def shown_by(port: int | None, authority: Authority, client: Identity) -> bytes:
    with secured(port, authority, client) as sock:
        certificate = sock.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def test_new_files_serve_new_connections_and_drop_no_association(
    listen: Callable[..., Ingest],
    files: NodeTls,
    authority: Authority,
    client: Identity,
    tmp_path: Path,
) -> None:
    used = copied(files, tmp_path / "tls")
    ingest = listen(used)
    before = shown_by(ingest.tls_port, authority, client)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(client.certificate, client.key)
    entity = AE("STORESCU")
    entity.add_requested_context(VERIFICATION.uid)
    working = entity.associate(
        "127.0.0.1", ingest.tls_port, ae_title="NODE", tls_args=(context, "localhost")
    )
    assert working.is_established
    renewed = authority.issue("renewed")
    shutil.copy(renewed.certificate, used.certificate)
    shutil.copy(renewed.key, used.key)
    with capture_logs() as logs:
        ingest.reload_tls()
    assert [e["event"] for e in logs] == ["tls_reloaded"]
    assert shown_by(ingest.tls_port, authority, client) != before
    assert working.send_c_echo().Status == 0
    working.release()


@pytest.mark.parametrize("damage", ["empty", "missing", "text", "another key"])
def test_a_bad_new_file_keeps_what_is_in_use_and_says_so(
    listen: Callable[..., Ingest],
    files: NodeTls,
    authority: Authority,
    client: Identity,
    tmp_path: Path,
    damage: str,
) -> None:
    used = copied(files, tmp_path / "tls")
    ingest = listen(used)
    before = shown_by(ingest.tls_port, authority, client)
    if damage == "missing":
        used.certificate.unlink()
    elif damage == "another key":
        shutil.copy(client.key, used.key)
    else:
        used.certificate.write_text("" if damage == "empty" else "-----BEGIN CERTIFICATE-----\nx")
    with capture_logs() as logs:
        ingest.reload_tls()
    [event] = logs
    assert event["event"] == "tls_not_reloaded"
    assert str(used.certificate) in event["reason"] or str(used.key) in event["reason"]
    assert "Error" not in event["reason"]
    assert shown_by(ingest.tls_port, authority, client) == before


def test_a_certificate_that_is_revoked_later_is_refused_after_a_reload(
    listen: Callable[..., Ingest], files: NodeTls, authority: Authority, tmp_path: Path
) -> None:
    crl = tmp_path / "crl.pem"
    shutil.copy(authority.crl("before"), crl)
    ingest = listen(files.model_copy(update={"crl": crl}))
    leaving = authority.issue("leaving")
    assert ingest.tls_port is not None
    echo(ingest.tls_port, *trusting(authority, leaving))
    authority.revoke(leaving)
    shutil.copy(authority.crl("after"), crl)
    ingest.reload_tls()
    assert "revoked" in refused(ingest, authority, leaving)


@pytest.mark.parametrize("what", ["certificate", "client_ca", "crl"])
def test_files_that_are_no_pem_are_refused_at_the_start_by_name(
    files: NodeTls, tmp_path: Path, what: str
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing of the kind")
    with pytest.raises(TlsUnusable, match=r"bad\.pem"):
        ServerTls(files.model_copy(update={what: bad}))


def test_a_key_with_a_password_is_read_with_it_and_never_asked_for(
    files: NodeTls, authority: Authority, tmp_path: Path
) -> None:
    locked = authority.issue("locked", password="open sesame")
    with_key = files.model_copy(update={"certificate": locked.certificate, "key": locked.key})
    with pytest.raises(TlsUnusable, match="password_file"):
        ServerTls(with_key)
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    ServerTls(with_key.model_copy(update={"password_file": secret}))


# -- how long they are good for -----------------------------------------------------------------


def test_the_dates_of_certificates_and_lists_are_those_that_openssl_reads(
    authority: Authority, server: Identity
) -> None:
    late = authority.issue("late", key="P-256", end="20510203040506Z")  # GeneralizedTime
    crl = authority.crl("dated")
    for file, read, asked in (
        (server.certificate, ends_of_certificates, ("x509", "-enddate")),
        (late.certificate, ends_of_certificates, ("x509", "-enddate")),
        (authority.ca, ends_of_certificates, ("x509", "-enddate")),
        (crl, ends_of_lists, ("crl", "-nextupdate")),
    ):
        said = openssl(asked[0], "-in", file, "-noout", asked[1]).strip().partition("=")[2]
        expected = datetime.strptime(said, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        assert read(file.read_bytes()) == [expected]


def test_bytes_that_are_no_certificate_are_no_date(server: Identity) -> None:
    pem = server.certificate.read_bytes()
    for damaged in (b"", b"x", pem.replace(b"M", b"N", 1), pem[:400] + pem[700:]):
        with pytest.raises(NotReadable):
            ends_of_certificates(damaged)


def test_thirty_days_before_a_certificate_ends_people_are_told(
    files: NodeTls, authority: Authority
) -> None:
    soon = datetime.now(UTC) + timedelta(days=20, hours=1)
    ends = authority.issue("ends", end=soon.strftime("%Y%m%d%H%M%SZ"))
    crl = authority.crl("short", seconds=3600)
    used = files.model_copy(update={"certificate": ends.certificate, "crl": crl})
    now = datetime.now(UTC)
    assert list(soon_over(files, now)) == []
    certificate, of_list = (end.told(now) for end in soon_over(used, now))
    assert certificate.endswith("in 20 days: renew it; SIGHUP makes a running node read it")
    assert of_list.startswith("the revocation list in")
    later = now + timedelta(days=60)
    [over, *_] = soon_over(used, later)
    assert "ended on" in over.told(later)


# -- a whole node -------------------------------------------------------------------------------


def of_node(files: NodeTls, port: int, extra: str = "") -> str:
    """The table of TLS in a configuration."""
    return (
        f'[node.tls]\nport = {port}\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
        f'client_ca = "{files.client_ca}"\n{extra}\n'
    )


def test_a_hangup_makes_a_running_node_read_its_files_again_and_ends_nothing(
    files: NodeTls, authority: Authority, client: Identity, tmp_path: Path
) -> None:
    used = copied(files, tmp_path / "tls")
    port = free_port()
    with node(tmp_path / "node", free_port(), extra=of_node(used, port)) as n:
        process = n.start()
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        before = shown_by(port, authority, client)
        renewed = authority.issue("renewed2")
        shutil.copy(renewed.certificate, used.certificate)
        shutil.copy(renewed.key, used.key)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(number)
        wait_for(lambda: "tls_reloaded" in n.log, within_s=60, what="the reload")
        assert shown_by(port, authority, client) != before
        echo(port, *trusting(authority, client), calling="PACS", called="DICOMNODE")
        used.certificate.write_text("")
        os.killpg(process.pid, signal.SIGHUP)  # as a terminal that is closed does
        wait_for(lambda: "tls_not_reloaded" in n.log, within_s=60, what="the refusal to reload")
        echo(port, *trusting(authority, client), calling="PACS", called="DICOMNODE")
        assert process.poll() is None
        assert "child_died" not in n.log
        assert n.stop() == 0


def test_a_hangup_while_the_children_start_kills_none(tmp_path: Path) -> None:
    with node(tmp_path / "node", free_port()) as n:
        process = n.launch()
        wait_for(lambda: len(psutil.Process(process.pid).children()) == 3, what="three children")
        os.killpg(process.pid, signal.SIGHUP)
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        assert "child_died" not in n.log
        assert n.stop() == 0


def test_a_node_with_a_file_of_no_use_refuses_to_start_with_one_sentence(
    files: NodeTls, tmp_path: Path
) -> None:
    bad = files.model_copy(update={"client_ca": tmp_path / "absent.pem"})
    with node(tmp_path / "node", free_port(), extra=of_node(bad, free_port())) as n:
        assert n.launch().wait(60) == 3
        assert "tls_unusable" in n.log
        assert "absent.pem: cannot be read" in n.log
        assert "Traceback" not in n.log


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ('client_ca = "x"', ""),
        ("", "client_ca"),
        ('client_ca = "x"\nclient_certificates = "none"', "client_ca"),
        ('client_certificates = "none"\ncrl = "x"', "crl without client_ca"),
        ('client_ca = "x"\nprofile = "old"', "profile"),
    ],
)
def test_tables_of_tls_that_contradict_themselves_are_refused(changed: str, says: str) -> None:
    values = tomllib.loads(f'certificate = "a"\nkey = "b"\n{changed}')
    if not says:
        NodeTls.model_validate(values)
        return
    with pytest.raises(ValidationError, match=says):
        NodeTls.model_validate(values)


def test_one_port_cannot_be_both(tmp_path: Path) -> None:
    table = {"certificate": "a", "key": "b", "client_certificates": "none", "port": 11112}
    node_table = {"ae_title": "NODE", "data_dir": str(tmp_path)}
    with pytest.raises(ValidationError, match="11112 as the port with and without TLS"):
        NodeSection.model_validate({**node_table, "tls": table})
    NodeSection.model_validate({**node_table, "tls": {**table, "required": True}})


def test_files_of_tls_are_found_from_the_configuration_and_keys_by_variables(
    tmp_path: Path,
) -> None:
    with node(tmp_path / "node", 4242) as n:
        n.config.write_text(
            n.config.read_text()
            .replace(
                "[[destinations]]",
                '[node.tls]\ncertificate = "a.pem"\nkey = "/b.key"\nclient_ca = "ca.pem"\n'
                "[[destinations]]",
            )
            .replace("[analysis]", '[destinations.tls]\nca = "ca.pem"\n[analysis]')
        )
        config = load_config(n.config, {"DICOM_NODE_NODE_TLS_PORT": "2763"})
    assert config.node.tls is not None
    assert config.node.tls.certificate == n.folder / "a.pem"
    assert config.node.tls.key == Path("/b.key")
    assert config.node.tls.port == 2763
    [destination] = config.destinations
    assert destination.tls is not None
    assert destination.tls.ca == n.folder / "ca.pem"


# -- what people are told -----------------------------------------------------------------------


def configured(folder: Path, replaced: dict[str, str]) -> Config:
    with node(folder, 4242) as n:
        text = n.config.read_text()
        for before, after in replaced.items():
            assert before in text
            text = text.replace(before, after)
        n.config.write_text(text)
        return load_config(n.config, {})


def test_check_says_what_the_listener_opens_and_warns_of_what_is_wide_open(
    files: NodeTls, tmp_path: Path
) -> None:
    config = configured(tmp_path / "closed", {"[[senders]]": of_node(files, 2762) + "[[senders]]"})
    says = exposure.listens(config)
    assert "without TLS; port 2762 with TLS 1.2 and 1.3 (PS3.15 B.12), asks for cert" in says
    assert [*exposure.wide_open(config), *exposure.shut_out(config)] == []
    assert [f.ok for f in listener(config)] == [True, True]

    everywhere = {'bind = "127.0.0.1"': 'bind = "0.0.0.0"', '"127.0.0.0/8"': '"0.0.0.0/0"'}
    config = configured(tmp_path / "open", everywhere)
    first, second = exposure.wide_open(config)
    assert first.startswith("it listens on all addresses of this machine, and without TLS")
    assert second.startswith("anybody may send who calls himself PACS, from any address")
    assert [f.warns for f in listener(config)] == [False, True, True]

    pinned = {'networks = ["127.0.0.0/8"]': 'networks = ["127.0.0.0/8"]\ncertificate = "dns:a.b"'}
    config = configured(tmp_path / "pinned", pinned)
    [sentence] = exposure.shut_out(config)
    assert "nobody is asked for one" in sentence
    assert [f.ok for f in listener(config)] == [True, False]


def test_check_names_files_of_tls_that_are_of_no_use_or_over(
    files: NodeTls, authority: Authority, tmp_path: Path
) -> None:
    over = authority.issue("over", end="20250601000000Z")
    soon = datetime.now(UTC) + timedelta(days=9, hours=1)
    ending = authority.issue("ending", end=soon.strftime("%Y%m%d%H%M%SZ"))
    for who, expected in (
        (over, [(False, False)]),
        (ending, [(True, True)]),
        (Identity(tmp_path / "absent.pem", over.key), [(False, False)]),
    ):
        used = files.model_copy(update={"certificate": who.certificate, "key": who.key})
        found = list(files_found("tls", used))
        assert [(f.ok, f.warns) for f in found] == expected, found
        assert str(who.certificate) in found[0].says
