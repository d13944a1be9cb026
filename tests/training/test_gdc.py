from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("requests", reason="needs the training extra (requests)")

from training.cohorts.gdc import (
    Client,
    RemoteFile,
    diagnostic_slides,
    match,
    read_manifest,
    write_manifest,
)
from training.errors import TrainingError

BODY = bytes(range(256)) * 2000  # 512,000 bytes
ID = "8a3c1f0e-0000-4000-8000-000000000001"
FILE = RemoteFile(ID, "TCGA-05-4244-01Z-00-DX1.svs", hashlib.md5(BODY).hexdigest(), len(BODY))


@dataclass
class Archive:
    """What the server holds, what it does wrong next, and what it was asked."""

    hits: list[dict] = field(default_factory=list)
    body: bytes = BODY
    plan: list[str] = field(default_factory=list)
    """One fault per request, first to last: status:N, retry-after:N, drop:N (bytes), corrupt,
    whole (Range ignored), shifted (another part), garbage (no JSON)."""
    asked: list[dict] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    total: int | None = None


class Api(BaseHTTPRequestHandler):
    archive: Archive

    def log_message(self, *args: object) -> None:
        pass

    def _refuse(self, fault: str) -> bool:
        kind, _, value = fault.partition(":")
        if kind not in ("status", "retry-after"):
            return False
        self.send_response(429 if kind == "retry-after" else int(value))
        if kind == "retry-after":
            self.send_header("Retry-After", value)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.archive.asked.append({"path": self.path} | request)
        fault = self.archive.plan.pop(0) if self.archive.plan else ""
        if self._refuse(fault):
            return
        first, size = request["from"], request["size"]
        hits = self.archive.hits[first : first + size]
        total = len(self.archive.hits) if self.archive.total is None else self.archive.total
        page = {"count": len(hits), "total": total, "size": size, "from": first}
        answer = json.dumps({"data": {"hits": hits, "pagination": page}, "warnings": {}}).encode()
        if fault == "garbage":
            answer = b"<html>maintenance</html>"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.archive.ranges.append(wanted)
        fault = self.archive.plan.pop(0) if self.archive.plan else ""
        if self._refuse(fault):
            return
        if self.path != f"/data/{ID}":
            self.send_error(404, "not found")
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        start = 0 if fault == "whole" else start
        body = self.archive.body[start:]
        if fault == "corrupt":
            body = bytes(len(body))
        self.send_response(206 if start else 200)
        if start:
            shown = 7 if fault == "shifted" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(self.archive.body) - 1}/*")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault.startswith("drop:"):
            body = body[: int(fault.removeprefix("drop:"))]
        self.wfile.write(body)


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def base(archive: Archive) -> Iterator[str]:
    handler = type("Bound", (Api,), {"archive": archive})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(base: str, waits: list[float]) -> Client:
    return Client(base, tries=3, wait_s=1.0, timeout_s=5.0, sleep=waits.append)


def hit(number: int) -> dict:
    return {
        "id": f"id{number:03}",
        "file_id": f"id{number:03}",
        "file_name": f"slide{number}.svs",
        "md5sum": f"{number:032x}",
        "file_size": 1000 + number,
        "state": "released",
        "cases": [{"submitter_id": f"TCGA-05-{4000 + number}"}],
    }


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_all_pages_are_read_with_the_filters_the_api_documents(
    client: Client, archive: Archive
) -> None:
    archive.hits = [hit(number) for number in range(7)]
    found = client.find(diagnostic_slides("TCGA-LUAD"), page=3)
    assert [file.id for file in found] == [f"id{number:03}" for number in range(7)]
    assert found[4] == RemoteFile(
        "id004", "slide4.svs", f"{4:032x}", 1004, "released", ("TCGA-05-4004",)
    )
    assert [(asked["from"], asked["size"]) for asked in archive.asked] == [(0, 3), (3, 3), (6, 3)]
    first = archive.asked[0]
    assert first["path"] == "/files"
    assert "md5sum" in first["fields"].split(",")
    assert first["filters"]["content"][0] == {
        "op": "in",
        "content": {"field": "cases.project.project_id", "value": ["TCGA-LUAD"]},
    }


def test_a_filter_takes_several_values() -> None:
    content = match(data_format=["SVS", "TSV"])["content"]
    assert content == [{"op": "in", "content": {"field": "data_format", "value": ["SVS", "TSV"]}}]


def test_no_match_is_an_empty_answer(client: Client) -> None:
    assert client.find(match(data_type="nothing")) == ()


def test_a_busy_or_broken_api_is_asked_again_with_doubling_waits(
    client: Client, archive: Archive, waits: list[float]
) -> None:
    archive.hits = [hit(0)]
    archive.plan = ["status:500", "garbage", ""]
    assert len(client.find(match())) == 1
    assert waits == [1.0, 2.0]


def test_the_wait_that_the_server_asks_for_is_kept(
    client: Client, archive: Archive, waits: list[float]
) -> None:
    archive.hits = [hit(0)]
    archive.plan = ["retry-after:17", "retry-after:9000"]
    client.find(match())
    assert waits == [17.0, 60.0]


def test_an_api_that_keeps_failing_is_given_up_with_its_status(
    client: Client, archive: Archive, waits: list[float]
) -> None:
    archive.plan = ["status:503"] * 9
    with pytest.raises(TrainingError, match=r"found status 503 .* in 3 attempts"):
        client.find(match())
    assert len(archive.asked) == 3
    assert len(waits) == 2


def test_a_refused_query_is_not_repeated(client: Client, archive: Archive) -> None:
    archive.plan = ["status:400"]
    with pytest.raises(TrainingError, match="found status 400"):
        client.find(match())
    assert len(archive.asked) == 1


def test_pages_that_do_not_add_up_to_the_total_are_refused(
    client: Client, archive: Archive
) -> None:
    archive.hits, archive.total = [hit(0), hit(1)], 5
    with pytest.raises(TrainingError, match=r"found 2 different files .* total of 5"):
        client.find(match())


def test_nobody_listening_is_a_sentence(waits: list[float]) -> None:
    client = Client("http://127.0.0.1:9", tries=2, sleep=waits.append)
    with pytest.raises(TrainingError, match="found no answer"):
        client.find(match())


def test_a_file_arrives_whole_and_leaves_no_part(client: Client, tmp_path: Path) -> None:
    path = client.download(FILE, tmp_path)
    assert path == tmp_path / ID / FILE.name
    assert path.read_bytes() == BODY
    assert left(tmp_path) == [FILE.name]


def test_a_dropped_connection_is_continued_where_it_broke(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    archive.plan = ["drop:196608", "drop:98304", ""]
    assert client.download(FILE, tmp_path).read_bytes() == BODY
    assert archive.ranges == [None, "bytes=196608-", "bytes=294912-"]


def test_progress_renews_the_attempts(client: Client, archive: Archive, tmp_path: Path) -> None:
    archive.plan = ["drop:32768"] * 7  # more drops than the three attempts allowed
    assert client.download(FILE, tmp_path).read_bytes() == BODY


def test_a_later_call_continues_what_an_interrupted_one_left(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    archive.plan = ["drop:196608", "status:500", "status:500"]
    with pytest.raises(TrainingError, match="found status 500 in the last 3 attempts"):
        client.download(FILE, tmp_path)
    assert left(tmp_path) == [FILE.name + ".part"]
    archive.ranges.clear()
    assert client.download(FILE, tmp_path).read_bytes() == BODY
    assert archive.ranges == ["bytes=196608-"]


def test_a_server_that_ignores_range_starts_the_file_over(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    archive.plan = ["drop:196608", "whole"]
    assert client.download(FILE, tmp_path).read_bytes() == BODY


def test_a_part_that_was_not_asked_for_is_not_appended(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    archive.plan = ["drop:196608", "shifted"]
    assert client.download(FILE, tmp_path).read_bytes() == BODY
    assert archive.ranges[-1] is None


def test_a_corrupted_file_is_fetched_again(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    archive.plan = ["corrupt"]
    assert client.download(FILE, tmp_path).read_bytes() == BODY
    assert len(archive.ranges) == 2


def test_a_file_that_stays_corrupted_is_refused_and_not_left_behind(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    archive.body = bytes(len(BODY))
    with pytest.raises(TrainingError, match=f"another MD5 .* expected {len(BODY)} bytes"):
        client.download(FILE, tmp_path)
    assert left(tmp_path) == []


def test_a_file_longer_than_announced_is_refused(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    archive.body = BODY + b"more"
    with pytest.raises(TrainingError, match="another MD5"):
        client.download(FILE, tmp_path)


def test_a_file_that_is_there_and_right_is_not_fetched(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    path = client.download(FILE, tmp_path)
    client.download(FILE, tmp_path)
    assert len(archive.ranges) == 1
    path.write_bytes(b"damaged")
    assert client.download(FILE, tmp_path).read_bytes() == BODY


def test_a_file_the_archive_does_not_have_is_refused_at_once(
    client: Client, archive: Archive, tmp_path: Path
) -> None:
    absent = RemoteFile("0000", "gone.svs", FILE.md5, 5)
    with pytest.raises(TrainingError, match="found status 404"):
        client.download(absent, tmp_path)
    assert len(archive.ranges) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b", ""])
def test_a_name_that_leaves_the_folder_is_refused(
    client: Client, archive: Archive, tmp_path: Path, name: str
) -> None:
    with pytest.raises(TrainingError, match="expected a name without folders"):
        client.download(RemoteFile(ID, name, FILE.md5, FILE.size), tmp_path)
    assert archive.ranges == []


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "manifest.tsv"
    write_manifest([FILE], path)
    assert path.read_text().splitlines()[0] == "id\tfilename\tmd5\tsize\tstate"
    assert read_manifest(path) == (FILE,)


def test_a_table_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.tsv"
    path.write_text("id\tname\nx\ty\n")
    with pytest.raises(TrainingError, match="found no column filename, md5, size"):
        read_manifest(path)
