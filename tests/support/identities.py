"""Random histories of a study on the real ledger and the real builders, and a PACS that records.

The PACS keeps every content that it ever got under a UID, from this node, from the same one after
it lost its ledger, and from one that is older or newer. What is right is told without the node's
rules: one UID has one content; a retry after no change sends what it had sent; after a change the
new report names the one that it replaces. Processes are killed between any two steps.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from pydicom import Dataset, dcmread
from result_inputs import manifest, prediction, refusal, report, values, volume

from dicom_node.config.loading import load_config
from dicom_node.config.models import ModelEntry
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.results.identity import ROLES, result_uid
from dicom_node.results.kinds import Wanted
from dicom_node.results.sources import predecessor_in
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.routing.values import Route, Student, Taken
from dicom_node.work.students import provenance
from dicom_node.work.students.jobs import Assigned, Job
from dicom_node.work.students.roster import Known, Roster
from inference import archive
from inference.slide.files import SlideFiles
from inference.types import Heatmap, NotAssessable, Patch, Prediction

STUDY = result_uid("test", "study")
DESTINATIONS = ("a", "b")
SIDE_PX = 1344
CONFIG = """
[node]
ae_title = "NODE"
data_dir = "node-data"
[[destinations]]
name = "a"
ae_title = "A"
host = "127.0.0.1"
port = 104
"""
CHANGES: dict[str, tuple[object, ...]] = {
    "engine": ("openvino 2026.4.1 int8", "openvino 2026.4.1 fp32", "tensorrt 11 fp16"),
    "bundle": ("a" * 64, "b" * 64),
    "version": ("0.1.0", "0.2.0"),
    "notes": ((), ("The rule of the site counts.",)),
    "refused": (False, False, True),
}
"""What the objects depend on beside the slides, and the values it takes."""


class Killed(Exception):
    """The process ends here."""


@dataclass
class Pacs:
    """Every content that came under a UID, and each object as it came."""

    contents: dict[str, set[str]] = field(default_factory=dict)
    objects: dict[str, Dataset] = field(default_factory=dict)

    def store(self, file: bytes) -> None:
        found = dcmread(BytesIO(file))
        uid = str(found.SOPInstanceUID)
        self.contents.setdefault(uid, set()).add(hashlib.sha256(file).hexdigest())
        self.objects[uid] = found

    @property
    def ambiguous(self) -> list[str]:
        """UIDs with more than one content."""
        return [uid for uid, contents in self.contents.items() if len(contents) > 1]


@dataclass
class History:
    """One study in a node, whose configuration changes."""

    folder: Path
    chance: random.Random
    pacs: Pacs = field(default_factory=Pacs)
    setting: dict[str, Any] = field(default_factory=dict)
    slides: list[list[Dataset]] = field(default_factory=list)
    """Headers of the levels that have come, by slide."""
    wrong: list[str] = field(default_factory=list)
    sent: dict[str, tuple[str, object]] = field(default_factory=dict)
    """The report registered last of each slide, and what it was made from."""
    now: float = 1_770_000_000.0
    nodes: int = 0
    retries: int = 0
    builds: int = 0

    def __post_init__(self) -> None:
        self.setting = {name: options[0] for name, options in CHANGES.items()}
        self.folder.mkdir(parents=True)
        (self.folder / "node.toml").write_text(CONFIG)
        self.begin()
        self.come()

    def begin(self) -> None:
        """A node that knows nothing, in a folder of its own."""
        self.nodes += 1
        config = load_config(self.folder / "node.toml")
        data = self.folder / f"data-{self.nodes}"
        node = config.node.model_copy(update={"data_dir": data})
        self.config = config.model_copy(update={"node": node})
        self.config.spool_dir.mkdir(parents=True)
        self.ledger = Ledger.open(data / "node.sqlite", clock=lambda: self.now)
        self.sent.clear()
        for levels in self.slides:
            for level in levels:
                self._receive(level)

    def come(self) -> None:
        """A slide comes, or one level more of one that is there."""
        if len(self.slides) < 3 and (not self.slides or self.chance.random() < 0.5):
            self.slides.append([])
        number = self.chance.randrange(len(self.slides))
        levels = self.slides[number] if self.slides[-1] else self.slides[-1]
        number = self.slides.index(levels)
        level = volume(SIDE_PX, SIDE_PX, tile_px=224)
        level.SOPInstanceUID = result_uid("history", str(number), str(len(levels)))
        level.SeriesInstanceUID = result_uid("history", str(number))
        level.ContainerIdentifier = f"A26 {number}"
        levels.append(level)
        self._receive(level)

    def _receive(self, level: Dataset) -> None:
        uid = str(level.SOPInstanceUID)
        level.file_meta = report(level, refusal(level)).file_meta
        level.file_meta.MediaStorageSOPClassUID = level.SOPClassUID
        level.file_meta.MediaStorageSOPInstanceUID = uid
        level.save_as(self.config.spool_dir / f"{uid}.dcm", enforce_file_format=True)
        series = str(level.SeriesInstanceUID)
        one = (uid, "1", STUDY, series, "1", 1, f"{uid}.dcm", "A", "p")
        self.ledger.arrivals.record(ReceivedInstance(*one))

    # -- what happens ---------------------------------------------------------------------------

    def step(self) -> None:
        """One thing that happens."""
        self.now += self.chance.choice([1.0, 60.0, 86400.0])
        acts: list[Callable[[], None]] = [
            self.change, self.change, self.attempt, self.attempt, self.deliver,
            self.retry, self.retry, self.retry, self.come, self.lose_file,
        ]  # fmt: skip
        if self.chance.random() < 0.05:
            acts = [self.begin]
        act = self.chance.choice(acts)
        if act == self.come and self.chance.random() < 0.5:
            return
        act()

    def change(self) -> None:
        """Somebody changes the configuration, or installs another version."""
        name = self.chance.choice(list(CHANGES))
        self.setting[name] = self.chance.choice(CHANGES[name])

    def retry(self) -> None:
        """Somebody asks for it, before or after everything is sent."""
        self.attempt(may_die=False)
        if self.chance.random() < 0.7:
            self.deliver()
        self.ledger.studies.retry(STUDY)
        self.retries += 1
        self.attempt(may_die=self.chance.random() < 0.5)
        self.deliver()

    def attempt(self, may_die: bool = True) -> None:
        """Close what has come and analyze what is queued, as long as nobody kills it."""
        for _ in range(self.chance.randrange(3) if may_die else 0):
            try:
                self._attempt(may_die=True)
            except Killed:
                self._after_a_kill()
        self._attempt(may_die=False)

    def _after_a_kill(self) -> None:
        self.now += 30.0
        last = self.ledger.queries.revision(STUDY)
        if last is not None and last.state is State.ANALYZING and self.chance.random() < 0.5:
            self.ledger.studies.try_later(last.run, "it died", 0.0)
            self.change()

    def _attempt(self, *, may_die: bool) -> None:
        last = self.ledger.queries.revision(STUDY)
        if last is not None and last.state is State.RECEIVING:
            self.ledger.studies.close(last.run, Evidence(sum(map(len, self.slides))))
            last = self.ledger.queries.revision(STUDY)
        if last is None or last.state not in (State.QUEUED, State.ANALYZING):
            return
        roster = self._roster()
        if last.state is State.QUEUED:
            self.ledger.studies.start_analysis(last.run, roster.engine, roster.digest, roster.runs)
        elif (last.engine, last.bundle_digest) != (roster.engine, roster.digest):
            self.ledger.studies.try_later(last.run, "the engine was changed", 0.0)
            return self._attempt(may_die=may_die)
        with mock.patch.object(provenance, "__version__", self.setting["version"]):
            self._build(last.run, roster, may_die=may_die)

    def _build(self, run: Run, roster: Roster, *, may_die: bool) -> None:
        assigned = cast("Any", SimpleNamespace(of=lambda _slide: self._assigned()))
        objects = ResultObjects(self.config, self.ledger, roster, assigned)
        slides = [self._files(levels) for levels in self.slides]
        jobs = [Job(slide.key) for slide in slides]
        made: list[Result] = []
        for slide, job, number in zip(slides, jobs, objects.numbers(run, jobs), strict=True):
            archive.save(self._result(slide), objects.prediction_path(run, job))
            self._maybe_die(may_die)
            rows, trouble = objects.write(run, slide, job, number, Wanted())
            assert not trouble
            made += rows
        self._maybe_die(may_die)
        assert self.ledger.deliveries.start(run, made, DESTINATIONS)
        self.builds += 1
        self._judge(slides, made)
        self._maybe_die(may_die)

    def _maybe_die(self, may_die: bool) -> None:
        if may_die and self.chance.random() < 0.3:
            raise Killed

    def deliver(self) -> None:
        """Some of what is due; a process that dies after an object was taken sends it again."""
        for to in DESTINATIONS:
            for due in self.ledger.queries.due_deliveries(to):
                luck = self.chance.random()
                if luck < 0.1:
                    continue
                self.pacs.store((self.config.node.data_dir / due.path).read_bytes())
                if luck < 0.2:
                    return
                self.ledger.deliveries.record(
                    due.sop_instance_uid, to, DeliveryState.DELIVERED, status="0000", error=None
                )
                self.ledger.deliveries.finish(due.run)

    def lose_file(self) -> None:
        """A result's file is gone or damaged after it was sent; a retry may write it again."""
        rows = [r for found in self.ledger.queries.all_results().values() for r in found]
        waits = {d.sop_instance_uid for to in DESTINATIONS
                 for d in self.ledger.queries.due_deliveries(to)}  # fmt: skip
        rows = [row for row in rows if row.sop_instance_uid not in waits]
        if rows:
            path = self.config.node.data_dir / self.chance.choice(rows).path
            if self.chance.random() < 0.5:
                path.write_bytes(b"")
            else:
                path.unlink(missing_ok=True)

    # -- what is right --------------------------------------------------------------------------

    def _judge(self, slides: list[SlideFiles], made: list[Result]) -> None:
        """Of what was registered now: the same where nothing changed, else named after another."""
        for slide in slides:
            (row,) = [r for r in made if r.slide == slide.key and r.kind == "report"]
            from_what = (tuple(sorted(self.setting.items())), slide.input_uids)
            before = self.sent.get(slide.key)
            if before is not None and before[1] == from_what:
                if before[0] != row.sop_instance_uid:
                    self.wrong.append(f"slide {slide.key}: no change, and another report")
            elif before is not None and row.predecessor != before[0]:
                self.wrong.append(f"slide {slide.key}: does not name the report before it")
            self.sent[slide.key] = (row.sop_instance_uid, from_what)
        numbers = [r.number for r in made if r.kind == "report"]
        if len(set(numbers)) != len(numbers):
            self.wrong.append(f"two slides have one number: {numbers}")

    def end(self) -> list[str]:
        """What was wrong of all that happened."""
        self.attempt(may_die=False)
        for _ in range(9):
            self.deliver()
        self.wrong += [f"{uid} has two contents" for uid in self.pacs.ambiguous]
        for uid, found in self.pacs.objects.items():
            named = predecessor_in(found)
            if named == uid:
                self.wrong.append(f"{uid} replaces itself")
            if ROLES in str(found):
                self.wrong.append(f"{uid} has a role that is no UID")
        for row in (r for rows in self.ledger.queries.all_results().values() for r in rows):
            found = self.pacs.objects.get(row.sop_instance_uid, Dataset())
            told = list(found.get("SoftwareVersions") or [])
            if told and told[1:] != [f"engine {row.engine}"[:64]]:
                self.wrong.append(f"{row.sop_instance_uid}: {told}, the ledger has {row.engine}")
        return self.wrong

    # -- what the node is given -----------------------------------------------------------------

    def _files(self, levels: list[Dataset]) -> SlideFiles:
        uids = tuple(str(level.SOPInstanceUID) for level in levels)
        paths = tuple(self.config.spool_dir / f"{uid}.dcm" for uid in uids)
        return SlideFiles(f"s{levels[0].ContainerIdentifier[-1]}", paths, uids, paths[0])

    def _result(self, slide: SlideFiles) -> Prediction | NotAssessable:
        source = dcmread(slide.base_path)
        if self.setting["refused"]:
            return replace(refusal(source), base=slide.input_uids[0])
        score = CHANGES["engine"].index(self.setting["engine"]) / 10
        return prediction(
            source,
            scores={"risk": 1.0 + score, "tumor_fraction": 0.1},
            heatmaps=(Heatmap("tumor", values(source), (Patch(1, 1, 1.0),)),),
            tissue_outlines=(),
            base=slide.input_uids[0],
        )

    def _assigned(self) -> Assigned:
        taken = Taken("all", silent=False, cautions=(), notes=self.setting["notes"], warnings=())
        return Assigned(Route((taken,), (), ""))

    def _roster(self) -> Roster:
        entry = ModelEntry(name="all")
        bundle = SimpleNamespace(manifest=manifest(), digest=self.setting["bundle"])
        student = Student(entry, manifest().applicability)
        known = Known("", student, cast("Any", bundle), self.setting["engine"], "int8",
                      cast("Any", None))  # fmt: skip
        return Roster((known,), is_one=True)


def run(folder: Path, seed: int, *, steps: int = 14) -> History:
    """One history; `end` says what was wrong of it."""
    history = History(folder, random.Random(seed))
    for _ in range(steps):
        history.step()
    history.wrong = [f"history {seed}: {fault}" for fault in history.end()]
    return history
