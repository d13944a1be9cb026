"""`dicom-node demo`: the main job for a newcomer, on loopback, with a real node process.

A small PACS is started, the node is started as `dicom-node serve`, a study is sent to it by
C-STORE, and what comes back to the PACS is shown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from rich.console import Console

from dicom_node.commands import flags
from dicom_node.config.loading import load_config
from dicom_node.config.peers import Destination
from dicom_node.config.whole import Config
from dicom_node.deliver.dimse import ask
from dicom_node.demo.pacs import SmallPacs, send_folder
from dicom_node.demo.wsm import COLON, SlideLabel, write_slide
from dicom_node.exit_status import FAILED
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Revision
from dicom_node.ledger.states import State
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY
from dicom_node.view.page.slide_page import write_page
from dicom_node.view.table import print_report
from inference import archive
from inference.errors import SlideUnreadable
from inference.phantom.draw import draw
from inference.slide.files import files_in, group
from inference.slide.headers import read_header
from inference.types import Condition, Prediction

_SEED = 2026
_ROWS, _COLS = 4096, 6144
_MPP = 0.5
_MARKER = "demo.json"
_START_S, _FINISH_S = 60, 1800
_CONFIG = """\
# Written by `dicom-node demo`: a node on loopback that answers to a small PACS.
[node]
ae_title = "DICOMNODE"
bind = "127.0.0.1"
port = {port}
data_dir = "node-data"
quiet_time_s = 2
reserve_mb = 256
[[senders]]
ae_title = "DEMOPACS"
networks = ["127.0.0.0/8"]
[[destinations]]
name = "pacs"
ae_title = "DEMOPACS"
host = "127.0.0.1"
port = {pacs_port}
[model]
bundle = "default"
engine = "auto"
"""


class _DemoFailed(Exception):
    """The demo cannot go on; the message says why and where to look."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What was asked for."""

    slide: Path | None
    """What to send; None for a slide drawn now."""
    out: Path


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `demo`."""
    parser.add_argument(
        "--slide", type=Path, metavar="PATH", help="folder of a DICOM slide to send"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR")
    flags.gives(parser, Demo)


def run(arguments: Demo) -> int:
    """Show the main job; 0 when report and heatmap came back."""
    console = Console(soft_wrap=True)  # a path is never broken
    started = time.monotonic()
    try:
        out = _fresh_folder(arguments.out.resolve())
        if arguments.slide is None:
            paths, truth = _drawn_study(out, console)
        else:
            paths, truth = _given_study(arguments.slide, console), None
        _main_job(paths, out, console, truth)
    except _DemoFailed as error:
        console.print(f"[bold red]demo failed[/bold red]: {error}")
        return FAILED
    console.print(f"Done in {time.monotonic() - started:.0f} s.")
    return 0


def _main_job(
    paths: Sequence[Path], out: Path, console: Console, truth: NDArray[np.uint8] | None
) -> None:
    with SmallPacs(out / "received") as pacs:
        port = _free_port()
        config_path = out / "node.toml"
        config_path.write_text(_CONFIG.format(port=port, pacs_port=pacs.port))
        config = load_config(config_path, {})
        with _node(config, config_path, out / "node.log"):
            console.print(f"Node     listening on 127.0.0.1:{port}, its log: {out / 'node.log'}")
            sent = send_folder(
                paths, host="127.0.0.1", port=port, calling_ae="DEMOPACS", called_ae="DICOMNODE"
            )
            refused = [f"{path.name}: {status:04X}" for path, status in sent if status]
            if refused:
                raise _DemoFailed(f"the node refused {', '.join(refused)}; see {out / 'node.log'}")
            megabytes = sum(p.stat().st_size for p in paths) / 1e6
            console.print(f"Sent     {len(sent)} instances, {megabytes:.0f} MB, by C-STORE")
            revision = _wait(config, console)
    _show(paths, out, revision, console, truth, _condition(config.results_dir))


def _show(
    paths: Sequence[Path],
    out: Path,
    revision: Revision,
    console: Console,
    truth: NDArray[np.uint8] | None,
    condition: Condition | None,
) -> None:
    received = sorted((out / "received").glob("*.dcm"))
    by_modality: dict[str, list[Path]] = {}
    for path in received:
        modality = str(dcmread(path, stop_before_pixels=True).Modality)
        by_modality.setdefault(modality, []).append(path)
    if "SR" not in by_modality:
        raise _DemoFailed(f"no report came back: {revision.reason}; see {out / 'node.log'}")
    print_report(console, dcmread(by_modality["SR"][0]))
    page = write_page(
        out / "report.html",
        slide_paths=paths,
        seg_paths=by_modality.get("SEG", ()),
        sr_path=by_modality["SR"][0],
        truth=truth,
        condition=condition,
    )
    console.print(f"Page     {page}")
    console.print(f"Objects  {out / 'received'}  ({', '.join(sorted(by_modality))})")
    if truth is not None:
        console.print(
            "The slide is drawn by this program and the student is a research demonstration."
        )


def _condition(results: Path) -> Condition | None:
    """What the node kept of the condition of the slide: no object of a PACS holds it."""
    for path in sorted(results.rglob("prediction-*.npz")):
        result = archive.load(path)
        return result.condition if isinstance(result, Prediction) else None
    return None


def _fresh_folder(out: Path) -> Path:
    """An empty output folder; one that an earlier demo made is emptied, any other is left alone."""
    if out.exists() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            raise _DemoFailed(f"{out} is not empty and not from a demo; give another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).write_text(json.dumps({"made_by": "dicom-node demo"}))
    return out


def _drawn_study(out: Path, console: Console) -> tuple[list[Path], NDArray[np.uint8]]:
    """A phantom drawn now, a new study each time: its files, and what was drawn where.

    It says that it is of colon: the student was measured there, and says nothing of the tissue of
    a slide that names no organ.
    """
    drawn = draw(_SEED, rows=_ROWS, cols=_COLS)
    folder = out / "slide"
    folder.mkdir()
    paths = write_slide(drawn.pixels, folder, mpp=_MPP, label=SlideLabel(organ=COLON))
    console.print(f"Slide    drawn phantom, {_ROWS} x {_COLS} pixels at {_MPP} um: {folder}")
    return paths, drawn.truth


def _given_study(slide: Path, console: Console) -> list[Path]:
    """The whole-slide files of the folder, or the file, given."""
    if not slide.exists():
        raise _DemoFailed(f"{slide}: no such file or folder")
    paths = [p for p in files_in(slide) if _is_wsm(p)]
    if not paths:
        raise _DemoFailed(f"{slide}: no DICOM whole-slide image in it")
    try:
        slides = len(group(read_header(p) for p in paths))
    except SlideUnreadable as error:
        raise _DemoFailed(f"{error.path}: {error}") from error
    if slides > 1:
        raise _DemoFailed(
            f"{slide}: {slides} slides in it; the demo shows one, give its files only"
        )
    console.print(f"Slide    {len(paths)} instances of {slide}")
    return paths


def _is_wsm(path: Path) -> bool:
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except InvalidDicomError:
        return False
    return bool(header.get("SOPClassUID") == VL_WHOLE_SLIDE_MICROSCOPY.uid)


@contextmanager
def _node(config: Config, config_path: Path, log_path: Path) -> Iterator[None]:
    """A `dicom-node serve` process that listens; drained and gone afterwards."""
    command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(config_path)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_listening(config, process, log_path)
        yield
        process.send_signal(signal.SIGTERM)
        status = process.wait(config.node.drain_s + 30)
        if status:
            raise _DemoFailed(f"the node ended with status {status}; see {log_path}")
    finally:
        if process.poll() is None:
            process.kill()


def _wait_until_listening(config: Config, process: subprocess.Popen[bytes], log_path: Path) -> None:
    me = Destination(
        name="node",
        ae_title=config.node.ae_title,
        host=config.node.bind,
        port=config.node.port,
        calling_ae_title="DEMOPACS",
    )
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _DemoFailed(f"the node did not start; see {log_path}")
        if ask(me, "DEMOPACS").echoes:
            return
        time.sleep(0.3)
    raise _DemoFailed(f"the node did not answer C-ECHO within {_START_S} s; see {log_path}")


def _wait(config: Config, console: Console) -> Revision:
    """Wait for the study, saying each state once; the finished revision."""
    ledger = Ledger.open(config.ledger_at)
    deadline = time.monotonic() + _FINISH_S
    said = None
    with console.status("receiving") as status:
        while time.monotonic() < deadline:
            revision = next(iter(ledger.queries.all_revisions()), None)
            if revision is not None:
                if revision.state is not said:
                    console.print(f"Study    {revision.state.value}")
                    said = revision.state
                if revision.tiles_total:
                    status.update(f"{revision.tiles_done} of {revision.tiles_total} tiles")
                if revision.state in (State.DONE, State.PARKED):
                    return revision
            time.sleep(0.2)
    raise _DemoFailed(f"the study did not finish within {_FINISH_S} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
