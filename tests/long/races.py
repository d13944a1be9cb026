"""Random races of arrival and closing: python tests/long/races.py [N] [PROCESSES] [KIND]."""

from __future__ import annotations

import sys
import tempfile
import time
from multiprocessing import Pool
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import postgres
import races

from dicom_node.ledger.ledger import Ledger


def hunt(asked: tuple[str, int, int]) -> tuple[int, int, list[str]]:
    """How many races were run, how often a sender was told to wait, and what was wrong."""
    where, first, count = asked
    place = where if "://" in where else Path(where)
    ledgers = [Ledger.open(place) for _ in range(4)]
    refused, faults = 0, []
    for number in range(first, first + count):
        race = races.Race(f"1.2.{number}")
        races.run(race, ledgers, seed=number)
        refused += race.refused
        faults += [f"race {number}: {fault}" for fault in races.faults(race, ledgers[0])]
    return count, refused, faults


def main() -> int:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    bad = 0
    with tempfile.TemporaryDirectory() as folder, postgres.server() as server, Pool(processes) as p:
        only = sys.argv[3] if len(sys.argv) > 3 else ""
        kinds = {"sqlite": f"{folder}/node.sqlite", "postgresql": server.create()}
        for where in [w for kind, w in kinds.items() if only in ("", kind)]:
            Ledger.open(where if "://" in where else Path(where))
            began, share = time.monotonic(), total // processes
            parts = [(where, 1 + n * share, share) for n in range(processes)]
            done, refused, faults = 0, 0, []
            for count, told, wrong in p.imap_unordered(hunt, parts):
                done, refused, faults = done + count, refused + told, faults + wrong
            name = "PostgreSQL" if "://" in where else "SQLite"
            spent = time.monotonic() - began
            print(f"{name}: {done} races in {spent:.0f} s, {refused} told to send again, "
                  f"{len(faults)} faults", *faults[:20], sep="\n  ", flush=True)  # fmt: skip
            bad += len(faults)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
