"""The listener against real senders: DCMTK's storescu and echoscu, and pynetdicom by hand."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import psutil
import pydicom
import pytest
import sqlalchemy as sa
from ingest_process import ledger_of, note_ledger
from postgres import Server
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from structlog.testing import capture_logs
from wsm_files import JPEG_BASELINE, WSM, encoded, write_wsm, wsm_header

from dicom_node.config.peers import Sender
from dicom_node.ledger.database import tables as schema
from dicom_node.ledger.ledger import Ledger
from dicom_node.processes.ingest import Ingest
from dicom_node.spool.lost_found import LostFound
from dicom_node.spool.spool import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SUPPORT = Path(__file__).parents[1] / "support"
GONE = "reset by peer|Broken pipe|Bad file descriptor"  # the last: closed by the sender's thread
LOCAL = Sender(ae_title="STORESCU", networks=(IPv4Network("127.0.0.0/8"),))


ON_BOTH = pytest.mark.parametrize("data_dir", ["sqlite", "postgresql"], indirect=True)
"""Once with the ledger in a file, once on a server."""


@pytest.fixture
def data_dir(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "data"
    if getattr(request, "param", "sqlite") == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        note_ledger(folder, server.create())
    return folder


@pytest.fixture
def make_ingest(data_dir: Path) -> Iterator[Callable[..., Ingest]]:
    started: list[Ingest] = []

    def make(**changes: Any) -> Ingest:
        settings: dict[str, Any] = {
            "ae_title": "NODE",
            "bind": "127.0.0.1",
            "port": 0,
            "senders": [LOCAL],
            "spool": Spool(data_dir / "spool", reserve_bytes=0),
            "ledger": Ledger.open(ledger_of(data_dir)),
            "maximum_associations": 16,
        }
        ingest = Ingest(**(settings | changes))
        ingest.start()
        started.append(ingest)
        return ingest

    yield make
    for ingest in started:
        ingest.drain(1)


@pytest.fixture
def ingest(make_ingest: Callable[..., Ingest]) -> Ingest:
    return make_ingest()


def storescu(port: int, *files: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = ["storescu", "-v", "-R", "-xy", "-pdu", "131072", "-aec", "NODE", *options]
    return subprocess.run(
        [*command, "127.0.0.1", str(port), *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def spooled(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "spool").glob("[0-9a-f][0-9a-f]/*"))


def dataset_bytes(path: Path) -> bytes:
    """What follows the file meta information."""
    content = path.read_bytes()
    length = struct.unpack("<L", content[140:144])[0]
    return content[144 + length :]


def asked(data_dir: Path, query: str) -> list[tuple[Any, ...]]:
    with Ledger.open(ledger_of(data_dir)).database.read() as db:
        return [tuple(row) for row in db.execute(sa.text(query))]


def instance_rows(data_dir: Path) -> list[tuple[Any, ...]]:
    return asked(data_dir, "SELECT sop_instance_uid, size_bytes, path FROM instances")


def open_transfers(data_dir: Path) -> int:
    return int(asked(data_dir, "SELECT count(*) FROM transfers")[0][0])


def unnamed_files(pid: int, data_dir: Path) -> list[str]:
    """Descriptors of a process on files in the spool that have no name."""
    links = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:
            continue
        if target.startswith(str(data_dir / "spool")) and target.endswith("(deleted)"):
            links.append(target)
    return links


def eventually(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def associate(port: int, *syntaxes: str, sop_class: str = WSM, **more: Any) -> Any:
    """An association of pynetdicom as sender."""
    entity = AE("STORESCU")
    entity.add_requested_context(sop_class, list(syntaxes or (EXPLICIT,)))
    return entity.associate("127.0.0.1", port, ae_title="NODE", **more)


def send_raw(assoc: Any, dataset: bytes, *, sop_class: str = WSM, instance: str) -> Dataset:
    """Send bytes as the dataset of a C-STORE request whose command says what we like."""
    request = C_STORE()
    request.MessageID = 7
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = instance
    request.Priority = 2
    request.DataSet = BytesIO(dataset)
    assoc._reactor_checkpoint.clear()
    while not assoc._is_paused:
        time.sleep(0.001)
    assoc.dimse.send_msg(request, assoc.accepted_contexts[0].context_id)
    _, answer = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    assert answer is not None, "no answer: the association was aborted"
    return answer


def flood(sock: socket.socket, data: bytes, times: int) -> None:
    for _ in range(times):
        sock.sendall(data)


# -- what is accepted ---------------------------------------------------------------------------


@ON_BOTH
def test_a_sent_instance_is_on_the_spool_byte_for_byte_with_a_header_of_ours(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    sent = write_wsm(tmp_path / "a.dcm", size_bytes=3_000_000)

    answer = storescu(ingest.port, tmp_path / "a.dcm")

    assert answer.returncode == 0, answer.stdout
    [path] = spooled(data_dir)
    assert dataset_bytes(path) == dataset_bytes(tmp_path / "a.dcm")
    size = len(dataset_bytes(path))
    assert instance_rows(data_dir) == [
        (sent.SOPInstanceUID, size, str(path.relative_to(data_dir / "spool")))
    ]
    assert path.read_bytes()[:128] == bytes(128)
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    assert meta.TransferSyntaxUID == JPEG_BASELINE
    assert meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID
    assert open_transfers(data_dir) == 0


def test_names_on_the_spool_say_nothing_of_what_was_sent(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    sent = write_wsm(tmp_path / "a.dcm", size_bytes=100_000)
    storescu(ingest.port, tmp_path / "a.dcm")
    [path] = spooled(data_dir)
    assert re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{30}\.dcm", f"{path.parent.name}/{path.name}")
    assert sent.SOPInstanceUID not in str(path)


def test_a_dataset_in_the_same_pdu_as_its_command_is_stored_too(
    ingest: Ingest, data_dir: Path
) -> None:
    ds = wsm_header()
    assoc = associate(ingest.port)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = WSM, ds.SOPInstanceUID
    request.DataSet = BytesIO(encoded(ds))
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.pdu_primitives import P_DATA

    message = C_STORE_RQ()
    message.primitive_to_message(request)
    together = P_DATA()
    for part in message.encode_msg(assoc.accepted_contexts[0].context_id, 16382):
        together.presentation_data_value_list.extend(part.presentation_data_value_list)
    assoc._reactor_checkpoint.clear()
    while not assoc._is_paused:
        time.sleep(0.001)

    assoc.dul.send_pdu(together)

    _, answer = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    assoc.release()
    assert answer.Status == 0x0000
    [path] = spooled(data_dir)
    assert dataset_bytes(path) == encoded(ds)


def test_an_implicit_vr_dataset_is_accepted(ingest: Ingest, data_dir: Path) -> None:
    ds = wsm_header()
    assoc = associate(ingest.port, "1.2.840.10008.1.2")
    answer = send_raw(assoc, encoded(ds, implicit=True), instance=ds.SOPInstanceUID)
    assoc.release()
    assert answer.Status == 0x0000
    assert [row[0] for row in instance_rows(data_dir)] == [ds.SOPInstanceUID]


def test_of_a_context_that_offers_both_the_compressed_syntax_is_chosen(ingest: Ingest) -> None:
    assoc = associate(ingest.port, EXPLICIT, JPEG_BASELINE)
    assert [c.transfer_syntax for c in assoc.accepted_contexts] == [[JPEG_BASELINE]]
    assoc.release()


def test_echo_is_answered(ingest: Ingest) -> None:
    command = ["echoscu", "-aet", "STORESCU", "-aec", "NODE", "127.0.0.1", str(ingest.port)]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0


@ON_BOTH
def test_two_studies_interleaved_on_one_association_are_kept_apart(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    studies = [generate_uid(), generate_uid()]
    files = [tmp_path / f"{i}.dcm" for i in range(6)]
    for i, file in enumerate(files):
        write_wsm(file, size_bytes=300_000, StudyInstanceUID=studies[i % 2])
    assert storescu(ingest.port, *files).returncode == 0
    counts = asked(data_dir, "SELECT study_instance_uid, count(*) FROM instances GROUP BY 1")
    assert dict(counts) == dict.fromkeys(studies, 3)


@ON_BOTH
def test_eight_senders_at_once_lose_nothing(ingest: Ingest, data_dir: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.dcm" for i in range(8)]
    for file in files:
        write_wsm(file, size_bytes=4_000_000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda f: storescu(ingest.port, f), files))
    assert [a.returncode for a in answers] == [0] * 8
    assert {dataset_bytes(p) for p in spooled(data_dir)} == {dataset_bytes(f) for f in files}
    eventually(lambda: open_transfers(data_dir) == 0)


# -- sending again ------------------------------------------------------------------------------


def outcomes(logs: list[Any]) -> list[str]:
    """How the log says that instances were filed or refused."""
    return [
        str(e.get("outcome") or e.get("status") or e["event"])
        for e in logs
        if e["event"].startswith("instance_")
    ]


def event_kinds(data_dir: Path) -> list[str]:
    return [kind for (kind,) in asked(data_dir, "SELECT kind FROM events ORDER BY id")]


@ON_BOTH
def test_a_second_identical_send_succeeds_and_publishes_nothing(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=3_000_000)
    storescu(ingest.port, tmp_path / "a.dcm")
    [path] = spooled(data_dir)
    before, rows = path.stat(), instance_rows(data_dir)

    with capture_logs() as logs:
        answer = storescu(ingest.port, tmp_path / "a.dcm")

    assert answer.returncode == 0
    assert outcomes(logs) == ["identical"]
    assert spooled(data_dir) == [path]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert instance_rows(data_dir) == rows


def lost(path: Path) -> None:
    path.unlink()


def cut_in_the_header(path: Path) -> None:
    os.truncate(path, 200)


def cut_in_the_dataset(path: Path) -> None:
    os.truncate(path, 200_000)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [lost, cut_in_the_header, cut_in_the_dataset, emptied])
@ON_BOTH
def test_a_second_send_restores_a_file_that_was_lost_or_cut_short(
    ingest: Ingest, data_dir: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=500_000)
    storescu(ingest.port, tmp_path / "a.dcm")
    [path] = spooled(data_dir)
    rows = instance_rows(data_dir)
    damage(path)

    with capture_logs() as logs:
        answer = storescu(ingest.port, tmp_path / "a.dcm")

    assert answer.returncode == 0
    assert outcomes(logs) == ["instance_restored"]
    assert "instance_restored" in event_kinds(data_dir)
    assert spooled(data_dir) == [path]
    assert dataset_bytes(path) == dataset_bytes(tmp_path / "a.dcm")
    assert instance_rows(data_dir) == rows


def test_a_lost_file_is_not_restored_from_an_instance_of_another_size(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    sent = write_wsm(tmp_path / "a.dcm", size_bytes=500_000)
    storescu(ingest.port, tmp_path / "a.dcm")
    [path] = spooled(data_dir)
    path.unlink()
    write_wsm(tmp_path / "b.dcm", size_bytes=600_000, SOPInstanceUID=sent.SOPInstanceUID)
    assert "Status: 0x111" in storescu(ingest.port, tmp_path / "b.dcm").stdout
    assert spooled(data_dir) == []


@ON_BOTH
def test_one_changed_pixel_under_the_same_uid_is_refused_0111_and_the_first_stays(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=500_000)
    changed = bytearray((tmp_path / "a.dcm").read_bytes())
    changed[-5000] ^= 1
    (tmp_path / "b.dcm").write_bytes(changed)
    storescu(ingest.port, tmp_path / "a.dcm")

    answer = storescu(ingest.port, tmp_path / "b.dcm")

    assert "Status: 0x111" in answer.stdout
    [path] = spooled(data_dir)
    assert dataset_bytes(path) == dataset_bytes(tmp_path / "a.dcm")


def test_the_same_bytes_under_another_transfer_syntax_are_refused_0111(
    ingest: Ingest, data_dir: Path
) -> None:
    ds = wsm_header()
    for syntax, status in ((JPEG_BASELINE, 0x0000), ("1.2.840.10008.1.2.4.90", 0x0111)):
        assoc = associate(ingest.port, syntax)
        assert send_raw(assoc, encoded(ds), instance=ds.SOPInstanceUID).Status == status
        assoc.release()
    assert len(spooled(data_dir)) == 1


def send_at_once(ingest: Ingest, datasets: list[bytes], instance: str) -> list[int]:
    """The statuses of C-STORE requests of one UID, sent by as many senders at the same time."""
    associations = [associate(ingest.port) for _ in datasets]
    together = threading.Barrier(len(datasets))

    def send(assoc: Any, dataset: bytes) -> int:
        together.wait()
        return int(send_raw(assoc, dataset, instance=instance).Status)

    with ThreadPoolExecutor(len(datasets)) as pool:
        statuses = list(pool.map(send, associations, datasets))
    for assoc in associations:
        assoc.release()
    return statuses


@ON_BOTH
def test_two_simultaneous_first_sends_of_the_same_bytes_both_succeed_and_leave_one_row(
    ingest: Ingest, data_dir: Path
) -> None:
    for count in range(1, 9):
        ds = wsm_header()
        data = encoded(ds)
        assert send_at_once(ingest, [data, data], ds.SOPInstanceUID) == [0x0000, 0x0000]
        assert len(spooled(data_dir)) == len(instance_rows(data_dir)) == count


@ON_BOTH
def test_of_two_simultaneous_first_sends_with_other_content_one_is_kept_and_one_refused(
    ingest: Ingest, data_dir: Path
) -> None:
    for count in range(1, 9):
        ds = wsm_header()
        datasets = [encoded(ds)]
        ds.PatientID = "ANOTHER"  # of the same length
        datasets.append(encoded(ds))
        statuses = send_at_once(ingest, datasets, ds.SOPInstanceUID)
        assert sorted(statuses) == [0x0000, 0x0111]
        [path] = [row[2] for row in instance_rows(data_dir) if row[0] == ds.SOPInstanceUID]
        assert dataset_bytes(data_dir / "spool" / path) == datasets[statuses.index(0)]
        assert len(spooled(data_dir)) == len(instance_rows(data_dir)) == count


@ON_BOTH
def test_of_simultaneous_sends_that_restore_a_lost_file_only_equal_ones_are_acknowledged(
    ingest: Ingest, data_dir: Path
) -> None:
    ds = wsm_header()
    datasets = [encoded(ds)]
    ds.PatientID = "ANOTHER"
    datasets.append(encoded(ds))
    for _ in range(4):
        for path in spooled(data_dir):
            path.unlink()
        send_at_once(ingest, datasets[:1], ds.SOPInstanceUID)
        [path] = spooled(data_dir)
        path.unlink()
        statuses = send_at_once(ingest, datasets, ds.SOPInstanceUID)
        assert sorted(statuses) == [0x0000, 0x0111]
        assert dataset_bytes(path) == datasets[statuses.index(0)]


# -- who may come in ----------------------------------------------------------------------------


def test_an_unknown_sender_is_refused_and_the_log_says_what_to_add(
    ingest: Ingest, make_ingest: Callable[..., Ingest], tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=100_000)
    with capture_logs() as logs:
        answer = storescu(ingest.port, tmp_path / "a.dcm", options=("-aet", 'PA"CS'))
    assert "Calling AE Title Not Recognized" in answer.stdout
    [event] = [e for e in logs if e["event"] == "association_refused"]
    [block] = tomllib.loads(event["to_allow_it_add"])["senders"]

    ingest.drain(1)
    better = make_ingest(senders=[Sender.model_validate(block)])

    assert storescu(better.port, tmp_path / "a.dcm", options=("-aet", 'PA"CS')).returncode == 0


def test_a_known_ae_title_from_an_unlisted_address_is_refused(
    make_ingest: Callable[..., Ingest], tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=100_000)
    ingest = make_ingest(
        senders=[Sender(ae_title="STORESCU", networks=(IPv4Network("10.0.0.0/8"),))]
    )
    with capture_logs() as logs:
        answer = storescu(ingest.port, tmp_path / "a.dcm")
    assert "Calling AE Title Not Recognized" in answer.stdout
    [event] = [e for e in logs if e["event"] == "association_refused"]
    assert "127.0.0.1/32" in event["to_allow_it_add"]


def test_a_wrong_called_ae_title_is_refused(ingest: Ingest) -> None:
    command = ["echoscu", "-aet", "STORESCU", "-aec", "OTHER", "127.0.0.1", str(ingest.port)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "Called AE Title Not Recognized" in answer.stderr + answer.stdout


def test_nobody_may_send_by_default(make_ingest: Callable[..., Ingest], tmp_path: Path) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=100_000)
    assert storescu(make_ingest(senders=[]).port, tmp_path / "a.dcm").returncode != 0


def test_other_classes_than_whole_slide_images_are_refused_at_negotiation(ingest: Ingest) -> None:
    entity = AE("STORESCU")
    for sop_class in (CT, WSM, "1.2.840.10008.5.1.4.1.1.88.34"):
        entity.add_requested_context(sop_class)
    assoc = entity.associate("127.0.0.1", ingest.port, ae_title="NODE")
    assert [c.abstract_syntax for c in assoc.accepted_contexts] == [WSM]
    assert {c.result for c in assoc.rejected_contexts} == {3}  # abstract syntax not supported
    assoc.release()


def test_one_association_too_many_is_told_to_come_back(make_ingest: Callable[..., Ingest]) -> None:
    ingest = make_ingest(maximum_associations=2)
    first, second = (associate(ingest.port) for _ in range(2))
    assert first.is_established
    assert second.is_established
    # On a busy machine the library now and then sees the end of a connection before its answer.
    tries = (associate(ingest.port) for _ in range(3))
    third = next(one for one in tries if one.is_rejected or one.is_established)
    assert third.is_rejected
    assert third.acceptor.primitive.result == 2  # transient
    first.release()
    eventually(lambda: associate(ingest.port).is_established)
    second.release()


def test_silent_connections_of_one_host_do_not_shut_another_out(
    make_ingest: Callable[..., Ingest],
) -> None:
    ingest = make_ingest(maximum_associations=4)
    sockets = []
    for _ in range(150):
        sock = socket.create_connection(("127.0.0.1", ingest.port), source_address=("127.0.0.2", 0))
        sockets.append(sock)
        with contextlib.suppress(ConnectionError):
            sock.send(b"\x01")
    assoc = associate(ingest.port)
    assert assoc.is_established
    assoc.release()
    for sock in sockets:
        sock.close()


# -- what is refused, and how -------------------------------------------------------------------


def nested(depth: int) -> Sequence:
    item = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedSeriesSequence = Sequence([item])
        item = outer
    return Sequence([item])


def unknown_lengths(depth: int) -> bytes:
    """Sequences of unknown length that open and never close."""
    opening = struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF)
    return (opening + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


LONG_PRIVATE = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 3 << 20) + bytes(3 << 20)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"SOPClassUID": CT}, 0xA900),
        ({"SOPInstanceUID": "1.2.3.4"}, 0xA900),
        ({"SOPInstanceUID": None}, 0xC002),
        ({"SOPClassUID": None}, 0xC002),
        ({"StudyInstanceUID": None}, 0xC003),
        ({"SeriesInstanceUID": None}, 0xC004),
        ({"StudyInstanceUID": "../../../etc/passwd"}, 0xC005),
        ({"SeriesInstanceUID": "1..2"}, 0xC005),
        ({"StudyInstanceUID": "1." + "2" * 64}, 0xC005),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_a_dataset_that_cannot_be_filed_is_refused_with_its_own_status(
    ingest: Ingest, data_dir: Path, changes: dict[str, Any], status: int
) -> None:
    assoc = associate(ingest.port)
    ds = wsm_header(**changes)
    instance = "1.2.826.0.1.99" if changes.get("SOPInstanceUID", "") != "" else ds.SOPInstanceUID

    answer = send_raw(assoc, encoded(ds), instance=instance)

    assert f"{answer.Status:04X}" == f"{status:04X}"
    assert 0 < len(answer.ErrorComment) <= 64
    assert spooled(data_dir) == []
    good = wsm_header()
    assert send_raw(assoc, encoded(good), instance=good.SOPInstanceUID).Status == 0x0000
    assoc.release()


@pytest.mark.parametrize(
    ("dataset", "status"),
    [
        (b"not a dataset at all, not even a little", 0xC001),
        (random.Random(1).randbytes(300_000), 0xC001),
        (unknown_lengths(20_000), 0xC006),
        (LONG_PRIVATE, 0xC006),
    ],
    ids=["text", "noise", "sequences-without-end", "long-header"],
)
def test_bytes_that_are_no_dataset_are_refused(
    ingest: Ingest, data_dir: Path, dataset: bytes, status: int
) -> None:
    assoc = associate(ingest.port)
    answer = send_raw(assoc, dataset, instance="1.2.3")
    assert f"{answer.Status:04X}" == f"{status:04X}"
    assert spooled(data_dir) == []
    assoc.release()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_path_as_the_uid_of_the_command_is_refused_and_writes_nowhere(
    ingest: Ingest, data_dir: Path
) -> None:
    assoc = associate(ingest.port)
    answer = send_raw(assoc, encoded(wsm_header()), instance="../../../../tmp/owned")
    assert answer.Status == 0xC005
    assert spooled(data_dir) == []
    assoc.release()


def test_a_command_for_another_class_than_its_context_is_refused_0122(ingest: Ingest) -> None:
    ds = wsm_header(SOPClassUID=CT)
    assoc = associate(ingest.port)
    answer = send_raw(assoc, encoded(ds), sop_class=CT, instance=ds.SOPInstanceUID)
    assert answer.Status == 0x0122
    assoc.release()


def test_damaged_headers_never_pass_and_never_end_the_association(
    ingest: Ingest, data_dir: Path
) -> None:
    rng = random.Random(7)
    ds = wsm_header()
    ds.ReferencedSeriesSequence = nested(5)
    whole = encoded(ds)
    assoc = associate(ingest.port)
    for _ in range(60):
        damaged = bytearray(whole[: rng.randrange(len(whole))])
        for _ in range(rng.randrange(1, 6)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        answer = send_raw(assoc, bytes(damaged), instance=ds.SOPInstanceUID)
        # Accepted only if what identifies it survived.
        assert answer.Status in (0x0000, 0x0111, 0xA900) or answer.Status >> 12 == 0xC
    assert assoc.is_established
    assoc.release()
    assert len(spooled(data_dir)) <= 1


# -- when things break --------------------------------------------------------------------------


@ON_BOTH
def test_a_sender_killed_in_mid_transfer_leaves_no_file_no_descriptor_and_no_open_transfer(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=300_000_000)
    command = ["storescu", "-R", "-xy", "-aec", "NODE", "127.0.0.1", str(ingest.port)]
    sender = subprocess.Popen([*command, str(tmp_path / "a.dcm")])
    eventually(lambda: unnamed_files(os.getpid(), data_dir))
    sender.send_signal(signal.SIGSTOP)
    assert unnamed_files(os.getpid(), data_dir), "it had finished already"
    assert open_transfers(data_dir) == 1

    sender.kill()
    sender.wait()

    eventually(lambda: not unnamed_files(os.getpid(), data_dir))
    eventually(lambda: open_transfers(data_dir) == 0)
    assert spooled(data_dir) == []
    assert instance_rows(data_dir) == []


def test_a_pdu_that_claims_four_gigabytes_ends_the_connection_without_taking_memory(
    ingest: Ingest,
) -> None:
    process = psutil.Process()
    for begin in (lambda: None, lambda: associate(ingest.port)):
        assoc = begin()
        if assoc is None:
            sock = socket.create_connection(("127.0.0.1", ingest.port), timeout=20)
            header = b"\x01\x00\xff\xff\xff\xff"
        else:
            sock = assoc.dul.socket.socket
            header = b"\x04\x00\xff\xff\xff\xff"
        before = process.memory_info().rss
        sock.sendall(header)
        with pytest.raises(OSError, match=GONE):
            flood(sock, bytes(4096), times=64 << 10)
        assert process.memory_info().rss - before < 8 << 20
        if assoc is not None:
            assoc.abort()


@pytest.mark.parametrize("control", [1, 0], ids=["command", "dataset"])
def test_a_message_without_end_that_is_no_instance_is_cut_off(ingest: Ingest, control: int) -> None:
    assoc = associate(ingest.port, sop_class="1.2.840.10008.1.1")
    context_id = assoc.accepted_contexts[0].context_id
    sock = assoc.dul.socket.socket
    part = struct.pack(">LBB", 60_002, context_id, control) + bytes(60_000)
    pdu = struct.pack(">BBL", 4, 0, len(part)) + part
    with pytest.raises(OSError, match=GONE):
        flood(sock, pdu, times=2000)
    assoc.abort()


def test_requests_without_waiting_for_answers_are_cut_off(ingest: Ingest, data_dir: Path) -> None:
    assoc = associate(ingest.port)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = WSM, "1.2.3"
    request.DataSet = BytesIO(bytes(200))
    for _ in range(400):
        assoc.dimse.send_msg(request, assoc.accepted_contexts[0].context_id)
    eventually(lambda: not assoc.dul.is_alive() or assoc.is_aborted)
    eventually(lambda: not unnamed_files(os.getpid(), data_dir))


def test_an_unwritable_ledger_means_try_later_and_nothing_is_kept(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=200_000)
    with sqlite3.connect(data_dir / "node.sqlite") as db:
        db.execute("DROP TABLE instances")

    answer = storescu(ingest.port, tmp_path / "a.dcm")

    assert "OutOfResources" in answer.stdout
    assert spooled(data_dir) == []
    schema.metadata.create_all(ingest.ledger.database.engine)
    assert storescu(ingest.port, tmp_path / "a.dcm").returncode == 0
    assert len(instance_rows(data_dir)) == 1


def test_a_ledger_that_cannot_open_a_transfer_means_try_later(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=200_000)
    with sqlite3.connect(data_dir / "node.sqlite") as db:
        db.execute("DROP TABLE transfers")
    assert "OutOfResources" in storescu(ingest.port, tmp_path / "a.dcm").stdout
    assert spooled(data_dir) == []


def test_an_error_nobody_expected_is_answered_0110(ingest: Ingest, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / "node.sqlite") as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON instances BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    ds = wsm_header()
    assoc = associate(ingest.port)
    assert send_raw(assoc, encoded(ds), instance=ds.SOPInstanceUID).Status == 0x0110
    assert assoc.is_established
    assoc.release()


def test_below_the_reserve_instances_are_refused_before_a_byte_is_written(
    make_ingest: Callable[..., Ingest], data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=200_000)
    ingest = make_ingest(spool=Spool(data_dir / "spool", reserve_bytes=1 << 60))
    assert "OutOfResources" in storescu(ingest.port, tmp_path / "a.dcm").stdout
    assert spooled(data_dir) == []


@ON_BOTH
def test_draining_waits_for_open_associations_and_turns_new_ones_away(
    ingest: Ingest, data_dir: Path
) -> None:
    ds = wsm_header()
    working = associate(ingest.port)
    outcome: list[bool] = []
    drain = threading.Thread(target=lambda: outcome.append(ingest.drain(20)))
    drain.start()
    eventually(lambda: associate(ingest.port).is_rejected)
    assert send_raw(working, encoded(ds), instance=ds.SOPInstanceUID).Status == 0x0000
    working.release()
    drain.join(timeout=20)
    assert outcome == [True]
    assert len(instance_rows(data_dir)) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ingest.port), timeout=5)


def test_draining_aborts_who_does_not_leave(ingest: Ingest) -> None:
    assoc = associate(ingest.port)
    assert ingest.drain(0.2) is False
    eventually(lambda: assoc.is_aborted)


# -- the listener as a process ------------------------------------------------------------------


class Process:
    """tests/support/ingest_process.py, to be killed."""

    def __init__(self, data_dir: Path) -> None:
        root = str(SUPPORT.parents[1])
        self.popen = subprocess.Popen(
            [sys.executable, str(SUPPORT / "ingest_process.py"), str(data_dir)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            if line.strip().isdigit():
                self.port = int(line)
                break

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@pytest.fixture
def start_process(data_dir: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def start() -> Process:
        started.append(Process(data_dir))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@ON_BOTH
def test_a_full_disk_is_answered_a700_on_a_kept_association_and_passes_by_itself(
    start_process: Callable[[], Process], data_dir: Path, tmp_path: Path
) -> None:
    process = start_process()
    pid = process.popen.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4 << 20, hard))
    write_wsm(tmp_path / "1.dcm", size_bytes=16 << 20)
    small = write_wsm(tmp_path / "2.dcm", size_bytes=200_000)

    answer = storescu(process.port, tmp_path / "1.dcm", tmp_path / "2.dcm", options=("-nh",))

    assert "OutOfResources" in answer.stdout
    assert answer.stdout.count("Association Accepted") == 1
    assert [row[0] for row in instance_rows(data_dir)] == [small.SOPInstanceUID]
    assert len(spooled(data_dir)) == 1
    assert unnamed_files(pid, data_dir) == []
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert storescu(process.port, tmp_path / "1.dcm").returncode == 0
    assert len(instance_rows(data_dir)) == 2


@ON_BOTH
def test_whatever_was_acknowledged_survives_kills_at_random_moments(
    start_process: Callable[[], Process], data_dir: Path, tmp_path: Path
) -> None:
    rng = random.Random(3)
    acknowledged: dict[str, bytes] = {}
    for round_ in range(6):
        process = start_process()
        killer = threading.Timer(rng.uniform(0.02, 0.6), process.popen.kill)
        for i in range(200):
            file = tmp_path / f"{round_}-{i}.dcm"
            ds = write_wsm(file, size_bytes=rng.choice((50_000, 3_000_000)))
            if storescu(process.port, file).returncode != 0:
                break
            acknowledged[ds.SOPInstanceUID] = dataset_bytes(file)
            file.unlink()
            if i == 0:  # however busy the machine is, the kill finds a node at work
                killer.start()
        killer.join()
        process.kill()
    start_process()
    assert len(acknowledged) >= 6
    rows = {row[0]: row[2] for row in instance_rows(data_dir)}
    for uid, sent in acknowledged.items():
        assert dataset_bytes(data_dir / "spool" / rows[uid]) == sent
    assert {str(p.relative_to(data_dir / "spool")) for p in spooled(data_dir)} == set(rows.values())


@ON_BOTH
def test_a_file_that_was_never_recorded_is_in_lost_and_found_after_a_start(
    start_process: Callable[[], Process], data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=100_000)
    process = start_process()
    storescu(process.port, tmp_path / "a.dcm")
    process.kill()
    [kept] = spooled(data_dir)
    orphan = data_dir / "spool" / "00" / ("0" * 30 + ".dcm")
    orphan.write_bytes(b"linked, but killed before it was recorded")

    start_process()

    assert spooled(data_dir) == [kept]
    moved = data_dir / "spool" / "lost+found" / ("0" * 32 + ".dcm")
    assert moved.read_bytes() == b"linked, but killed before it was recorded"


def test_a_start_without_the_database_keeps_every_acknowledged_file_and_says_so(
    make_ingest: Callable[..., Ingest], ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    for name in ("a.dcm", "b.dcm"):
        write_wsm(tmp_path / name, size_bytes=100_000)
    storescu(ingest.port, tmp_path / "a.dcm", tmp_path / "b.dcm")
    ingest.drain(1)
    received = sorted(path.read_bytes() for path in spooled(data_dir))
    assert len(received) == 2

    with capture_logs() as logs:
        make_ingest(ledger=Ledger.open(data_dir / "new.sqlite"))

    assert spooled(data_dir) == []
    lost_found = data_dir / "spool" / "lost+found"
    assert sorted(path.read_bytes() for path in lost_found.iterdir()) == received
    [said] = [line for line in logs if line["event"] == "spool_files_unknown"]
    assert (said["log_level"], said["moved_now"], said["waiting"]) == ("error", 2, 2)
    assert "dicom-node recover" in said["what_to_do"]


def test_a_start_beside_a_recover_moves_nothing_and_listens(
    make_ingest: Callable[..., Ingest], data_dir: Path
) -> None:
    spool = Spool(data_dir / "spool", 0)
    orphan = spool.root / "00" / ("0" * 30 + ".dcm")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"published by recover, and not recorded yet")
    with LostFound(spool).held(), capture_logs() as logs:
        ingest = make_ingest()
    assert orphan.exists()
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["spool_not_swept"]
    assoc = associate(ingest.port)
    assert assoc.is_established
    assoc.release()


def test_a_damaged_ledger_means_try_later_and_the_listener_knows_why(
    ingest: Ingest, data_dir: Path, tmp_path: Path
) -> None:
    write_wsm(tmp_path / "a.dcm", size_bytes=200_000)
    ingest.ledger.database.engine.dispose()
    (data_dir / "node.sqlite").write_bytes(b"no database" * 1000)
    answer = storescu(ingest.port, tmp_path / "a.dcm")
    assert "OutOfResources" in answer.stdout
    assert "SQLITE_NOTADB" in str(ingest.damage)


@ON_BOTH
def test_two_named_listeners_share_spool_and_database_and_leave_each_other_alone(
    make_ingest: Callable[..., Ingest], data_dir: Path, tmp_path: Path
) -> None:
    def listener(name: str) -> Ingest:
        return make_ingest(
            spool=Spool(data_dir / "spool", 0, writer=f"by-{name}"),
            ledger=Ledger.open(ledger_of(data_dir), owner=name),
        )

    east = listener("east")
    write_wsm(tmp_path / "a.dcm", size_bytes=300_000)
    assert storescu(east.port, tmp_path / "a.dcm").returncode == 0
    # Named, and not recorded yet: what a second node that starts just then must not take away.
    new = data_dir / "spool" / "by-east" / "00" / "0.dcm"
    new.write_bytes(b"just linked")
    east.ledger.arrivals.open_transfer(calling_ae="STORESCU", peer="::1")

    west = listener("west")

    assert new.exists()
    assert open_transfers(data_dir) == 1
    [(uid, _, path)] = instance_rows(data_dir)
    with capture_logs() as logs:
        assert storescu(west.port, tmp_path / "a.dcm").returncode == 0
    assert outcomes(logs) == ["identical"], "compared with the other's file"
    lost(data_dir / "spool" / path)
    assert storescu(west.port, tmp_path / "a.dcm").returncode == 0
    assert dataset_bytes(data_dir / "spool" / path) == dataset_bytes(tmp_path / "a.dcm")
    assert [row[::2] for row in instance_rows(data_dir)] == [(uid, path)]


def test_a_second_listener_on_the_same_spool_refuses_to_start(
    ingest: Ingest, data_dir: Path
) -> None:
    second = subprocess.run(
        [sys.executable, str(SUPPORT / "ingest_process.py"), str(data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])},
        check=False,
    )
    assert second.returncode != 0
    assert "already receives into this spool" in second.stderr


def test_the_listener_imports_neither_engine_nor_slide_reader() -> None:
    script = (
        "import sys, dicom_node.processes.ingest;"
        "print([m for m in ('openvino','onnxruntime','wsidicom','highdicom','dbos','torch')"
        " if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])},
        check=True,
    )
    assert answer.stdout.strip() == "[]"
