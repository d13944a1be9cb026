"""Random kills: how many acknowledged instances or results are lost or duplicated.

    python tests/bench/kills.py [--kills 50] [--studies 6] [--seed 1]

A node runs as real processes. A sender repeats each study until every instance is acknowledged,
while all processes of the node are killed with SIGKILL at random times and started again. In the
end every acknowledged instance must be there, and the PACS must hold one result set a study.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from nodes import Node, StoreScp, node, storescp, storescu, study_of
from pydicom import dcmread

from dicom_node.demo.wsm import write_slide
from dicom_node.records import DeliveryState, State
from inference import phantom
from slides import new_study_copy

RESULTS_PER_STUDY = 2
QUIET_S = 6.0
"""Longer than a restart: the sender goes on with the same study, so that each has one revision."""


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    sends: int = 0
    acknowledged: set[str] = field(default_factory=set)
    lost_instances: int = 0
    lost_results: int = 0
    duplicated_results: int = 0
    changed_results: int = 0
    seconds: float = 0.0


def run(kills: int, studies: int, seed: int) -> Tally:
    """Send, kill, restart; then count what is missing and what is there twice."""
    tally, chance = Tally(), random.Random(seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folders = _studies(folder, studies)
        with (
            storescp(folder / "pacs", "+xa") as pacs,
            node(
                folder / "node", pacs.port, quiet_time_s=QUIET_S, extra="most_crashes = 1000"
            ) as n,
        ):
            sender = threading.Thread(target=_send_all, args=(n, folders, tally))
            n.start()
            sender.start()
            early: dict[str, bytes] = {}
            while tally.kills < kills:
                time.sleep(chance.uniform(0.2, 8.0))
                n.kill()
                tally.kills += 1
                early = {**_delivered(n, pacs), **early}
                n.start()
            sender.join()
            uids = [study_of(f) for f in folders]
            for uid in uids:
                revision = n.finished(uid, within_s=300)
                assert revision.state is State.DONE, revision
            _count(n, pacs.digests(), early, uids, tally)
    tally.seconds = time.monotonic() - started
    return tally


def _studies(folder: Path, count: int) -> list[Path]:
    first = folder / "study-0"
    first.mkdir()
    write_slide(phantom.draw(5, rows=1536, cols=2048).pixels, first, mpp=0.5, seed="kills")
    copies = [folder / f"study-{number}" for number in range(1, count)]
    for copy in copies:
        new_study_copy(first, copy, copy.name)
    return [first, *copies]


def _send_all(n: Node, folders: list[Path], tally: Tally) -> None:
    """Like a PACS: repeat until every instance of every study is acknowledged."""
    for folder in folders:
        waiting = {path.name: path for path in sorted(folder.glob("*.dcm"))}
        while waiting:
            for name, path in list(waiting.items()):
                sent = storescu(n.port, path)
                tally.sends += 1
                if sent.returncode == 0 and re.search(r"Store Response \(Success\)", sent.stderr):
                    uid = dcmread(path, stop_before_pixels=True).SOPInstanceUID
                    tally.acknowledged.add(str(uid))
                    del waiting[name]
                else:
                    time.sleep(0.2)
        time.sleep(1.0)


def _delivered(n: Node, pacs: StoreScp) -> dict[str, bytes]:
    """Bytes of the objects that the ledger already calls delivered, by SOP Instance UID."""
    done = {
        d.sop_instance_uid
        for r in n.ledger.all_revisions()
        for d in n.ledger.deliveries(r.study_instance_uid, r.revision)
        if d.state is DeliveryState.DELIVERED
    }
    return pacs.digests(done)


def _count(
    n: Node, held: dict[str, bytes], early: dict[str, bytes], studies: list[str], tally: Tally
) -> None:
    spool = n.folder / "node-data" / "spool"
    rows = [row for uid in studies for row in n.ledger.instances(uid, 1_000)]
    kept = {r["sop_instance_uid"] for r in rows if (spool / r["path"]).is_file()}
    tally.lost_instances = len(tally.acknowledged - kept)
    finals = {r.sop_instance_uid for uid in studies for r in n.ledger.results(uid, 1)}
    assert len(finals) == RESULTS_PER_STUDY * len(studies)
    tally.lost_results = len(finals - held.keys())
    tally.duplicated_results = len(held.keys() - finals)
    tally.changed_results = sum(held[uid] != content for uid, content in early.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--studies", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally = run(arguments.kills, arguments.studies, arguments.seed)
    print(f"kills {tally.kills}, sends {tally.sends}, {tally.seconds:.0f} s")
    print(f"acknowledged instances {len(tally.acknowledged)}, lost {tally.lost_instances}")
    print(
        f"results lost {tally.lost_results}, duplicated {tally.duplicated_results}, "
        f"changed under the same UID {tally.changed_results}"
    )
    bad = tally.lost_instances + tally.lost_results + tally.duplicated_results
    return 1 if bad + tally.changed_results else 0


if __name__ == "__main__":
    sys.exit(main())
