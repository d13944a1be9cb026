"""From the last byte in to the last result out, with and without early start.

    python tests/bench/early.py [--tiles 1000 5000 20000] [--quiet-s 30] [--mb-per-s 50]

A slide arrives over one association at a given rate, its levels one after the other and the largest
first, at a node that runs as `dicom-node serve` does; storescp receives. The sender keeps to a
limit on the bytes of its socket. The first study after a start imports what makes objects, so a
small one goes before.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from big_slides import write
from facts import machine
from nodes import Node, node, storescp, study_of, wait_for
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit
from pynetdicom import AE, _config
from rich.console import Console
from rich.table import Table

BYTES_PER_MB = 1_000_000
TISSUE, MPP = 0.5, 0.5
TILE_PX, OF_CELLS = 224, 0.25
"""Side of a tile of the shipped student, and how many of a slide's cells it takes for tissue."""


def side_of(tiles: int) -> int:
    """Side of a slide, in pixels, that gives about so many tiles."""
    return math.ceil(math.sqrt(tiles / OF_CELLS) * TILE_PX)


class Rate:
    """Lets so many bytes through in a second, on average since it began."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._began = time.monotonic()
        self._sent = 0

    def passed(self, count: int) -> None:
        """Wait until so many bytes more may have gone."""
        self._sent += count
        ahead_s = self._sent / self._bytes_per_s - (time.monotonic() - self._began)
        if ahead_s > 0:
            time.sleep(ahead_s)


def send(paths: list[Path], port: int, mb_per_s: float) -> float:
    """Send files at a rate; when the last byte was acknowledged, by `time.time`."""
    entity = AE("PACS")
    sop_class = dcmread(paths[0], stop_before_pixels=True).SOPClassUID
    entity.add_requested_context(sop_class, JPEGBaseline8Bit)
    entity.maximum_pdu_size = 0
    association = entity.associate("127.0.0.1", port, ae_title="DICOMNODE")
    if not association.is_established:
        raise SystemExit("the node took no association")
    rate = Rate(mb_per_s * BYTES_PER_MB)
    sends = association.dul.socket.send

    def slowly(data: bytes) -> None:
        sends(data)
        rate.passed(len(data))

    association.dul.socket.send = slowly  # type: ignore[method-assign]
    for path in paths:
        status = association.send_c_store(path)
        if status.Status != 0:
            raise SystemExit(f"{path.name}: status {status.Status:04X}")
    association.release()
    return time.time()


def warmed(n: Node, folder: Path) -> None:
    """The node once through, with a small slide."""
    made = write(folder, 2048, tissue=TISSUE)
    send(list(made.paths), n.port, 1000)
    n.finished(study_of(folder), within_s=600)


def measure(tiles: int, asked: argparse.Namespace, *, early: bool) -> dict[str, float]:
    """Seconds by stage, and what they are of."""
    with tempfile.TemporaryDirectory() as root:
        slide = write(Path(root) / "slide", side_of(tiles), mpp=MPP, tissue=TISSUE)
        uid, paths = study_of(Path(root) / "slide"), largest_first(slide.paths)
        size = sum(path.stat().st_size for path in paths)
        with (
            storescp(Path(root) / "pacs") as pacs,
            node(Path(root) / "node", pacs.port, quiet_time_s=asked.quiet_s) as n,
        ):
            text = n.config.read_text()
            early_key = f"[analysis]\nearly = {str(early).lower()}"
            n.config.write_text(text.replace("[analysis]", early_key))
            n.start("serve")
            wait_for(lambda: "model_ready" in n.log, within_s=120, what="the model")
            warmed(n, Path(root) / "warm")
            began = time.time()
            last = send(paths, n.port, asked.mb_per_s)
            done = n.finished(uid, within_s=3600)
            events = n.ledger.queries.events(uid)
            ended = max(n.ledger.database.wall_time(event.at) for event in events)
        if done.state.value != "done":
            raise SystemExit(f"the study is {done.state}: {done.reason}")
        return {
            "tiles": done.tiles_total,
            "MB": size / BYTES_PER_MB,
            "arrival": last - began,
            "closed to built": (done.analyzed_at or 0) - (done.closed_at or 0),
            "last byte to last result": ended - last,
            "beyond the quiet time": ended - last - asked.quiet_s,
        }


def largest_first(paths: tuple[Path, ...]) -> list[Path]:
    """As most scanners send the levels of a slide."""
    return sorted(paths, key=lambda path: -path.stat().st_size)


def rows(asked: argparse.Namespace) -> Iterator[list[str]]:
    """One line per slide and way."""
    for tiles in asked.tiles:
        for early in (False, True):
            found = measure(tiles, asked, early=early)
            tiles_found, size, *seconds = found.values()
            yield [
                "yes" if early else "no",
                f"{tiles_found:.0f}",
                f"{size:.0f}",
                *(f"{s:.1f} s" for s in seconds),
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Last byte in to last result out.")
    parser.add_argument("--tiles", type=int, nargs="+", default=[1000, 5000, 20000])
    parser.add_argument("--quiet-s", type=float, default=30)
    parser.add_argument("--mb-per-s", type=float, default=50)
    asked = parser.parse_args()
    _config.STORE_SEND_CHUNKED_DATASET = True
    console = Console(width=140)
    console.print(machine())
    table = Table("early", "tiles", "MB", "arrival", "closed to built", "all", "beyond quiet time")
    for row in rows(asked):
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
