"""Random histories of studies on the real ledger and the real purger, judged by a model.

The model knows what a destination was heard to say, and nothing of the rules. Whatever is removed
has to be something that it knows to be proven; a file that goes otherwise is counted.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.keeping.rules import Policy
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.spool.incoming import file_header
from dicom_node.spool.purge import Purger

DAY_S = 86400.0
DESTINATIONS = ("a", "b")
STUDIES = 4
UNPROVEN = ("0112", "0110", "0122", "0213", "")
"""What a destination may say instead of yes."""
CLASS, SYNTAX = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.1"


@dataclass
class Told:
    """What is known of a study without looking at the ledger."""

    proven: set[tuple[str, str]] = field(default_factory=set)
    """Objects and destinations, as long as it was not sent again."""
    current: list[str] = field(default_factory=list)
    """Objects of the newest revision that was analyzed."""
    earlier: set[str] = field(default_factory=set)
    taken: set[tuple[str, str]] = field(default_factory=set)
    lost: set[tuple[str, str]] = field(default_factory=set)
    held_at: float = float("-inf")
    """When the source was seen to hold every file that there is."""
    is_on_hold: bool = False


@dataclass
class History:
    """One ledger with some studies, and what happens to them."""

    folder: Path
    chance: random.Random
    source_holds: bool
    template: Path | None = None
    """A database with tables and no rows."""
    now: float = 1_000_000.0
    told: dict[str, Told] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)

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
            7 * DAY_S, 30 * DAY_S, 30 * DAY_S, 3650 * DAY_S, self.source_holds,
            require_commitment=True,
        )  # fmt: skip
        self.purgers = {
            pressed: Purger(self.folder, self.ledger, policy, 1000.0 if pressed else 0.0)
            for pressed in (False, True)
        }

    def step(self) -> None:
        """One thing that happens, to one study or to all."""
        study = f"1.2.{self.chance.randrange(STUDIES)}"
        if study not in self.told:
            self.arrive(study)
        act = self.chance.choice(
            [self.arrive, self.close, self.close, self.analyze, self.analyze, self.send, self.send,
             self.prove, self.prove,
             self.prove, self.prove, self.hold, self.see_held, self.retry, self.park, self.wait,
             self.purge, self.purge]
        )  # fmt: skip
        act(study)

    def _is_lucky(self) -> bool:
        return self.chance.random() < self.luck

    def _state(self, study: str) -> State | None:
        found = self.ledger.queries.revision(study)
        return found.state if found else None

    def _run(self, study: str) -> Run:
        found = self.ledger.queries.revision(study)
        assert found is not None
        return found.run

    def arrive(self, study: str) -> None:
        number = self.chance.randrange(2)
        uid = f"{study}.{number}"
        body = struct.pack("<I", number) * 16
        if self.ledger.arrivals.find(uid) is not None:
            return
        path = f"{uid}.dcm"
        (self.folder / "spool" / path).write_bytes(file_header(CLASS, uid, SYNTAX) + body)
        self.ledger.arrivals.record(
            ReceivedInstance(uid, CLASS, study, f"{study}.9", SYNTAX, len(body), path, "A", "p")
        )
        self.told.setdefault(study, Told()).held_at = float("-inf")

    def close(self, study: str) -> None:
        if self._state(study) is State.RECEIVING:
            run = self._run(study)
            rows = self.ledger.queries.instances(study, run.revision)
            if not any(r.purged_at for r in rows):
                self.ledger.studies.close(run, Evidence(len(rows)))

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
            path = self.folder / "results" / f"{uid}.dcm"
            path.write_bytes(uid.encode())
            digest = hashlib.sha256(uid.encode()).hexdigest()
            made.append(Result(uid, CLASS, "report", "s", f"results/{path.name}", digest))
        again = self.ledger.queries.revision(study)
        assert again is not None
        if again.resend:
            for one in made:
                for to in DESTINATIONS:
                    told.proven.discard((one.sop_instance_uid, to))
                    told.taken.discard((one.sop_instance_uid, to))
        assert self.ledger.deliveries.start(run, made, DESTINATIONS)
        now = [m.sop_instance_uid for m in made]
        told.earlier |= set(told.current) - set(now)
        told.earlier |= {
            r.sop_instance_uid
            for r in self.ledger.queries.results(study, run.revision)
            if r.sop_instance_uid not in now
        }
        kept = {r.sop_instance_uid for r in self.ledger.queries.results(study, run.revision)}
        told.current = sorted(kept)
        told.earlier -= kept

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
                self.told[study].proven.discard(key)
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
                told.proven.add((uid, to))
            elif is_of_request and what == "0112":
                told.lost.add((uid, to))

    def _delivery(self, uid: str, to: str) -> tuple[DeliveryState, str | None] | None:
        query = (
            "SELECT state, transaction_uid FROM deliveries "
            "WHERE sop_instance_uid = :uid AND destination = :to"
        )
        with self.ledger.database.read() as db:
            row = db.execute(sa.text(query), {"uid": uid, "to": to}).first()
        return None if row is None else (DeliveryState(row[0]), row[1])

    def hold(self, study: str) -> None:
        if study in self.told:
            told = self.told[study]
            told.is_on_hold = self.chance.random() < 0.3
            if told.is_on_hold:
                self.ledger.retention.hold(study, "why")
            else:
                self.ledger.retention.release(study)

    def see_held(self, study: str) -> None:
        if study in self.told and self.chance.random() < 0.7:
            inputs = [i.sop_instance_uid for i in self.ledger.retention.inputs(study)]
            self.ledger.retention.note_held(inputs)
            self.told[study].held_at = self.now

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
        self.now += self.chance.choice([60.0, 3600.0, DAY_S, 8 * DAY_S, 31 * DAY_S])

    def purge(self, _study: str) -> None:
        before = {p: p.stat().st_size for p in self.folder.glob("*/*.dcm")}
        states = {study: self._state(study) for study in self.told}
        self.purgers[self.chance.random() < 0.5].round()
        for path in before:
            if path.exists():
                continue
            kind = path.parent.name
            self.removed[kind] += 1
            study = path.stem.rsplit(".", 2 if kind == "results" else 1)[0]
            if why := self._why_not(study, kind, states[study]):
                self.wrong.append(f"{kind} of {study}: {why}")

    def _why_not(self, study: str, kind: str, state: State | None) -> str:
        """Why the model would not have removed it; empty if it would."""
        told = self.told[study]
        if state not in (State.DONE, State.PARKED):
            return f"it is {state}"
        if told.is_on_hold:
            return "on hold"
        if kind == "spool" and not (self.source_holds or self.now - told.held_at <= DAY_S):
            return "the source is not known to hold it"
        newest = self.ledger.queries.revision(study)
        assert newest is not None
        has_results = bool(self.ledger.queries.results(study, newest.revision))
        if state is State.PARKED and not has_results:
            return ""
        needed = {(uid, to) for uid in told.current for to in DESTINATIONS}
        if not needed or needed - told.proven:
            return "not proven"
        earlier = {key for key in told.taken if key[0] in told.earlier}
        if earlier - told.proven - told.lost:
            return "an earlier result is not proven"
        return ""


def run(folder: Path, *, histories: int, seed: int) -> tuple[list[str], Counter[str]]:
    """Histories of some studies at once: what was removed wrongly, and how much was removed."""
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
        history.ledger.database.engine.dispose()
        shutil.rmtree(here)
    return wrong, removed
