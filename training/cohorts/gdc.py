"""Finds and downloads open files of the Genomic Data Commons (or a server with the same API).

`POST {base}/files` with filters, fields and paging; `GET {base}/data/{id}`; the manifest is the
data portal's own (id, filename, md5, size, state). Documented at docs.gdc.cancer.gov/API.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from inference.durable import whole
from training.errors import TrainingError

PUBLIC_API = "https://api.gdc.cancer.gov"
FIELDS = ("file_id", "file_name", "md5sum", "file_size", "state", "cases.submitter_id")
MANIFEST = ("id", "filename", "md5", "size", "state")
AGAIN = frozenset({429, 500, 502, 503, 504})  # worth another try
LONGEST_WAIT_S = 60.0
CHUNK = 1 << 14  # of a broken connection, less than this is fetched twice

Filters = dict[str, Any]


@dataclass(frozen=True)
class RemoteFile:
    """One file of the archive, as the files endpoint or a manifest describes it."""

    id: str
    name: str
    md5: str
    size: int
    """Bytes."""
    state: str = "released"
    patients: tuple[str, ...] = ()
    """Submitter ids of its cases; empty when read from a manifest."""


def match(**fields: str | Iterable[str]) -> Filters:
    """The filter that every field has one of its values; `__` in a name stands for a dot.

    match(cases__project__project_id="TCGA-LUAD", data_type="Slide Image", access="open")
    """
    content = [
        {
            "op": "in",
            "content": {
                "field": name.replace("__", "."),
                "value": [value] if isinstance(value, str) else list(value),
            },
        }
        for name, value in fields.items()
    ]
    return {"op": "and", "content": content}


def diagnostic_slides(project: str) -> Filters:
    """The open diagnostic (formalin-fixed) slide images of a project such as TCGA-LUAD."""
    return match(
        cases__project__project_id=project,
        data_type="Slide Image",
        experimental_strategy="Diagnostic Slide",
        access="open",
    )


@dataclass(frozen=True)
class Client:
    """Talks to the API; every request is tried again, with doubling waits, before giving up."""

    base: str = PUBLIC_API
    tries: int = 6
    """Attempts in a row without progress."""
    wait_s: float = 1.0
    """Before the second attempt; doubles up to a minute. A Retry-After of the server is kept."""
    timeout_s: float = 60.0
    """To connect, and between two pieces of an answer."""
    sleep: Callable[[float], None] = time.sleep

    def find(self, filters: Filters, *, page: int = 500) -> tuple[RemoteFile, ...]:
        """All files that match, in the order of their id.

        Raises TrainingError where the API refuses, keeps failing or changes its total meanwhile.
        """
        found: dict[str, RemoteFile] = {}
        start = 0
        while True:
            data = self._page(filters, start, page)
            hits, total = data["hits"], int(data["pagination"]["total"])
            found |= {file.id: file for file in map(_remote_file, hits)}
            start += len(hits)
            if start >= total or not hits:
                break
        if len(found) != total:
            raise TrainingError(
                f"found {len(found)} different files over all pages of {self.base}, expected the "
                f"total of {total}: the archive changed meanwhile, ask again"
            )
        return tuple(found[key] for key in sorted(found))

    def download(self, file: RemoteFile, folder: Path) -> Path:
        """`folder/<id>/<name>`, there whole and with the right MD5 or not at all.

        A file that is there and right is not fetched again; what an interrupted call left
        (`.part`) is continued by Range. Raises TrainingError.
        """
        target = folder / _plain(file.id) / _plain(file.name)
        if target.is_file() and md5_of(target) == file.md5:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not `durable.whole`, which leaves nothing: what was fetched is kept to be continued.
        part = target.with_name(target.name + ".part")
        failures, why, before = 0, "", _size(part)
        while True:
            try:
                self._fetch(file, part)
                _refuse_wrong(part, file)
                part.replace(target)
                return target
            except _Retry as error:
                why, server_wait = str(error), error.wait_s
            failures = 1 if _size(part) > before else failures + 1
            before = _size(part)
            if failures >= self.tries:
                raise TrainingError(
                    f"found {why} in the last {failures} attempts to download {file.name}, "
                    f"expected {file.size} bytes with MD5 {file.md5}: try again later"
                )
            self._wait(failures, server_wait)

    def _page(self, filters: Filters, start: int, size: int) -> dict[str, Any]:
        body = {
            "filters": filters,
            "fields": ",".join(FIELDS),
            "format": "JSON",
            "sort": "file_id:asc",  # pages of an unsorted answer may overlap
            "from": start,
            "size": size,
        }
        why, url = "", f"{self.base}/files"
        for attempt in range(1, self.tries + 1):
            try:
                with _answer(requests.post, url, json=body, timeout=self.timeout_s) as answer:
                    data: dict[str, Any] = answer.json()["data"]
                    return data
            except _Retry as error:
                why, server_wait = str(error), error.wait_s
            except (requests.RequestException, KeyError, TypeError) as error:
                why, server_wait = f"an answer that is not the API's ({error!r})", None
            if attempt < self.tries:
                self._wait(attempt, server_wait)
        raise TrainingError(
            f"found {why} from {url} in {self.tries} attempts, expected a page of files: "
            "check the address or try again later"
        )

    def _fetch(self, file: RemoteFile, part: Path) -> None:
        """Add to `part` what it lacks of `file`; _Retry where the server or the line fails."""
        have = _size(part)
        if have == file.size:
            return
        headers = {"Accept-Encoding": "identity"}  # Range counts the bytes of the file itself
        if have:
            headers["Range"] = f"bytes={have}-"
        url = f"{self.base}/data/{file.id}"
        with _answer(
            requests.get, url, headers=headers, stream=True, timeout=self.timeout_s
        ) as answer:
            continued = answer.status_code == 206 and answer.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {have}-")
            if answer.status_code == 206 and not continued:
                part.unlink()
                raise _Retry("a part of the file that was not asked for")
            with part.open("ab" if continued else "wb") as sink:
                try:
                    for piece in answer.iter_content(CHUNK):
                        sink.write(piece)
                except requests.RequestException as error:
                    raise _Retry(f"a broken connection ({type(error).__name__})") from error

    def _wait(self, attempt: int, server_wait: float | None) -> None:
        wait = self.wait_s * 2 ** (attempt - 1) if server_wait is None else server_wait
        self.sleep(min(wait, LONGEST_WAIT_S))


class _Retry(Exception):
    """An attempt failed in a way that may pass; `wait_s` is what the server asked for."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def _answer(method: Callable[..., Any], url: str, **options: Any) -> Any:
    """The answer with status 200 or 206; _Retry, or TrainingError where asking again is useless."""
    try:
        answer = method(url, **options)
    except requests.RequestException as error:
        raise _Retry(f"no answer ({type(error).__name__})") from error
    if answer.status_code in (200, 206):
        return answer
    with answer:
        status, text = answer.status_code, answer.text[:200]
    if status in AGAIN:
        asked = answer.headers.get("Retry-After", "")
        raise _Retry(f"status {status}", float(asked) if asked.isdigit() else None)
    if status == 416:  # a part longer than the file: another file had that name
        raise _Retry(f"status {status}")
    raise TrainingError(
        f"found status {status} from {url} ({text.strip()}), expected an answer: check the "
        "filters, the id, and that the file is open access"
    )


def _refuse_wrong(part: Path, file: RemoteFile) -> None:
    """_Retry where `part` is not the file: too short is kept to continue, all else removed."""
    size = _size(part)
    if size < file.size:
        raise _Retry(f"{size} of {file.size} bytes")
    if size > file.size or md5_of(part) != file.md5:
        part.unlink()
        raise _Retry("a file with another MD5")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def md5_of(path: Path) -> str:
    """MD5 (hex) of a file's bytes: the archive's check against damage, not against malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _remote_file(hit: dict[str, Any]) -> RemoteFile:
    cases = hit.get("cases", [])
    return RemoteFile(
        str(hit.get("file_id", hit.get("id"))),
        str(hit["file_name"]),
        str(hit["md5sum"]),
        int(hit["file_size"]),
        str(hit.get("state", "released")),
        tuple(sorted({str(case["submitter_id"]) for case in cases})),
    )


def _plain(name: str) -> str:
    """`name` where it is a plain file name; TrainingError where it could leave the folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w.\-+ ()]*", name):
        raise TrainingError(
            f"found file name {name!r}, expected a name without folders: correct the manifest"
        )
    return name


def write_manifest(files: Iterable[RemoteFile], path: Path) -> None:
    """The portal's manifest: tab-separated id, filename, md5, size, state."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(MANIFEST)
    writer.writerows([item.id, item.name, item.md5, item.size, item.state] for item in files)
    with whole(path) as file:
        file.write(text.getvalue().encode())


def read_manifest(path: Path) -> tuple[RemoteFile, ...]:
    """The files of a manifest (the portal's or `write_manifest`'s), in its order."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    absent = set(MANIFEST[:4]) - set(rows[0] if rows else ())
    if absent:
        raise TrainingError(
            f"found no column {', '.join(sorted(absent))} in {path}, expected a manifest with "
            f"{', '.join(MANIFEST)}: download it again"
        )
    return tuple(
        RemoteFile(
            row["id"], row["filename"], row["md5"], int(row["size"]), row.get("state") or "released"
        )
        for row in rows
    )
