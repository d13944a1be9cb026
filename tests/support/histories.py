"""Random histories of studies on the real ledger and the real purger, judged by a model.

The model knows what a destination was heard to say and how long somebody has watched, and nothing
of the rules. Whatever is given up has to be something that it knows to be proven and old enough; a
file that goes otherwise is counted, and so is one that the ledger believes to be there and is not.
Clocks jump, processes are killed between a row and its file, studies are erased and come again.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from dicom_node.ledger.counted import Evidence, LevelEvidence, SlideEvidence
from dicom_node.ledger.keeping.discards import ASIDE, aside_of
from dicom_node.ledger.keeping.rules import Policy
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.spool.incoming import file_header
from dicom_node.spool.purge import Purger

DAY_S = 86400.0
INPUTS_S, RESULTS_S, PARKED_S, LEDGER_S = 7 * DAY_S, 30 * DAY_S, 30 * DAY_S, 90 * DAY_S
DESTINATIONS = ("a", "b")
STUDIES = 4
UNPROVEN = ("0112", "0110", "0122", "0213", "")
"""What a destination may say instead of yes."""
CLASS, SYNTAX = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.1"


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Told:
    """What is known of a study without looking at the ledger."""

    arrived: float = 0.0
    """When its last file came, in watched time."""
    proven: dict[tuple[str, str], float] = field(default_factory=dict)
    """When for objects and destinations, in watched time, as long as it was not sent again."""
    current: list[str] = field(default_factory=list)
    """Objects of the newest analysis."""
    earlier: set[str] = field(default_factory=set)
    taken: set[tuple[str, str]] = field(default_factory=set)
    lost: set[tuple[str, str]] = field(default_factory=set)
    held_at: float = float("-inf")
    """When the source was seen to hold every file that there is, in watched time."""
    is_on_hold: bool = False
    was_purged: bool = False
    """Rightly: a thumbnail that was left then goes with the rows."""


@dataclass
class History:
    """One ledger with some studies, and what happens to them."""

    folder: Path
    chance: random.Random
    source_holds: bool
    template: Path | None = None
    """A database with tables and no rows."""
    now: float = 1_000_000_000.0
    watched: float = 0.0
    """Seconds in which somebody looked, a day of each stretch in which nobody did included."""
    told: dict[str, Told] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)
    given_up: set[Path] = field(default_factory=set)
    """Files that were judged, and may still be there."""
    arrivals: int = 0
    is_doomed: bool = False
    """Whether the next removal is the last thing that the process does."""

    def __post_init__(self) -> None:
        self.luck = self.chance.choice([0.6, 0.9, 1.0])
        (self.folder / "spool").mkdir(parents=True)
        (self.folder / "results").mkdir()
        if self.template is not None:
            shutil.copy(self.template, self.folder / "node.sqlite")
        self.ledger = Ledger.open(self.folder / "node.sqlite", clock=lambda: self.now)

        @sa.event.listens_for(self.ledger.database.engine, "connect")
        def _fast(connection: object, _record: object) -> None:
            connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]

        self.ledger.database.engine.dispose()
        policy = Policy(
            INPUTS_S, RESULTS_S, PARKED_S, LEDGER_S, self.source_holds, require_commitment=True
        )
        self.purgers = {
            pressed: Purger(self.folder, self.ledger, policy, 1000.0 if pressed else 0.0)
            for pressed in (False, True)
        }
        for purger in self.purgers.values():
            self._make_mortal(purger)
        self.ledger.retention.look()
        self.rows = sqlite3.connect(self.folder / "node.sqlite", isolation_level=None)

    def _make_mortal(self, purger: Purger) -> None:
        remove = purger._remove

        def mortal(path: str) -> None:
            fate = self.chance.random()
            if self.is_doomed or fate < 0.08:
                raise Killed
            remove(path)
            if fate > 0.92:
                raise Killed

        purger._remove = mortal  # type: ignore[method-assign]

    def step(self) -> None:
        """One thing that happens, to one study or to all."""
        study = f"1.2.{self.chance.randrange(STUDIES)}"
        if study not in self.told:
            self.arrive(study)
        if self.chance.random() < 0.6:
            next_one = {
                State.RECEIVING: [self.close],
                State.QUEUED: [self.analyze],
                State.DELIVERING: [self.send],
                State.DONE: [
                    self.prove,
                    self.prove,
                    self.see_held,
                    self.wait,
                    self.purge,
                    self.use_again,
                ],
                State.PARKED: [self.retry, self.see_held, self.wait, self.purge],
            }
            state = self._state(study)
            acts = next_one.get(state, [self.arrive]) if state else [self.arrive]
        else:
            acts = [self.arrive, self.close, self.analyze, self.send, self.prove, self.hold,
                    self.see_held, self.retry, self.park, self.jump, self.wait, self.purge,
                    self.purge, self.erase]  # fmt: skip
        self.chance.choice(acts)(study)

    def _is_lucky(self) -> bool:
        return self.chance.random() < self.luck

    def _state(self, study: str) -> State | None:
        newest = "SELECT state FROM revisions WHERE study_instance_uid = ? ORDER BY revision DESC"
        row = self.rows.execute(newest, (study,)).fetchone()
        return State(row[0]) if row else None

    def _run(self, study: str) -> Run:
        found = self.ledger.queries.revision(study)
        assert found is not None
        return found.run

    def use_again(self, study: str) -> None:
        """Files are given up, the process is killed before they are gone, and a retry needs their
        names again."""
        self.wait(study)
        self.is_doomed = True
        self.purge(study)
        self.is_doomed = False
        for number in range(2):
            if self.ledger.arrivals.find(f"{study}.{number}") is not None:
                self.arrive(study, number)
        with suppress(KeyError, ValueError):
            self.ledger.studies.retry(study)
        for act in (self.close, self.analyze, self.send):
            act(study)

    def arrive(self, study: str, number: int | None = None) -> None:
        number = self.chance.randrange(2) if number is None else number
        uid = f"{study}.{number}"
        body = struct.pack("<HH2sH", 0x10, 0x20, b"LO", 4) + f"P{study[-1]}:{number}".encode()
        found = self.ledger.arrivals.find(uid)
        if found is not None and found.purged_at is None:
            return
        self.arrivals += 1
        path = f"{uid}~{self.arrivals}.dcm"  # the spool's names are never used again, either
        (self.folder / "spool" / path).write_bytes(file_header(CLASS, uid, SYNTAX) + body)
        one = ReceivedInstance(
            uid, CLASS, study, f"{study}.9", SYNTAX, len(body), path, "A", "p"
        )  # fmt: skip
        told = self.told.setdefault(study, Told())
        if found is None:
            self.ledger.arrivals.record(one)
            told.held_at = float("-inf")
        else:
            assert self.ledger.arrivals.bring_back(one)
        told.arrived = self.watched

    def close(self, study: str) -> None:
        if self._state(study) is State.RECEIVING:
            run = self._run(study)
            rows = self.ledger.queries.instances(study, run.revision)
            if not any(r.purged_at for r in rows):
                self.ledger.studies.close(run, _counted(study, [r.sop_instance_uid for r in rows]))

    def analyze(self, study: str) -> None:
        if self._state(study) is not State.QUEUED:
            return
        run, told = self._run(study), self.told[study]
        self.ledger.studies.start_analysis(run, "engine", "digest")
        if self.chance.random() < 0.1:
            self.ledger.studies.park(run, "sick")
            return
        made = []
        for number in range(self.chance.randint(1, 2)):
            uid = f"{study}.{run.revision}{number}.7"
            path = self.folder / "results" / run.folder / f"{uid}.dcm"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(uid.encode())
            (path.parent / "prediction-s.npz").touch()
            digest = hashlib.sha256(uid.encode()).hexdigest()
            where = str(path.relative_to(self.folder))
            made.append(Result(uid, CLASS, "report", "s", where, digest))
        again = self.ledger.queries.revision(study)
        assert again is not None
        if again.resend:
            for one in made:
                for to in DESTINATIONS:
                    told.proven.pop((one.sop_instance_uid, to), None)
                    told.taken.discard((one.sop_instance_uid, to))
        assert self.ledger.deliveries.start(run, made, DESTINATIONS)
        now = {m.sop_instance_uid for m in made}
        rows = self.ledger.queries.results(study, run.revision)
        told.earlier |= (set(told.current) | {r.sop_instance_uid for r in rows}) - now
        told.earlier -= now
        told.current = sorted(now)

    def send(self, study: str) -> None:
        for to in DESTINATIONS:
            for due in self.ledger.queries.due_deliveries(to):
                if due.run.study != study:
                    continue
                outcome = DeliveryState.DELIVERED
                if not self._is_lucky():
                    outcome = self.chance.choice(list(DeliveryState))
                self.ledger.deliveries.record(
                    due.sop_instance_uid, to, outcome, status="0000", error=None
                )
                key = (due.sop_instance_uid, to)
                self.told[study].proven.pop(key, None)
                if outcome is DeliveryState.DELIVERED:
                    self.told[study].taken.add(key)
                self.ledger.deliveries.finish(due.run)

    def prove(self, _study: str) -> None:
        """A round of requests, and reports of some of those that are open."""
        to = self.chance.choice(DESTINATIONS)
        due = self.ledger.commitments.due(to, most=5, needs_commitment=False)
        if due and self.chance.random() < 0.7:
            self.ledger.commitments.open(to, due)
        elif due:
            self._hear(to, [d.sop_instance_uid for d in due], "query", "")
        for request in self.ledger.commitments.unsent(to):
            if self.chance.random() < 0.3:
                continue
            self.ledger.commitments.sent(request.transaction_uid)
            uids = [uid for _, uid in request.items]
            how = self.chance.choice(["report", "close"])
            self._hear(to, uids, how, request.transaction_uid)

    def _hear(self, to: str, uids: list[str], how: str, transaction: str) -> None:
        said = {uid: "yes" if self._is_lucky() else self.chance.choice(UNPROVEN) for uid in uids}
        before = {uid: self._delivery(uid, to) for uid in uids}
        if how == "report":
            committed = [uid for uid, what in said.items() if what == "yes"]
            failed = {uid: what for uid, what in said.items() if what not in ("yes", "")}
            self.ledger.commitments.report(transaction, [to], committed, failed)
        else:
            outcomes = {u: "found" if what == "yes" else what for u, what in said.items()}
            if how == "close":
                self.ledger.commitments.close(transaction, outcomes)
            else:
                self.ledger.commitments.learn(to, outcomes)
        for uid, what in said.items():
            told = self.told[uid.rsplit(".", 2)[0]]
            is_of_request = before[uid] == (DeliveryState.DELIVERED, transaction or None)
            if is_of_request and what == "yes":
                told.proven[uid, to] = self.watched
            elif is_of_request and what in ("0112", "0122"):
                told.lost.add((uid, to))

    def _delivery(self, uid: str, to: str) -> tuple[DeliveryState, str | None] | None:
        query = (
            "SELECT state, transaction_uid FROM deliveries "
            "WHERE sop_instance_uid = ? AND destination = ?"
        )
        row = self.rows.execute(query, (uid, to)).fetchone()
        return None if row is None else (DeliveryState(row[0]), row[1])

    def hold(self, study: str) -> None:
        if study in self.told:
            told = self.told[study]
            told.is_on_hold = self.chance.random() < 0.3
            if told.is_on_hold:
                self.ledger.holds.hold(study, "why", lambda path: (self.folder / path).exists())
            else:
                self.ledger.holds.release(study)

    def see_held(self, study: str) -> None:
        if study in self.told and self.chance.random() < 0.7:
            inputs = [i.sop_instance_uid for i in self.ledger.retention.inputs(study)]
            self.ledger.retention.note_held(inputs)
            self.told[study].held_at = self.watched

    def retry(self, study: str) -> None:
        if self.chance.random() < 0.6:
            return
        try:
            self.ledger.studies.retry(study)
        except (KeyError, ValueError):
            return

    def park(self, study: str) -> None:
        if self._state(study) is State.QUEUED and self.chance.random() < 0.3:
            self.ledger.studies.park(self._run(study), "for a person")

    def wait(self, _study: str) -> None:
        """Somebody looks all the time."""
        by = self.chance.choice([60.0, 3600.0, DAY_S, 8 * DAY_S, 31 * DAY_S])
        self.now += by
        self.watched += by
        with self.ledger.database.write() as db:  # as a look every minute leaves it
            newest = "SELECT max(id) FROM watched"
            db.exec_driver_sql(f"UPDATE watched SET until = {self.now!r} WHERE id = ({newest})")

    def jump(self, _study: str) -> None:
        """Nobody looks, or a clock is set."""
        by = self.chance.choice([-40 * DAY_S, -DAY_S, 3600.0, 40 * DAY_S, 400 * DAY_S])
        self.now += by
        self.watched += max(0.0, min(by, DAY_S))
        self.ledger.retention.look()

    def erase(self, study: str) -> None:
        """By law: whatever was proven. It may come again at once."""
        if self.chance.random() < 0.8:
            return
        facts = self.ledger.retention.facts(study)
        if facts is None:
            return
        purger = self.purgers[False]
        try:
            if self.ledger.endings.erase(study, lambda: purger.set_aside(study)):
                if self.told[study].is_on_hold:
                    self.wrong.append(f"{study}: erased while on hold")
                self.told.pop(study)
                self.given_up |= set(self._files(study))
                purger.unlink_listed()
        except (ValueError, Killed):
            return

    def _files(self, study: str = "") -> list[Path]:
        found = [*self.folder.glob("spool/*.dcm"), *self.folder.glob("results/*/*.dcm")]
        found = [path for path in found if not path.name.startswith("gone-")]
        return [path for path in found if path.name.startswith(study)]

    def purge(self, _study: str) -> None:
        before = [path for path in self._files() if path not in self.given_up]
        before = [path for path in before if not path.parent.name.startswith("gone-")]
        states = {study: self._state(study) for study in self.told}
        standing = {study: self._has_results(study) for study in self.told}
        pressed = self.chance.random() < 0.5
        with suppress(Killed):
            self.purgers[pressed].round()
        listed = {self.folder / path for path in self.ledger.discards.paths()}
        self.given_up &= {path for path in self.given_up if path.exists()}
        for path in before:
            if path.exists() and path not in listed:
                continue
            if path.exists():
                self.given_up.add(path)
            kind = "spool" if path.parent.name == "spool" else "results"
            self.removed[kind] += 1
            study = path.stem.split("~")[0].rsplit(".", 2 if kind == "results" else 1)[0]
            state = states.get(study)
            if why := self._why_not(study, kind, state, standing.get(study, False), pressed):
                self.wrong.append(f"{kind} of {study}: {why}")
            elif kind == "spool":
                self.told[study].was_purged = True
        for study in list(self.told):
            self._look_after(study)
        self._look_at_files()

    def _has_results(self, study: str) -> bool:
        newest = "SELECT max(revision) FROM revisions WHERE study_instance_uid = ?"
        made = f"SELECT 1 FROM results WHERE study_instance_uid = ? AND revision = ({newest})"
        return self.rows.execute(made, (study, study)).fetchone() is not None

    def _look_after(self, study: str) -> None:
        """Every file that the ledger believes to be there is; a study that it forgot is no more."""
        if self._state(study) is None:
            self.removed["rows"] += 1
            if self.told[study].is_on_hold:
                self.wrong.append(f"{study}: forgotten while on hold")
            if self.watched - self.told[study].arrived < LEDGER_S:
                self.wrong.append(f"{study}: forgotten too early")
            self.told.pop(study)
            return
        for table, folder in (("instances", "spool"), ("results", ".")):
            here = f"SELECT path FROM {table} WHERE study_instance_uid = ? AND purged_at IS NULL"
            for (path,) in self.rows.execute(here, (study,)):
                if not (self.folder / folder / path).exists():
                    self.wrong.append(f"{table} of {study}: gone, and believed to be there")

    def _look_at_files(self) -> None:
        """Every file that is there is known: it is in use, or it is to be removed."""
        listed = self.ledger.discards.paths()
        known = {self.folder / name for path in listed for name in (path, aside_of(path))}
        for table, folder in (("instances", "spool"), ("results", ".")):
            here = f"SELECT path FROM {table} WHERE purged_at IS NULL"
            known |= {self.folder / folder / path for (path,) in self.rows.execute(here)}
        for path in [*self.folder.glob("spool/*.dcm"), *self.folder.glob("results/*/*.dcm")]:
            if path not in known and not path.parent.name.startswith(ASIDE):
                self.wrong.append(f"{path.name}: there, and nobody knows of it")

    def _why_not(
        self, study: str, kind: str, state: State | None, has_results: bool, pressed: bool
    ) -> str:
        """Why the model would not have removed it; empty if it would."""
        if study not in self.told:
            return "it came after the study was erased"
        told = self.told[study]
        if state not in (State.DONE, State.PARKED):
            return f"it is {state}"
        if told.is_on_hold:
            return "on hold"
        if kind == "spool" and told.was_purged and self._state(study) is None:
            return ""
        if kind == "spool" and not (self.source_holds or self.watched - told.held_at <= DAY_S):
            return "the source is not known to hold it"
        if state is State.PARKED and self.watched - told.arrived < PARKED_S:
            return "not parked for long enough"
        if state is State.PARKED and not told.current:
            return ""
        if state is State.DONE and not has_results:
            return "its last revision has no results"
        return _why_unproven(told) or self._why_young(told, kind, pressed)

    def _why_young(self, told: Told, kind: str, pressed: bool) -> str:
        age_s = self.watched - max(told.proven[u, to] for u in told.current for to in DESTINATIONS)
        is_young = age_s < (INPUTS_S if kind == "spool" else RESULTS_S)
        return "too early" if is_young and not pressed else ""


def _why_unproven(told: Told) -> str:
    needed = {(uid, to) for uid in told.current for to in DESTINATIONS}
    if not needed or needed - set(told.proven):
        return "not proven"
    earlier = {key for key in told.taken if key[0] in told.earlier}
    if earlier - set(told.proven) - told.lost:
        return "an earlier result is not proven"
    return ""


def _counted(study: str, uids: list[str]) -> Evidence:
    """A study whose first file is a thumbnail."""
    levels = tuple(
        LevelEvidence((uid,), "THUMBNAIL" if uid.endswith(".0") else "VOLUME", 1, 1, "TILED_FULL",
                      1, 1, 1, 1, ())
        for uid in uids
    )  # fmt: skip
    return Evidence(len(uids), slides=(SlideEvidence("s", f"{study}.9", "c", levels),))


def run(
    folder: Path,
    *,
    histories: int,
    seed: int,
    stops: bool = False,
    tell: Callable[[int, list[str], Counter[str]], None] = lambda *_: None,
) -> tuple[list[str], Counter[str]]:
    """Histories of some studies at once: what went wrong, and how much was given up.

    `tell` is called with what there is so far; `stops` ends it at the first that went wrong.
    """
    wrong: list[str] = []
    removed: Counter[str] = Counter()
    template = folder / "template.sqlite"
    Ledger.open(template).database.engine.dispose()
    for number in range(-(-histories // STUDIES)):
        chance = random.Random(f"{seed}-{number}")
        here = folder / f"h{number}"
        history = History(here, chance, source_holds=chance.random() < 0.5, template=template)
        for _ in range(150):
            history.step()
        wrong += [f"seed {seed}-{number}: {w}" for w in history.wrong]
        removed += history.removed
        history.rows.close()
        history.ledger.database.engine.dispose()
        shutil.rmtree(here)
        tell((number + 1) * STUDIES, wrong, removed)
        if stops and wrong:
            break
    return wrong, removed
