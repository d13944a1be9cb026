"""The recorded faults of the node, probed one by one: a table of expected and measured.

    python tests/long/faults.py [--only NAME ...]

Each probe runs a node of its own as real processes. Exit status 1 when any fails.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

import poison
import psutil
from disk import small_disk
from lingering import SIGN
from nodes import ROOT, Node, free_port, node, storescp, study_of, wait_for
from prey import children, ledger_of
from pydicom import DataElement, dcmread
from sending import store, store_all
from sick import Silence, sick

from dicom_node.demo.wsm import write_slide
from dicom_node.ledger.rows import Revision
from dicom_node.ledger.states import State
from inference.phantom.draw import draw
from slides import as_concatenation, new_study_copy

OVER = (State.DONE, State.PARKED)
MOST_MB = 1500
"""A worker that takes more than this is killed: the machine is shared."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    probe: str
    expected: str
    measured: str
    passed: bool


@cache
def _drawn() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="faults-slide-"))
    write_slide(draw(5, rows=1024, cols=1280).pixels, folder, mpp=0.5, levels=2, seed="faults")
    return folder


def _study(folder: Path, seed: str) -> tuple[Path, str]:
    """A sound study of its own: folder and Study Instance UID."""
    new_study_copy(_drawn(), folder / seed, seed)
    return folder / seed, study_of(folder / seed)


def _send(n: Node, *folders: Path) -> None:
    for folder in folders:
        store_all(n.port, sorted(folder.glob("*.dcm")))


def _revision(n: Node, study: str) -> Revision | None:
    with ledger_of(n) as ledger:
        return ledger.queries.revision(study)


def _watch(condition: Callable[[], Any], within_s: float) -> float | None:
    """Seconds until a condition came true."""
    began = time.monotonic()
    while time.monotonic() - began < within_s:
        if condition():
            return time.monotonic() - began
        time.sleep(0.2)
    return None


def _over(n: Node, study: str, within_s: float) -> tuple[State | None, str, float | None]:
    """State, reason and seconds of a study, once it is done or parked or the time is up."""

    def over() -> bool:
        revision = _revision(n, study)
        return revision is not None and revision.state in OVER

    seconds = _watch(over, within_s)
    revision = _revision(n, study)
    return (revision.state, revision.reason or "", seconds) if revision else (None, "", seconds)


def _worker(n: Node) -> int | None:
    found = children(n).get("worker")
    return found.pid if found else None


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _brief(reason: str) -> str:
    return reason if len(reason) <= 90 else f"{reason[:87]}..."


# -- what one study must not cost the others -----------------------------------------------------


def poison_overflow(folder: Path) -> list[Row]:
    """A number that overflows parks its own study only."""
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        n.start()
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        before = _worker(n)
        path = folder / "poison.dcm"
        bad = poison.instance(poison.OVERFLOW, _drawn(), path, random.Random(1))
        answer = store(n.port, [path]).get(path)
        sound, study = _study(folder, "sound")
        _send(n, sound)
        state, _, latency = _over(n, study, 30)
        time.sleep(max(0.0, 30 - (latency or 30)))
        parked, reason, _ = _over(n, bad, 1)
        same = before is not None and _worker(n) == before and "child_died" not in n.log
        named = "TotalPixelMatrixRows" in reason.replace(" ", "")
        refused = (answer or 0) >> 12 == 0xC
        measured = (
            f"worker {'the same' if same else 'died'}; poison {parked or hex(answer or 0)}, "
            f"'{_brief(reason)}'; sound {state} after {_seconds(latency)}"
        )
        good = same and state is State.DONE and (refused or (parked is State.PARKED and named))
        expected = "same worker after 30 s; poison parked, attribute named; sound study done"
        return [Row("overflow", expected, measured, good)]


def sequence_without_end(folder: Path) -> list[Row]:
    """A malformed file is not taken for a sick disk."""
    extra = "incomplete_after_s = 15"
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port, extra=extra) as n:
        n.start()
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        path = folder / "poison.dcm"
        bad = poison.instance(poison.UNTERMINATED, _drawn(), path, random.Random(2))
        store(n.port, [path])
        state, reason, seconds = _over(n, bad, 40)
        time.sleep(40 - (seconds or 40))
        errors = sum('"level": "error"' in line for line in n.log.splitlines())
        per_minute = errors * 60 / 40
        measured = f"{state} after {_seconds(seconds)}, '{_brief(reason)}'; "
        measured += f"{per_minute:.0f} error lines a minute"
        good = state is State.PARKED and per_minute <= 3
        expected = "parked with the reason; at most 3 error lines a minute"
        return [Row("unterminated", expected, measured, good)]


def concatenation_total(folder: Path) -> list[Row]:
    """A number of parts of any size costs neither memory nor database nor patience."""
    return [_total(folder / str(total), total) for total in (20_000_000, 2**31 - 1)]


def _total(folder: Path, total: int) -> Row:
    folder.mkdir()
    as_concatenation(_study(folder, "whole")[0], folder / "parts", 2)
    (part,) = (folder / "parts").glob("*-part-1.dcm")
    ds = dcmread(part)
    ds[0x00209163] = DataElement(0x00209163, "UL", total)  # US holds 65535 at most
    ds.save_as(part)
    extra = "incomplete_after_s = 15"
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port, extra=extra) as n:
        n.start()
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        with _Peak(n) as peak:
            store(n.port, [part])
            state, reason, _ = _over(n, str(ds.StudyInstanceUID), 25)
        began = time.monotonic()
        n.run("studies")
        listed_s = time.monotonic() - began
        row = _longest_value(n.folder / "node-data" / "node.sqlite")
        stopped = f", stopped {peak.stopped} times" if peak.stopped else ""
        measured = (
            f"worker {peak.mb:.0f} MB{stopped}; longest value {row} B; studies {listed_s:.1f} s; "
            f"{state}, '{_brief(reason)}'"
        )
        good = peak.mb < 800 and row < 65536 and listed_s < 5 and state is State.PARKED
        expected = "worker < 800 MB, values < 64 KiB, studies < 5 s, parked"
        return Row(f"parts {total}", expected, measured, good)


class _Peak:
    """The most memory of the worker of a node; one that takes too much is killed."""

    def __init__(self, n: Node) -> None:
        self.mb, self.stopped = 0.0, 0
        self._node, self._stop = n, threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            worker = children(self._node).get("worker")
            with suppress(psutil.NoSuchProcess):
                mb = worker.memory_info().rss / 1e6 if worker else 0.0
                self.mb = max(self.mb, mb)
                if worker and mb > MOST_MB:
                    self.stopped += 1
                    worker.kill()


def _longest_value(database: Path) -> int:
    """Bytes of the longest text in any table."""
    longest = 0
    with closing(sqlite3.connect(database)) as db:
        tables = [t for (t,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, *_ in list(db.execute(f'PRAGMA table_info("{table}")')):
                query = f'SELECT max(length("{column}")) FROM "{table}"'
                longest = max(longest, db.execute(query).fetchone()[0] or 0)
    return longest


def two_patients(folder: Path) -> list[Row]:
    """Levels of two patients in one series and container give no result."""
    study_folder, study = _study(folder, "mixed")
    for number, level in enumerate(sorted(study_folder.glob("*.dcm"))):
        ds = dcmread(level)
        ds.PatientName, ds.PatientID = f"ZZPHI{number}^NAME", f"ZZPHI{number}"
        ds.save_as(level)
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        n.start()
        _send(n, study_folder)
        state, reason, _ = _over(n, study, 45)
        time.sleep(2)
        quoted = sum(text.count("ZZPHI") for text in (n.log, *_database_texts(n)))
        named = "Patient" in reason
        left = len(pacs.objects())
        measured = f"{state}, '{_brief(reason)}'; {left} objects left, {quoted} values quoted"
        good = state is State.PARKED and named and not pacs.objects() and not quoted
        expected = "parked, attributes named, no values; no object leaves"
        return [Row("two-patients", expected, measured, good)]


def second_serve(folder: Path) -> list[Row]:
    """A second node on one data_dir is refused before it takes anything."""
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        n.start()
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        before = {role: process.pid for role, process in children(n).items()}
        config = n.folder / "second.toml"
        text = n.config.read_text().replace(f"\nport = {n.port}", f"\nport = {free_port()}")
        config.write_text(text)
        command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(config)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        second = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        try:
            output, _ = second.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            second.kill()
            output, _ = second.communicate()
        sound, study = _study(folder, "sound")
        _send(n, sound)
        state, _, _ = _over(n, study, 45)
        same = before == {role: process.pid for role, process in children(n).items()}
        ready = output.count("model_ready")
        measured = (
            f"second exit {second.returncode}, model_ready {ready}; first "
            f"{'undisturbed' if same else 'restarted'}, its study {state}"
        )
        good = second.returncode == 3 and not ready and same and state is State.DONE
        expected = "second exits 3 without model_ready; first undisturbed"
        return [Row("second-serve", expected, measured, good)]


# -- destinations --------------------------------------------------------------------------------

_SICK = '[[destinations]]\nname = "sick"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {}\n'
_STUDIES = 4
_LATE_S = 120.0


def sick_destination(folder: Path) -> list[Row]:
    """A destination that hangs does not delay the results for another one."""
    baseline = _until_complete(folder / "none", None)
    rows = [
        Row(
            "sick: none",
            "baseline",
            f"4 studies complete after {_seconds(baseline)}",
            bool(baseline),
        )
    ]
    silences: tuple[Silence, ...] = ("C-ECHO", "C-STORE", "A-ASSOCIATE")
    for silence in silences:
        seconds = _until_complete(folder / silence, silence)
        good = bool(seconds and baseline and seconds < baseline * 1.25 + 5)
        after = _seconds(seconds) if seconds else f"more than {_LATE_S:.0f} s"
        expected = "4 studies complete within 1.25 times the baseline + 5 s"
        rows.append(Row(f"sick: no answer to {silence}", expected, f"after {after}", good))
    return rows


def _until_complete(folder: Path, silence: Silence | None) -> float | None:
    """Seconds from the start of the node until the good destination has every object."""
    port = free_port()
    made = [_study(folder, f"study-{number}")[0] for number in range(_STUDIES)]
    extra = _SICK.format(port) if silence else ""
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port, extra=extra) as n:
        began = time.monotonic()
        if silence is None:
            n.start()
            _send(n, *made)
            found = _watch(lambda: len(list(pacs.folder.iterdir())) >= 2 * _STUDIES, _LATE_S)
        else:
            with sick(port, silence):
                n.start()
                _send(n, *made)
                found = _watch(lambda: len(list(pacs.folder.iterdir())) >= 2 * _STUDIES, _LATE_S)
                n.kill()
        return None if found is None else time.monotonic() - began


def idle_rounds(folder: Path) -> list[Row]:
    """A destination that has everything gets no further rounds while another is down."""
    extra = _SICK.format(free_port())
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port, extra=extra) as n:
        n.start()
        sound, study = _study(folder, "sound")
        _send(n, sound)
        wait_for(lambda: len(list(pacs.folder.iterdir())) >= 2, what="the results")
        time.sleep(3)
        before = _rounds(n, study, "pacs")
        time.sleep(60)
        new = _rounds(n, study, "pacs") - before
        return [Row("idle-rounds", "0 new in 60 s", f"{new} new workflows in 60 s", new == 0)]


def _rounds(n: Node, study: str, destination: str) -> int:
    with closing(sqlite3.connect(n.folder / "node-data" / "node.sqlite")) as db:
        query = "SELECT count(*) FROM workflow_status WHERE workflow_uuid LIKE ?"
        (count,) = db.execute(query, (f"{study}/%/{destination}/%",)).fetchone()
        return int(count)


# -- a full disk ---------------------------------------------------------------------------------

_FULL_S = 22.0


def disk_full_analysis(folder: Path) -> list[Row]:
    """A full disk during the analysis."""
    launcher = (str(ROOT / "tests" / "support" / "slow.py"),)

    def ready(n: Node, study: str) -> bool:
        revision = _revision(n, study)
        return revision is not None and revision.tiles_done > 0

    return [_disk_full(folder, "analysis", launcher, ready)]


def disk_full_results(folder: Path) -> list[Row]:
    """A full disk while results are written."""
    launcher = (str(Path(__file__).with_name("lingering.py")), "2")
    return [_disk_full(folder, "results", launcher, lambda n, _: SIGN in n.log)]


def disk_full_receive(folder: Path) -> list[Row]:
    """A disk, the log's own, that is full while instances come: the sender is told to wait."""
    probe, expected = "disk-full: receiving", "A700 only; 0000 within 10 s of freeing"
    with (
        small_disk(folder / "disk", 64) as disk,
        storescp(folder / "pacs") as pacs,
        node(folder / "disk" / "node", pacs.port, reserve_mb=0) as n,
    ):
        if not disk.mounted:
            return [Row(probe, expected, f"not run: {disk.reason}", False)]
        n.start()
        files = sorted(_study(folder, "sound")[0].glob("*.dcm"))
        statuses: list[int | None] = []
        with disk.full():
            for _ in range(6):
                statuses += store(n.port, files).values()
                time.sleep(1)
        taken = _watch(lambda: list(store(n.port, files).values()) == [0] * len(files), 30)
        told = [f"{s:04X}" if s is not None else "none" for s in statuses]
        counts = ", ".join(f"{told.count(s)} x {s}" for s in sorted(set(told)))
        measured = f"{counts} of {6 * len(files)}; taken {_seconds(taken)} after freeing"
        good = set(statuses) == {0xA700} and taken is not None and taken <= 10
        return [Row(probe, expected, measured, good)]


def _disk_full(
    folder: Path, when: str, launcher: tuple[str, ...], ready: Callable[[Node, str], bool]
) -> Row:
    """Seconds from freeing the disk until the study went on; a dead worker is started again."""
    probe, expected = f"disk-full: {when}", "study moves within 10 s of freeing, done later"
    with (
        small_disk(folder / "disk", 64) as disk,
        storescp(folder / "pacs") as pacs,
        node(folder / "disk" / "node", pacs.port, reserve_mb=0) as n,
    ):
        if not disk.mounted:
            return Row(probe, expected, f"not run: {disk.reason}", False)
        n.start("ingest")
        worker = n.start("worker", *launcher)
        n.start("egress")

        def tended(condition: Callable[[], Any]) -> Callable[[], Any]:
            def look() -> Any:
                nonlocal worker
                if worker.poll() is not None:
                    worker = n.start("worker", *launcher)
                return condition()

            return look

        sound, study = _study(folder, "sound")
        _send(n, sound)
        wait_for(lambda: ready(n, study), within_s=60, what=when)
        with disk.full():
            _watch(tended(lambda: False), _FULL_S)
        before = _signature(n, study)
        moved = _watch(tended(lambda: _signature(n, study) != before), 45)
        _watch(tended(lambda: _state(n, study) in OVER), 45)
        state = _state(n, study)
        good = moved is not None and moved <= 10 and state is State.DONE
        return Row(probe, expected, f"moved after {_seconds(moved)}; then {state}", good)


def _signature(n: Node, study: str) -> object:
    r = _revision(n, study)
    return r and (r.state, r.attempt, r.tiles_done, r.slide)


def _state(n: Node, study: str) -> State | None:
    revision = _revision(n, study)
    return revision.state if revision else None


# -- what must not be told -----------------------------------------------------------------------

_DAMAGED = (
    ("TotalPixelMatrixRows", "LO"),
    ("TotalPixelMatrixColumns", "UT"),
    ("NumberOfFrames", "IS"),
    ("Rows", "LO"),
    ("SamplesPerPixel", "LO"),
    ("ImagedVolumeWidth", "LO"),
    ("ImageOrientationSlide", "DS"),
    ("StudyDate", "DA"),
    ("AcquisitionDateTime", "DT"),
    ("LossyImageCompressionRatio", "DS"),
)
"""Attributes that get a planted text in place of their value, with the VR it is written in."""


def planted_strings(folder: Path) -> list[Row]:
    """Names, ids, birth dates and damaged values appear nowhere but in the objects."""
    made = [_planted(folder, number) for number in range(len(_DAMAGED))]
    extra = "incomplete_after_s = 10"
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port, extra=extra) as n:
        n.start()
        for study_folder, _ in made:
            store(n.port, sorted(study_folder.glob("*.dcm")))
        _watch(lambda: all(_state(n, study) in (*OVER, None) for _, study in made), 60)
        over = sum(_state(n, study) in OVER for _, study in made)
        names = [p.name for p in (n.folder / "node-data").rglob("*")]
        told = {
            "log": n.log.count("ZZPHI"),
            "database": sum(text.count("ZZPHI") for text in _database_texts(n)),
            "database file": sum(
                path.read_bytes().count(b"ZZPHI")
                for path in (n.folder / "node-data").glob("node.sqlite*")
            ),
            "file names": sum("ZZPHI" in name for name in names),
            "studies --json": n.run("studies", "--json").stdout.count("ZZPHI"),
        }
        measured = ", ".join(f"{place} {count}" for place, count in told.items())
        measured += f"; {over} of {len(made)} studies over"
        good = not any(told.values()) and over == len(made)
        return [Row("planted", "0 of 40 strings anywhere; all studies over", measured, good)]


def _planted(folder: Path, number: int) -> tuple[Path, str]:
    """A study with four planted strings, one of them a damaged value."""
    study_folder, study = _study(folder, f"planted-{number}")
    keyword, vr = _DAMAGED[number]
    for path in study_folder.glob("*.dcm"):
        for field, own_vr in (
            ("PatientName", "PN"),
            ("PatientID", "LO"),
            ("PatientBirthDate", "DA"),
        ):
            value = f"ZZPHI{field[7:11]}{number:02d}".encode()
            poison.replace_element(path, field, own_vr, value)
        poison.replace_element(path, keyword, vr, f"ZZPHIDAMAGED{number:02d}".encode())
    return study_folder, study


def _database_texts(n: Node) -> list[str]:
    """Every value of every table, as text."""
    with closing(sqlite3.connect(n.folder / "node-data" / "node.sqlite")) as db:
        tables = [t for (t,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            str(value)
            for t in tables
            for row in db.execute(f'SELECT * FROM "{t}"')
            for value in row
        ]


def permissions(folder: Path) -> list[Row]:
    """Everything below data_dir is private whatever the umask."""
    os.umask(0o022)
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        n.start()
        sound, study = _study(folder, "sound")
        _send(n, sound)
        state, _, _ = _over(n, study, 60)
        root = n.folder / "node-data"
        paths = [root, *root.rglob("*")]
        open_to_others = [p for p in paths if p.stat().st_mode & 0o077]
        shown = ", ".join(sorted({_kind(root, p) for p in open_to_others})) or "none"
        measured = f"{len(open_to_others)} of {len(paths)} open to others: {shown}; study {state}"
        good = not open_to_others and state is State.DONE
        return [Row("permissions", "0 open to group or others", measured, good)]


def _kind(root: Path, path: Path) -> str:
    parts = path.relative_to(root).parts
    if not parts:
        return "data_dir"
    return f"{parts[0]}/*{path.suffix}" if len(parts) > 1 else parts[0]


PROBES: dict[str, Callable[[Path], list[Row]]] = {
    "overflow": poison_overflow,
    "unterminated": sequence_without_end,
    "parts": concatenation_total,
    "two-patients": two_patients,
    "second-serve": second_serve,
    "sick": sick_destination,
    "disk-full-analysis": disk_full_analysis,
    "disk-full-results": disk_full_results,
    "disk-full-receive": disk_full_receive,
    "planted": planted_strings,
    "permissions": permissions,
    "idle-rounds": idle_rounds,
}


def _rows(name: str, folder: Path) -> list[Row]:
    """The rows of a probe; one that breaks is a row too."""
    folder.mkdir()
    try:
        return PROBES[name](folder)
    except Exception as error:  # noqa: BLE001  # the other probes still say something
        return [Row(name, "runs to its end", f"{type(error).__name__}: {error}"[:300], False)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PROBES, default=list(PROBES), metavar="NAME")
    rows: list[Row] = []
    print("| probe | expected | measured | verdict |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for probe in parser.parse_args().only:
            for row in _rows(probe, Path(name) / probe):
                rows.append(row)
                verdict = "PASS" if row.passed else "FAIL"
                print(f"| {row.probe} | {row.expected} | {row.measured} | {verdict} |", flush=True)
    shutil.rmtree(_drawn())
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
