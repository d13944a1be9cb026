"""What is made for the destinations and what they are sent is decided once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from pacs_profiles import EXPLICIT, SR_3D, SR_TEXT

from dicom_node.config.whole import Config
from dicom_node.ledger.rows import DestinationSeen, Result, Run
from dicom_node.results import kinds
from dicom_node.sop_classes import SEGMENTATION
from dicom_node.work.answers import Built
from dicom_node.work.early.turns import Turns
from dicom_node.work.interruptions import Working
from dicom_node.work.steps import Steps
from dicom_node.work.students.jobs import Job

RUN = Run("1.2", 1, 1)


def test_a_destination_that_answers_during_the_building_is_sent_what_was_made(tmp_path):
    answers: dict[str, DestinationSeen] = {}
    asked_for: list[kinds.Wanted] = []
    sent: dict[str, frozenset[str]] = {}

    def write(_run: Run, _slides: Any, job: Job, _numbers: Any, wanted: kinds.Wanted) -> Any:
        asked_for.append(wanted)
        accepted = {SR_3D: [], SR_TEXT: [EXPLICIT], SEGMENTATION.uid: [EXPLICIT]}
        answers["pacs"] = DestinationSeen(1.0, True, accepted, "")
        names = ["report", *sorted(wanted.kinds)]
        return [Result(f"{job.slide}-{n}", "1", n, job.slide, "p", "x") for n in names], ""

    def start(
        _run: Run, made: Sequence[Result], _to: Any, *, only: Mapping[str, Any], **_: Any
    ) -> bool:
        sent.update(only)
        return True

    steps = object.__new__(Steps)
    fields: dict[str, Any] = {
        "_config": config(tmp_path),
        "_working": Working(tmp_path),
        "_objects": SimpleNamespace(trouble_of=lambda _: "", slides=lambda *_: ()),
        "_writing": SimpleNamespace(
            numbered=lambda _run, _slides, jobs: {job: {job: 0} for job in jobs}, write=write
        ),
        "_ledger": SimpleNamespace(
            queries=SimpleNamespace(
                destinations=lambda: dict(answers), refused_kinds=lambda *_: {}
            ),
            deliveries=SimpleNamespace(start=start),
        ),
        "tools": SimpleNamespace(turns=Turns(), kept=SimpleNamespace(discard=lambda _: None)),
        "_may_go_on": lambda _run: True,
        "_heard": lambda _job, trouble: trouble,
    }
    for name, value in fields.items():
        setattr(steps, name, value)
    assert steps.build(RUN, ["a", "b"], []) == Built(2)
    assert asked_for == [kinds.Wanted(), kinds.Wanted()]
    assert sent == {"pacs": {f"a-{kinds.REPORT.name}", f"b-{kinds.REPORT.name}"}}


def config(folder: Any) -> Config:
    where = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    return cast(
        "Config",
        Config.model_validate(
            {"node": {"ae_title": "DICOMNODE", "data_dir": folder}, "destinations": [where]}
        ),
    )
