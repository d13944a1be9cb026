"""How long the list of studies takes: python tests/bench/listing.py [STUDIES].

A ledger of finished studies, three objects each at two destinations, on SQLite and on PostgreSQL;
the question alone and `dicom-node studies` as a process, wall and CPU, best and median of five.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import postgres

from dicom_node.ledger.database.tables import deliveries, results, revisions
from dicom_node.ledger.ledger import Ledger

CONFIG = """[node]
ae_title = "NODE"
data_dir = "data"
[model]
bundle = "default"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
"""


def fill(ledger: Ledger, studies: int) -> None:
    """Finished studies, as the node writes them."""
    level = {"sop_instance_uids": ["1"], "flavor": "VOLUME", "rows": 1, "cols": 1, "frames": 1}
    level |= {"organization": "TILED_FULL", "expected_frames": 1, "parts": 1, "expected_parts": 1}
    slide = {"key": "a", "series_instance_uid": "1", "container_identifier": "c"}
    evidence = {"instances": 5, "slides": [{**slide, "levels": [{**level, "missing": []}] * 5}]}
    times = {"opened_at": 1.0, "last_instance_at": 2.0, "closed_at": 3.0, "started_at": 4.0}
    times |= {"analyzed_at": 5.0, "finished_at": 6.0}
    made = {"sop_class_uid": "1.2", "kind": "report", "slide": "a", "path": "p", "sha256": "x" * 64}
    with ledger.database.write() as db:
        _insert(db, revisions, [
            {"study_instance_uid": f"1.2.{n}", "revision": 1, "state": "done", **times,
             "evidence": evidence, "attempt": 1} for n in range(studies)
        ])  # fmt: skip
        _insert(db, results, [
            {"study_instance_uid": f"1.2.{n}", "revision": 1, "sop_instance_uid": f"1.2.{n}.{k}",
             **made} for n in range(studies) for k in range(3)
        ])  # fmt: skip
        _insert(db, deliveries, [
            {"sop_instance_uid": f"1.2.{n}.{k}", "destination": name, "state": "delivered",
             "attempts": 1} for n in range(studies) for k in range(3) for name in ("a", "b")
        ])  # fmt: skip


def _insert(db: sa.Connection, table: sa.Table, rows: list[dict[str, object]]) -> None:
    db.execute(table.insert(), rows)


def main() -> int:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name, postgres.server() as server:
        folder = Path(name)
        for kind, url in (("SQLite", None), ("PostgreSQL", server.create())):
            place = folder / kind
            (place / "data").mkdir(parents=True)
            database = f'[database]\nurl = "{url}"\n' if url else ""
            (place / "node.toml").write_text(CONFIG + database)
            ledger = Ledger.open(url or place / "data" / "node.sqlite")
            fill(ledger, studies)
            if url:
                with ledger.database.engine.begin() as db:
                    db.exec_driver_sql("ANALYZE")
            asked = [_asked(ledger, studies) for _ in range(5)]
            told = [_told(place) for _ in range(5)]
            print(
                f"{kind}: {studies} studies; question {min(asked):.3f} s "
                f"(median {statistics.median(asked):.3f}); "
                f"command {min(told):.2f} s (median {statistics.median(told):.2f})",
                flush=True,
            )
    return 0


def _asked(ledger: Ledger, studies: int) -> float:
    began = time.perf_counter()
    assert len(ledger.queries.overview()) == studies
    return time.perf_counter() - began


def _told(place: Path) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "dicom_node", "studies", "--config", "node.toml"]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL, env=env)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
