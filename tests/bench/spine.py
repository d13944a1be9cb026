"""The bars of the main job as one table, with the facts of the machine.

    python tests/bench/spine.py [--rounds 5] [--kills 50] [--demos 3]

Takes about twenty minutes. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "long")]

import demo
import ingest
import kills
from rich.console import Console
from rich.table import Table

Line = tuple[str, str, str, str, bool]
"""What, bar, measured, spread, met."""


def ingest_lines(rounds: int) -> Iterator[Line]:
    """One instance of 1 GB on memory, receivers alternated; the peak after one of 2 GB."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:
        found = ingest.measure(Path(root), gb=1.0, rounds=rounds, big_gb=2.0)
    for what, peer, bar in [
        ("ingest rate / storescp +B", "storescp", 0.65),
        ("ingest rate / tutorial handler", "tutorial", 4.0),
    ]:
        theirs = next(r.mb_per_s for r in found.rows if r.name == peer)
        each = [ours / other for ours, other in zip(found.rows[0].mb_per_s, theirs, strict=True)]
        ratio = found.ratio(peer)
        rates = f"{found.rows[0].median:.0f} / {statistics.median(theirs):.0f} MB/s"
        spread = f"{rates}, by round {min(each):.2f} to {max(each):.2f}"
        yield what, f">= {bar}", f"{ratio:.2f}", spread, ratio >= bar
    peak = found.big_peak_rss_mb
    yield "ingest peak RSS, 2 GB instance", "<= 100 MB", f"{peak:.0f} MB", "one", peak <= 100


def demo_line(rounds: int) -> Line:
    """`dicom-node demo` from a wheel in an empty environment without torch."""
    seconds = demo.seconds(rounds)
    spread = f"{min(seconds):.1f} to {max(seconds):.1f} s"
    median = statistics.median(seconds)
    return "demo, from a wheel", "< 60 s", f"{median:.1f} s", spread, max(seconds) < demo.TARGET_S


def kills_line(count: int) -> Line:
    """Random kills beside poison, a full disk and a hanging destination; six sound studies."""
    outcome = kills.run(count, studies=6, seed=1)
    judged = outcome.judged
    lost = judged.lost_instances + judged.lost_results
    double = judged.doubled + judged.changed
    spread = f"{outcome.acknowledged} instances acknowledged, {outcome.seconds:.0f} s"
    measured = f"{lost} lost, {double} duplicated, {outcome.not_done} not done"
    met = not (judged.bad or outcome.not_done)
    return f"{outcome.kills} random kills", "0, 0 and 0", measured, spread, met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--demos", type=int, default=3)
    asked = parser.parse_args()
    print(ingest.machine())
    lines = [*ingest_lines(asked.rounds), demo_line(asked.demos), kills_line(asked.kills)]
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "bar", "measured", "spread", ""):
        table.add_column(heading)
    for what, bar, measured, spread, met in lines:
        table.add_row(what, bar, measured, spread, "met" if met else "MISSED")
    Console(width=120).print(table)
    return int(not all(met for *_, met in lines))


if __name__ == "__main__":
    sys.exit(main())
