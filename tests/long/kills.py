r"""Kills at random beside poison, a hanging destination and a full disk: nothing may be lost.

    python tests/long/kills.py [--kills 200] [--studies 40] [--seed 1] [--patience 600] \
        [--without poison hang disk]

A node runs as real processes. One sender repeats sound studies until every instance is
acknowledged, another sends poison. The whole tree or one process is killed with SIGKILL at random
times, the disk of the node fills and empties, and its second destination hangs. In the end every
acknowledged instance must be there with the bytes that were sent, the good destination must hold
one result set a study, and once the second destination is well again every sound study is done.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

import poison
import postgres
from disk import Disk, small_disk
from judgement import Judgement, early_objects, judge
from nodes import StoreScp, free_port, node, storescp, study_of
from prey import KINDS, Prey, ledger_of
from pydicom.filereader import read_file_meta_info
from sending import store_all
from sick import Sick, sick
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.demo.wsm import write_slide
from dicom_node.ledger.errors import LedgerBusy
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Revision
from dicom_node.ledger.states import DeliveryState, State
from inference.phantom.draw import draw
from slides import new_study_copy

QUIET_S = 20.0
"""Longer than most outages: the sender goes on with the same study, so that it has one revision."""
MOST_CRASHES = 100_000
"""The hunt kills the worker more often than any study may."""
RECOVERY_S = 60.0
TROUBLES = ("poison", "hang", "disk")
CONFIG = """most_crashes = {most_crashes}
incomplete_after_s = 60
[[destinations]]
name = "sick"
ae_title = "PACS"
host = "127.0.0.1"
port = {sick_port}
"""


@dataclass
class Hunt:
    """What is going on, and what has happened."""

    prey: Prey
    disk: Disk
    pacs: StoreScp
    sick: Sick
    folders: list[Path]
    poison_folder: Path
    kills: int
    chance: random.Random
    without: Collection[str] = ()
    over: threading.Event = field(default_factory=threading.Event)
    sound_answers: Counter[str] = field(default_factory=Counter)
    poison_answers: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, Path] = field(default_factory=dict)
    poisons: list[str] = field(default_factory=list)
    """Studies of acknowledged poison."""
    early: dict[str, bytes] = field(default_factory=dict)
    fills: int = 0
    recoveries: list[float | None] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)

    def say(self, sentence: str) -> None:
        """One line of the log."""
        print(f"{time.monotonic() - self.started_at:7.1f} s  {sentence}", flush=True)

    @property
    def killed(self) -> int:
        return self.prey.kills.total()


@dataclass(frozen=True)
class Outcome:
    """What a hunt found."""

    kills: int
    acknowledged: int
    seconds: float
    judged: Judgement
    not_done: int
    """Studies that did not end as they must, and full disks after which nothing moved."""


def run(
    kills: int,
    *,
    studies: int,
    seed: int,
    patience_s: float = 600,
    without: Collection[str] = (),
    on_server: bool = False,
) -> Outcome:
    """Hunt, then judge; what happens is printed. `without` names what of TROUBLES is left out."""
    with tempfile.TemporaryDirectory() as name:
        folder, sick_port = Path(name), free_port()
        folders = _studies(folder, studies)
        sound_mb = sum(p.stat().st_size for f in folders for p in f.glob("*.dcm")) >> 20
        size_mb = 64 + 3 * sound_mb + kills
        extra = CONFIG.format(most_crashes=MOST_CRASHES, sick_port=sick_port)
        with (
            small_disk(folder / "disk", size_mb) as disk,
            storescp(folder / "pacs", "+xa") as pacs,
            sick(sick_port, "C-ECHO") as destination,
            postgres.server() if on_server else nullcontext() as server,
            node(
                folder / "disk" / "node",
                pacs.port,
                quiet_time_s=QUIET_S,
                reserve_mb=0,
                extra=extra,
                database=server.create() if server else None,
            ) as n,
        ):
            (folder / "poison").mkdir()
            chance = random.Random(seed)
            hunt = Hunt(
                Prey(n),
                disk,
                pacs,
                destination,
                folders,
                folder / "poison",
                kills,
                chance,
                without,
            )
            print(f"{len(folders)} sound studies ({sound_mb} MB), most_crashes = {MOST_CRASHES}")
            print(f"disk of {size_mb} MB" if disk.mounted else f"no full disk: {disk.reason}")
            try:
                return _hunt(hunt, patience_s)
            finally:
                hunt.over.set()
                hunt.prey.end()


def _studies(folder: Path, count: int) -> list[Path]:
    first = folder / "study-0"
    write_slide(draw(5, rows=1536, cols=2048).pixels, first, mpp=0.5, seed="kills")
    copies = [folder / f"study-{number}" for number in range(1, count)]
    for copy in copies:
        new_study_copy(first, copy, copy.name)
    return [first, *copies]


def _hunt(hunt: Hunt, patience_s: float) -> Outcome:
    if "hang" in hunt.without:
        hunt.sick.stop()  # refuses connections
    hunt.prey.start()
    hunt.prey.pause(5)
    sending = (_send_sound,) if "poison" in hunt.without else (_send_sound, _send_poison)
    senders = [threading.Thread(target=send, args=(hunt,)) for send in sending]
    for sender in senders:
        sender.start()
    while hunt.killed < hunt.kills:
        _disturb(hunt)
    hunt.say(f"{hunt.killed} kills; waiting for the good destination while the other one hangs")
    studies = [study_of(folder) for folder in hunt.folders]
    until = time.monotonic() + patience_s
    hunt.prey.pause(patience_s, lambda: not senders[0].is_alive())
    hunt.prey.pause(until - time.monotonic(), lambda: _at_good(hunt, studies) == len(studies))
    complete = _at_good(hunt, studies)
    hunt.over.set()
    for sender in senders:
        sender.join()
    hunt.say(
        f"{complete} of {len(studies)} complete at the good destination; the other is well now"
    )
    hunt.sick.stop()
    well = StoreScp(hunt.poison_folder.with_name("well"), hunt.sick.port)
    well.start()
    try:
        hunt.prey.pause(patience_s / 2, lambda: _settled(hunt, studies))
        judgement = _judge(hunt, studies)
    finally:
        well.stop()
    return _report(hunt, studies, complete, judgement)


def _disturb(hunt: Hunt) -> None:
    """One kill after a while; now and then another way of hanging, or a full disk."""
    chance = hunt.chance
    if chance.random() < 0.1 and "hang" not in hunt.without:
        silence = chance.choice(("A-ASSOCIATE", "C-ECHO", "C-STORE"))
        hunt.sick.hang(silence)
        hunt.say(f"the second destination hangs from {silence} on")
    due = chance.random() < 0.12 or (not hunt.fills and 2 * hunt.killed >= hunt.kills)
    if due and hunt.disk.mounted and "disk" not in hunt.without:
        _fill_disk(hunt)
    hunt.prey.pause(chance.uniform(0.2, 8.0))
    hunt.early = {**_look(hunt, lambda ledger: early_objects(ledger, hunt.pacs), {}), **hunt.early}
    hunt.prey.kill(chance.choice(KINDS))
    if hunt.killed % 20 == 0:
        hunt.say(f"{hunt.killed} kills, {len(hunt.acknowledged)} instances acknowledged")


def _fill_disk(hunt: Hunt) -> None:
    """The disk is full for a while, best during an analysis; how long until that goes on then."""
    chance = hunt.chance
    hunt.fills += 1
    full_s = chance.uniform(5, 25)
    hunt.prey.pause(
        20, lambda: _look(hunt, lambda ledger: ledger.queries.in_state(State.ANALYZING), [])
    )
    with hunt.disk.full():
        kill_in_s = chance.uniform(1, 2 * full_s)  # in half of the periods
        hunt.prey.pause(min(full_s, kill_in_s))
        if kill_in_s < full_s:
            hunt.prey.kill(chance.choice(KINDS))
            hunt.prey.pause(full_s - kill_in_s)
    freed_at = time.monotonic()
    before = _look(hunt, _under_way, None)
    if before == {}:
        hunt.say(f"disk full for {full_s:.0f} s, nothing was under way")
        return

    def moved() -> bool:
        if before is None:  # not even the ledger could be read
            return _look(hunt, _under_way, None) is not None
        now = _look(hunt, _under_way, before)
        return all(now.get(study) != value for study, value in before.items())

    moves = hunt.prey.pause(RECOVERY_S, moved)
    hunt.recoveries.append(time.monotonic() - freed_at if moves else None)
    after = f"{hunt.recoveries[-1]:.1f} s later" if moves else f"NOT within {RECOVERY_S:.0f} s"
    hunt.say(f"disk full for {full_s:.0f} s; what was under way moved {after}")


def _under_way(ledger: Ledger) -> dict[str, object]:
    """What is being analyzed, else what is to be analyzed next."""

    def signature(r: Revision) -> object:
        return (r.revision, r.state, r.attempt, r.tiles_done, r.slide)

    now = ledger.queries.in_state(State.ANALYZING) or ledger.queries.in_state(State.QUEUED)[:1]
    return {r.study_instance_uid: signature(r) for r in now}


def _look(hunt: Hunt, question: Callable[[Ledger], Any], otherwise: Any) -> Any:
    """An answer of the ledger, or `otherwise` while it cannot be read."""
    try:
        with ledger_of(hunt.prey.node) as ledger:
            return question(ledger)
    except (SQLAlchemyError, LedgerBusy, OSError):
        return otherwise


def _send_sound(hunt: Hunt) -> None:
    """The studies one after the other, spread over the kills, as a PACS would."""
    for number, folder in enumerate(hunt.folders):
        while hunt.killed * len(hunt.folders) < number * hunt.kills and not hunt.over.is_set():
            time.sleep(0.2)
        _send(hunt, sorted(folder.glob("*.dcm")), hunt.sound_answers)


def _send_poison(hunt: Hunt) -> None:
    """Poison of both kinds in turn, each a study of its own, until the kills are over."""
    chance, number = random.Random(hunt.chance.random()), 0
    while hunt.killed < hunt.kills and not hunt.over.is_set():
        kind = (poison.OVERFLOW, poison.UNTERMINATED)[number % 2]
        path = hunt.poison_folder / f"{number}.dcm"
        study = poison.instance(kind, hunt.folders[0], path, chance)
        if _send(hunt, [path], hunt.poison_answers, takes_refusal=True):
            hunt.poisons.append(study)
        number += 1
        reached = hunt.killed
        hunt.over.wait(chance.uniform(3, 8))
        while hunt.killed == reached < hunt.kills and not hunt.over.is_set():
            time.sleep(0.2)  # at most one a kill: they stay on the disk


def _send(
    hunt: Hunt, paths: list[Path], answers: Counter[str], *, takes_refusal: bool = False
) -> set[Path]:
    port, over = hunt.prey.node.port, hunt.over.is_set
    acknowledged, statuses = store_all(port, paths, give_up=over, takes_refusal=takes_refusal)
    answers.update(statuses)
    for path in acknowledged:
        meta = read_file_meta_info(path)  # the dataset of poison cannot be read
        hunt.acknowledged[str(meta.MediaStorageSOPInstanceUID)] = path
    return acknowledged


def _at_good(hunt: Hunt, studies: list[str]) -> int:
    """Sound studies of which the good destination has every object."""

    def complete(ledger: Ledger, study: str) -> bool:
        revision = ledger.queries.revision(study)
        rows = ledger.queries.deliveries(study, revision.revision) if revision else []
        mine = [d.state for d in rows if d.destination == "pacs"]
        return bool(mine) and all(state is DeliveryState.DELIVERED for state in mine)

    return _look(hunt, lambda ledger: sum(complete(ledger, s) for s in studies), 0)


def _states(hunt: Hunt, studies: list[str]) -> list[State | None]:
    def states(ledger: Ledger) -> list[State | None]:
        return [r.state if (r := ledger.queries.revision(study)) else None for study in studies]

    return _look(hunt, states, [None] * len(studies))


def _settled(hunt: Hunt, studies: list[str]) -> bool:
    sound, poisoned = _states(hunt, studies), _states(hunt, hunt.poisons)
    return set(sound) <= {State.DONE} and set(poisoned) <= {State.PARKED}


def _judge(hunt: Hunt, studies: list[str]) -> Judgement:
    """Stop the node and start it once more, as an operator would; then count."""
    n = hunt.prey.node
    hunt.say(f"SIGTERM: exit status {n.stop()}")
    hunt.prey.end()
    n.start()
    n.kill()
    with ledger_of(n) as ledger:
        spool = n.folder / "node-data" / "spool"
        return judge(ledger, spool, hunt.acknowledged, studies, hunt.pacs, hunt.early)


def _report(hunt: Hunt, studies: list[str], complete: int, judged: Judgement) -> Outcome:
    sound, poisoned = _states(hunt, studies), _states(hunt, hunt.poisons)
    done = sum(state is State.DONE for state in sound)
    parked = sum(state is State.PARKED for state in poisoned)
    prey, late = hunt.prey, [s for s in hunt.recoveries if s is None]
    slowest = max((s for s in hunt.recoveries if s is not None), default=0.0)
    hunt.say("end")
    kinds = ", ".join(f"{kind} {prey.kills[kind]}" for kind in KINDS)
    print(f"kills {hunt.killed} ({kinds}); {prey.missed} found no process")
    print(f"starts that ended by themselves {prey.died}")
    sends = hunt.sound_answers.total() + hunt.poison_answers.total()
    print(f"sends {sends}, acknowledged {len(hunt.acknowledged)}")
    print(f"answers to sound instances {dict(hunt.sound_answers)}")
    print(f"answers to poison {dict(hunt.poison_answers)}")
    refused = sum(n for s, n in hunt.sound_answers.items() if s[0] == "C")
    print(f"instances lost {judged.lost_instances}, files unknown to the ledger {judged.leftover}")
    print(
        f"results lost {judged.lost_results}, doubled {judged.doubled}, changed {judged.changed}; "
        f"further revisions {judged.further_revisions}"
    )
    print(f"sound studies complete while a destination hung: {complete} of {len(studies)}")
    print(f"sound studies done {done} of {len(studies)}; others: {_others(sound, State.DONE)}")
    print(f"poison parked {parked} of {len(poisoned)}; others: {_others(poisoned, State.PARKED)}")
    print(
        f"disk full {hunt.fills} times, {len(hunt.recoveries)} with a study under way: moved after "
        f"at most {slowest:.1f} s, {len(late)} times not within {RECOVERY_S:.0f} s"
    )
    not_done = len(studies) - done + len(poisoned) - parked + len(studies) - complete + len(late)
    not_done += refused  # a PACS would not send these again
    seconds = time.monotonic() - hunt.started_at
    return Outcome(hunt.killed, len(hunt.acknowledged), seconds, judged, not_done)


def _others(states: list[State | None], expected: State) -> str:
    others = [str(state) for state in states if state is not expected]
    return ", ".join(f"{others.count(s)} {s}" for s in sorted(set(others))) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait at the end")
    parser.add_argument("--without", nargs="+", choices=TROUBLES, default=[])
    parser.add_argument("--postgresql", action="store_true", help="the ledger on a server")
    asked = parser.parse_args()
    outcome = run(
        asked.kills,
        studies=asked.studies,
        seed=asked.seed,
        patience_s=asked.patience,
        without=asked.without,
        on_server=asked.postgresql,
    )
    return 1 if outcome.judged.bad or outcome.not_done else 0


if __name__ == "__main__":
    sys.exit(main())
