"""What outlives the database: promises to senders, and holds."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import pytest

from dicom_node.cli import main
from dicom_node.config.loading import load_config
from dicom_node.config.whole import Config
from dicom_node.deliver.keeping import purger_of
from dicom_node.deliver.reporting import _Reporter
from dicom_node.ledger.keeping.inquiries import Inquiry
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance
from dicom_node.ledger.states import State
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY
from dicom_node.spool.filing import dataset_digest
from dicom_node.spool.incoming import file_header
from dicom_node.spool.lost_found import LostFile, LostFound
from dicom_node.spool.pledges import Pledges
from dicom_node.spool.spool import Spool

SYNTAX, STUDY = "1.2.840.10008.1.2.1", "1.2.3"
CLASS, FIRST, SECOND = VL_WHOLE_SLIDE_MICROSCOPY.uid, "1.2.3.1", "1.2.3.2"
CONFIG = """[node]
ae_title = "DICOMNODE"
data_dir = "{folder}"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[retention]
inputs_days = 0
parked_days = 0
source_holds_slides = true
require_commitment = false
{more}
"""
PROMISING = "keep_inputs = true\n[commitment]\nscp = true\n"


class Place:
    """A node's data folder with a study of two files, and the database that may be lost."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.toml = folder / "node.toml"
        self.configure(more)
        for uid in (FIRST, SECOND):
            path = folder / "spool" / "ab" / f"{uid}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file_header(CLASS, uid, SYNTAX) + body(uid))
        self.arrive()

    def configure(self, more: str) -> None:
        self.toml.write_text(CONFIG.format(folder=self.folder, more=more))

    @property
    def config(self) -> Config:
        return load_config(self.toml)

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.config.ledger_at, owner=self.config.node.name)

    def arrive(self) -> None:
        for uid in (FIRST, SECOND):
            size, path = len(body(uid)), f"ab/{uid}.dcm"
            self.ledger.arrivals.record(
                ReceivedInstance(uid, CLASS, STUDY, "1.2.9", SYNTAX, size, path, "PACS", "::1")
            )

    def lose_database(self) -> None:
        assert isinstance(self.config.ledger_at, Path)
        for path in self.folder.glob(f"{self.config.ledger_at.name}*"):
            path.unlink()

    def come_again(self, how: str) -> None:
        """The study in the new database."""
        if how == "sent again":
            self.arrive()
            return
        spool = Spool(self.folder / "spool", 0)
        spool.claim()
        assert LostFound(spool).sweep(self.ledger.arrivals.known_paths) == 2
        spool.release()
        assert main(["recover", "--config", str(self.toml)]) == 0

    def purge(self) -> None:
        """Long after the study was parked, with a configuration that keeps nothing."""
        self.configure("")
        ledger = self.ledger
        with ledger.database.write() as db:
            db.exec_driver_sql(f"UPDATE revisions SET state = '{State.PARKED}', finished_at = 5")
            db.exec_driver_sql("UPDATE instances SET received_at = 5")
        purger_of(self.config, ledger).round()

    def files(self) -> int:
        return len(list(self.folder.glob("spool/??/*.dcm")))


def body(uid: str) -> bytes:
    """The identifying elements, so that `recover` knows the file."""
    values = {(0x08, 0x16): CLASS, (0x08, 0x18): uid, (0x20, 0x0D): STUDY, (0x20, 0x0E): "1.2.9"}
    padded = {tag: v.encode() + b"\0" * (len(v) % 2) for tag, v in values.items()}
    elements = (struct.pack("<HH2sH", *tag, b"UI", len(v)) + v for tag, v in padded.items())
    return b"".join(elements)


def promise(place: Place, *uids: str) -> None:
    """As the egress process does that was asked by a sender, up to the word itself."""
    ledger = place.ledger
    ledger.promises.ask("PACS", "9.9", [(CLASS, uid) for uid in uids])
    for uid in uids:
        with LostFile(place.folder / "spool" / "ab" / f"{uid}.dcm") as file:
            ledger.promises.note_digest(uid, dataset_digest(file))
    reporter = _Reporter(place.config, "PACS", None, ledger, threading.Event(), lambda: 0.5)
    (asked,) = ledger.promises.due("PACS", most=9)
    assert isinstance(asked, Inquiry)
    decided = reporter._decided(asked)
    assert decided is not None
    assert set(decided.outcomes.values()) == {"committed"}


@pytest.mark.parametrize("how", ["recovered", "sent again"])
def test_what_was_promised_is_never_removed_though_the_database_was_lost(tmp_path, how):
    place = Place(tmp_path, PROMISING)
    promise(place, FIRST)
    place.lose_database()
    place.come_again(how)
    place.purge()
    assert place.files() == 2
    (planned,) = purger_of(place.config, place.ledger).plan()
    assert (planned.may_go, planned.why) == (False, "promised to a sender")


@pytest.mark.parametrize("how", ["recovered", "sent again"])
def test_what_nobody_was_promised_goes_when_its_time_is_over(tmp_path, how):
    place = Place(tmp_path)
    place.lose_database()
    place.come_again(how)
    place.purge()
    assert place.files() == 0


def test_recover_tells_the_new_database_what_was_promised(tmp_path):
    place = Place(tmp_path, PROMISING)
    promise(place, FIRST)
    place.lose_database()
    place.come_again("recovered")
    with place.ledger.database.read() as db:
        rows = db.exec_driver_sql("SELECT sop_instance_uid FROM instances WHERE promised_at > 0")
        assert rows.scalars().all() == [FIRST]


@pytest.mark.parametrize("how", ["recovered", "sent again"])
def test_a_hold_outlives_the_database_and_ends_when_it_is_released(tmp_path, how, capsys):
    place = Place(tmp_path)
    hold = ["hold", STUDY, "--config", str(place.toml)]
    assert main([*hold, "--reason", "inquest"]) == 0
    place.lose_database()
    place.come_again(how)
    place.purge()
    assert place.files() == 2
    since = place.ledger.holds.since(STUDY)
    assert since is not None
    assert since[1] == "inquest"
    assert main([*hold, "--release"]) == 0
    place.purge()
    assert place.files() == 0


def test_an_erasure_asks_for_holds_of_a_lost_database_and_breaks_promises_for_good(tmp_path):
    place = Place(tmp_path, PROMISING)
    promise(place, FIRST)
    assert main(["hold", STUDY, "--config", str(place.toml)]) == 0
    place.lose_database()
    place.arrive()
    place.ledger.studies.cancel(STUDY)
    purger, pledges = purger_of(place.config, place.ledger), Pledges(tmp_path)
    assert purger.remember_holds()
    with pytest.raises(ValueError, match="on hold"):
        place.ledger.endings.erase(STUDY, list)
    pledges.break_promises([FIRST])
    assert pledges.promised([FIRST, SECOND]) == set()


def test_a_hold_that_this_database_has_released_is_not_put_on_again(tmp_path):
    """A kill, or another node of the same database, left its note."""
    place = Place(tmp_path)
    assert main(["hold", STUDY, "--config", str(place.toml)]) == 0
    place.ledger.holds.release(STUDY)
    place.purge()
    assert place.files() == 0
    assert Pledges(tmp_path).holds() == []


@pytest.mark.parametrize("spoiled", ["promised", "holds"])
def test_nothing_goes_while_what_was_promised_or_held_cannot_be_read(tmp_path, spoiled):
    place = Place(tmp_path)
    if spoiled == "promised":
        (tmp_path / "promised").mkdir()
    else:
        (tmp_path / "holds").mkdir()
        (tmp_path / "holds" / "0.json").write_text("{")
    place.purge()
    assert place.files() == 2


def test_what_a_power_cut_left_half_written_costs_no_other_promise(tmp_path):
    pledges = Pledges(tmp_path)
    pledges.promise([FIRST])
    whole = (tmp_path / "promised").read_bytes()
    (tmp_path / "promised").write_bytes(whole[:-20])
    assert Pledges(tmp_path).promised([FIRST, SECOND]) == set()
    pledges.promise([SECOND])
    assert pledges.promised([FIRST, SECOND]) == {SECOND}
    pledges.promise([FIRST])
    assert Pledges(tmp_path).promised([FIRST, SECOND, STUDY]) == {FIRST, SECOND}
    assert FIRST.encode() not in (tmp_path / "promised").read_bytes()


def test_a_promise_that_cannot_be_written_is_not_given(tmp_path):
    place = Place(tmp_path, PROMISING)
    (tmp_path / "promised").mkdir()
    with pytest.raises(OSError, match="directory"):
        promise(place, FIRST)
    with place.ledger.database.read() as db:
        assert db.exec_driver_sql("SELECT promised_at FROM instances").scalars().all() == [None] * 2


def test_a_study_is_held_once_and_its_note_ends_with_it(tmp_path):
    pledges = Pledges(tmp_path)
    token = pledges.hold(STUDY, "inquest")
    assert pledges.hold(STUDY, "again") == token
    (note,) = Pledges(tmp_path).holds()
    assert (note.study, note.reason, note.token) == (STUDY, "inquest", token)
    pledges.release(STUDY)
    pledges.release(STUDY)
    assert Pledges(tmp_path).holds() == []
