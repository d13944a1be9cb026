"""Whether the source is known to hold the slides it sent: asked by C-FIND, believed for a day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nodes import free_port, node, orthanc, storescu, study_of, wait_for
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.config.whole import Config
from dicom_node.deliver.keeping import policy_of
from dicom_node.deliver.source import Source
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.keeping import rules
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Run
from dicom_node.ledger.states import State

STUDY = "1.2.3"
_PENDING, _REFUSED, _FAILED = 0xFF00, 0xA700, 0xC001


@dataclass
class FindingPacs:
    """What it says it holds, by SOP Instance UID its study and series, and how it answers."""

    holds: dict[str, tuple[str, str]] = field(default_factory=dict)
    ends_with: int = 0x0000
    before_each: Callable[[], None] = lambda: None
    endless_of: str = ""
    """A study of which it never comes to an end."""
    asked: list[Dataset] = field(default_factory=list)
    port: int = 0

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        keys = event.identifier
        self.asked.append(keys)
        for uid, (study, series) in self.holds.items():
            self.before_each()
            if (study, series) == (keys.StudyInstanceUID, keys.SeriesInstanceUID):
                match = Dataset()
                match.QueryRetrieveLevel, match.SOPInstanceUID = "IMAGE", uid
                yield _PENDING, match
        while keys.StudyInstanceUID == self.endless_of and event.assoc.is_established:
            match = Dataset()
            match.QueryRetrieveLevel, match.SOPInstanceUID = "IMAGE", generate_uid()
            yield _PENDING, match
        if self.ends_with:
            yield self.ends_with, None


@contextmanager
def finding_pacs(*, finds: bool = True, **behaves: Any) -> Iterator[FindingPacs]:
    pacs = FindingPacs(**behaves)
    entity = AE("PACS")
    entity.add_supported_context("1.2.840.10008.1.1")
    if finds:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, pacs.on_find)]
    )
    pacs.port = int(server.server_address[1])
    try:
        yield pacs
    finally:
        server.shutdown()


class Rig:
    """A ledger with parked studies that only wait for the answer of their source."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder, self.ledger = folder, ledger
        self.held: dict[str, tuple[str, str]] = {}

    def study(self, study: str = STUDY, *, series: int = 1, instances: int = 2, ae: str = "PACS"):
        """Record one; what the source would have to hold is in `held`."""
        for number in range(series):
            for one in range(instances):
                uid, of_series = f"{study}.{number}.{one}", f"{study}.{number}"
                self.ledger.arrivals.record(
                    ReceivedInstance(uid, "1", study, of_series, "1", 1, f"{uid}.dcm", ae, "p")
                )
                self.held[uid] = study, of_series
        self.ledger.studies.close(Run(study, 1, 0), Evidence(series * instances))
        with self.ledger.database.write() as db:
            db.exec_driver_sql(f"UPDATE revisions SET state = '{State.PARKED}', finished_at = 5")

    def config(self, port: int, **retention: Any) -> Config:
        return Config.model_validate(
            {
                "node": {"ae_title": "DICOMNODE", "data_dir": self.folder},
                "destinations": [
                    {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
                ],
                "retention": {"parked_days": 0, "inputs_days": 0, **retention},
            }
        )

    def source(self, port: int, **retention: Any) -> Source:
        config = self.config(port, **retention)
        return Source(config, config.destinations[0], self.ledger)

    def may_go(self, study: str = STUDY) -> bool:
        """Whether the received files of a study may be removed now."""
        facts = self.ledger.retention.facts(study)
        assert facts is not None
        policy = policy_of(self.config(1))
        return rules.inputs(facts, policy, self.ledger.database.now()).may_go

    def seen(self) -> set[str]:
        """SOP Instance UIDs that were seen at the source."""
        with self.ledger.database.read() as db:
            rows = db.exec_driver_sql(
                "SELECT sop_instance_uid FROM instances WHERE held_at IS NOT NULL"
            )
            return set(rows.scalars())


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, Ledger.open(tmp_path / "node.sqlite"))


def test_what_the_source_holds_may_go_and_it_is_asked_series_by_series(rig):
    rig.study(series=2)
    assert not rig.may_go()
    with finding_pacs(holds=dict(rig.held)) as pacs:
        rig.source(pacs.port).round()
        assert {str(k.SeriesInstanceUID) for k in pacs.asked} == {f"{STUDY}.0", f"{STUDY}.1"}
    assert rig.seen() == set(rig.held)
    assert rig.may_go()


@pytest.mark.parametrize("missing", ["all", "one", "another series"])
def test_what_the_source_does_not_list_stays(rig, missing):
    rig.study(series=2)
    holds = dict(rig.held)
    if missing == "all":
        holds = {}
    elif missing == "one":
        del holds[f"{STUDY}.1.1"]
    else:
        holds[f"{STUDY}.1.1"] = (STUDY, f"{STUDY}.0")
    with finding_pacs(holds=holds) as pacs:
        rig.source(pacs.port).round()
        assert pacs.asked
    assert not rig.may_go()


@pytest.mark.parametrize("status", [_REFUSED, _FAILED, 0xFE00, 0x0122])
def test_an_answer_that_ends_in_a_failure_is_no_answer(rig, status):
    rig.study()
    with finding_pacs(holds=dict(rig.held), ends_with=status) as pacs:
        rig.source(pacs.port).round()
        assert pacs.asked
    assert rig.seen() == set()
    assert not rig.may_go()


def test_a_source_that_takes_no_query_or_is_not_there_says_nothing(rig):
    rig.study()
    with finding_pacs(finds=False, holds=dict(rig.held)) as pacs:
        rig.source(pacs.port).round()
    rig.source(free_port()).round()
    assert rig.seen() == set()
    assert not rig.may_go()


def test_a_source_that_answers_late_is_waited_for(rig):
    rig.study()
    with finding_pacs(holds=dict(rig.held), before_each=lambda: time.sleep(1.5)) as pacs:
        rig.source(pacs.port).round()
    assert rig.may_go()


def test_a_source_that_never_answers_costs_no_more_than_its_time(rig, monkeypatch):
    from dataclasses import replace

    from dicom_node.association import requestor

    monkeypatch.setattr(
        requestor.request, "__kwdefaults__",
        requestor.request.__kwdefaults__ | {"limits": replace(requestor.REQUESTED, dimse_s=1.0)},
    )  # fmt: skip
    rig.study()
    silent = threading.Event()
    with finding_pacs(holds=dict(rig.held), before_each=lambda: silent.wait(20)) as pacs:
        began = time.monotonic()
        rig.source(pacs.port).round()
        assert time.monotonic() - began < 15
        silent.set()
    assert rig.seen() == set()
    assert not rig.may_go()


def test_a_source_that_goes_away_in_the_middle_leaves_what_was_seen_and_no_more(rig):
    rig.study("1.2.3")
    rig.study("1.2.4")
    gone = []

    def break_off() -> None:
        if len(pacs.asked) == 2:
            for association in list(server_associations(pacs)):
                association.abort()
            gone.append(True)

    with finding_pacs(holds=dict(rig.held)) as pacs:
        pacs.before_each = break_off
        rig.source(pacs.port).round()
    assert gone
    seen = rig.seen()
    assert seen in ({f"1.2.3.0.{n}" for n in (0, 1)}, {f"1.2.4.0.{n}" for n in (0, 1)})


def server_associations(pacs: FindingPacs) -> list[Any]:
    from pynetdicom.association import Association

    found = [t for t in threading.enumerate() if isinstance(t, Association)]
    return [a for a in found if a.is_acceptor and a.is_established]


@pytest.mark.parametrize("limit", ["_MOST_ANSWERS", "_LONGEST_S"])
def test_answers_without_end_are_cut_off_and_hold_up_no_other_study(rig, monkeypatch, limit):
    from dicom_node.deliver import query, source

    monkeypatch.setattr(query, limit, 3)
    monkeypatch.setattr(source, "_EVERY_S", 0.0)
    rig.study("1.2.3")
    rig.study("1.2.4")
    with finding_pacs(holds=dict(rig.held), endless_of="1.2.3") as pacs:
        asking = rig.source(pacs.port)
        began = time.monotonic()
        for _ in range(2):
            asking.round()
        assert time.monotonic() - began < 20
    assert not rig.may_go("1.2.3"), "what was said before is no answer without the end"
    assert rig.may_go("1.2.4")


def test_a_slow_source_is_asked_a_part_at_a_time_and_to_the_end(rig, monkeypatch):
    from dicom_node.deliver import source

    monkeypatch.setattr(source, "_MOST_LOOKING_S", 1.0)
    monkeypatch.setattr(source, "_EVERY_S", 0.0)
    rig.study(series=3, instances=1)
    with finding_pacs(holds=dict(rig.held), before_each=lambda: time.sleep(0.3)) as pacs:
        asking = rig.source(pacs.port)
        asking.round()
        assert 0 < len(pacs.asked) < 3
        asking.round()
        asking.round()
        assert len(pacs.asked) == 3
    assert rig.may_go()


def test_only_the_sender_itself_is_asked_for_its_slides(rig):
    rig.study("1.2.3", ae="SCANNER")
    rig.study("1.2.4")
    with finding_pacs(holds=dict(rig.held)) as pacs:
        rig.source(pacs.port).round()
        assert {str(k.StudyInstanceUID) for k in pacs.asked} == {"1.2.4"}
    assert not rig.may_go("1.2.3")
    assert rig.may_go("1.2.4")


def test_nobody_is_asked_where_the_site_says_it_or_where_nothing_could_go(rig):
    rig.study()
    with finding_pacs(holds=dict(rig.held)) as pacs:
        rig.source(pacs.port, source_holds_slides=True).round()
        rig.source(pacs.port, parked_days=99999).round()
        rig.source(pacs.port, keep_inputs=True).round()
        rig.ledger.holds.hold(STUDY, "inquest", lambda _path: True)
        rig.source(pacs.port).round()
        assert pacs.asked == []


def test_it_is_asked_now_and_then_and_not_in_every_round(rig):
    rig.study()
    with finding_pacs() as pacs:
        source = rig.source(pacs.port)
        for _ in range(3):
            source.round()
        assert len(pacs.asked) == 1


def test_it_is_asked_fifty_series_at_a_time(rig):
    """Between them the lane looks at what is due."""
    rig.study(series=60, instances=1)
    with finding_pacs(holds=dict(rig.held)) as pacs:
        source = rig.source(pacs.port)
        asked = []
        for _ in range(3):
            source.round()
            asked.append(len(pacs.asked))
    assert asked == [50, 60, 60]
    assert rig.may_go()


def test_studies_that_the_source_does_not_hold_hold_up_no_other(rig, monkeypatch):
    from dicom_node.deliver import source

    monkeypatch.setattr(source, "_MOST_STUDIES", 2)
    monkeypatch.setattr(source, "_EVERY_S", 0.0)
    for number in range(5):
        rig.study(f"1.2.{number}", instances=1)
    with finding_pacs(holds={"1.2.4.0.0": ("1.2.4", "1.2.4.0")}) as pacs:
        asking = rig.source(pacs.port)
        for _ in range(3):
            asking.round()
        assert rig.may_go("1.2.4")
        pacs.holds |= rig.held
        for _ in range(3):
            asking.round()
    assert all(rig.may_go(f"1.2.{number}") for number in range(5))


def test_orthanc_that_sent_the_slides_is_asked_and_found_to_hold_them(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    retention = "\n[retention]\nparked_days = 0\ninputs_days = 0\n"
    with node(tmp_path / "node", 1) as n, orthanc(tmp_path / "orthanc", n.port) as pacs:
        port = f"port = {pacs.dicom_port}\n"
        n.config.write_text(n.config.read_text().replace("port = 1\n", port) + retention)
        n.start("ingest")
        assert storescu(n.port, phantom_study.folder).returncode == 0
        n.stop()
        first, *others = phantom_study.paths
        ledger = n.ledger
        ledger.studies.close(Run(study, 1, 0), Evidence(len(phantom_study.paths)))
        with ledger.database.write() as db:
            db.exec_driver_sql(f"UPDATE revisions SET state = '{State.PARKED}', finished_at = 5")
        for path in others:
            assert storescu(pacs.dicom_port, path, called="PACS").returncode == 0

        def held() -> set[str]:
            with ledger.database.read() as db:
                return set(
                    db.exec_driver_sql(
                        "SELECT sop_instance_uid FROM instances WHERE held_at IS NOT NULL"
                    ).scalars()
                )

        n.launch("egress")
        wait_for(held, within_s=60, what="an answer")
        last = str(dcmread(first, stop_before_pixels=True).SOPInstanceUID)
        assert last not in held()
        assert len(held()) == len(others)
        assert "would go inputs" not in n.run("purge", "--dry-run").stdout
        n.kill()
        assert storescu(pacs.dicom_port, first, called="PACS").returncode == 0
        n.launch("egress")  # a new start asks at once
        wait_for(lambda: last in held(), within_s=60, what="the last one")
