"""From the last byte received to the last result delivered, through a running node.

    python tests/bench/latency.py [--tiles 1000 5000 20000] [--slides 1 2 4]

storescu sends, storescp receives; the node runs as `dicom-node serve` does, with a quiet time of a
second, which is stated apart. Several slides are of one study and of a thousand tiles each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from big_slides import write
from facts import machine
from nodes import node, storescp, storescu, study_of
from pydicom import dcmread
from rich.console import Console
from rich.table import Table

SIDES = {1000: 16384, 5000: 30720, 10000: 45056, 20000: 61440}
"""Side of a slide that gives about so many tiles."""
QUIET_S = 1


def study(folder: Path, tiles: int, slides: int) -> Path:
    """Some slides of one study, in one folder."""
    uid = ""
    for n in range(slides):
        made = write(folder / f"slide-{n}", SIDES[tiles], tissue=0.5)
        for path in made.paths:
            header = dcmread(path, stop_before_pixels=True)
            uid = uid or header.StudyInstanceUID
            for keyword, value in (
                ("StudyInstanceUID", uid),
                ("SeriesInstanceUID", f"{uid[:50]}.{n + 1}"),
                ("ContainerIdentifier", f"S{n}"),
            ):
                subprocess.run(
                    ["dcmodify", "-nb", "-m", f"{keyword}={value}", str(path)], check=True
                )
    return folder


def measure(tiles: int, slides: int) -> tuple[int, dict[str, float]]:
    """Tiles analyzed of the last slide, and seconds by stage."""
    with tempfile.TemporaryDirectory() as root:
        folder = study(Path(root) / "study", tiles, slides)
        uid = study_of(folder / "slide-0")
        with storescp(Path(root) / "pacs") as pacs, node(Path(root) / "node", pacs.port) as n:
            n.start("serve")
            storescu(n.port, folder)
            done = n.finished(uid)
            events = n.ledger.queries.events(uid)
        at = {e.kind: e.at for e in events}
    return done.tiles_total, {
        "quiet time and closing": done.closed_at - done.last_instance_at,
        "analysis, results": done.analyzed_at - done.closed_at,
        "delivery": max(at.values()) - done.analyzed_at,
        "all": max(at.values()) - done.last_instance_at,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Last byte in to last result out.")
    parser.add_argument("--tiles", type=int, nargs="+", default=[1000, 5000, 20000])
    parser.add_argument("--slides", type=int, nargs="+", default=[1, 2, 4])
    asked = parser.parse_args()
    cases = [(tiles, 1) for tiles in asked.tiles] + [(1000, n) for n in asked.slides if n > 1]
    console = Console(width=120)
    console.print(machine())
    table = Table("slides", "tiles", "quiet and closing", "analysis, results", "delivery", "all")
    for tiles, slides in cases:
        found, seconds = measure(tiles, slides)
        table.add_row(str(slides), str(found), *(f"{s:.1f} s" for s in seconds.values()))
    console.print(table)


if __name__ == "__main__":
    main()
