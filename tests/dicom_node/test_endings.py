"""What is left of a study when its files are gone, and the end of that; what the law erases."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from keeping_pacs import keeping_pacs
from nodes import node

from dicom_node.commands.screen.keeping import keeping
from dicom_node.config.loading import load_config
from dicom_node.ledger.counted import Evidence, LevelEvidence, SlideEvidence
from dicom_node.ledger.keeping.inquiries import Inquiry
from dicom_node.ledger.keeping.promises import Receipt
from dicom_node.ledger.keeping.rules import Policy
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Run
from dicom_node.ledger.states import InquiryState, State
from dicom_node.spool.incoming import file_header
from dicom_node.spool.patients import KEY_FILE, PatientKey
from dicom_node.spool.purge import Purger
from dicom_node.spool.removable import MOST_KEPT_BYTES

DAY_S = 86400.0
CLASS, SYNTAX, STUDY = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.1", "1.2.3"
SMALL, LARGE, VOLUME = "1.2.3.1", "1.2.3.2", "1.2.3.3"
POLICY = Policy(DAY_S, DAY_S, DAY_S, 100 * DAY_S, True, True)


class Place:
    """A data folder with a clock of its own, and a parked study of three files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1e9
        (folder / "spool").mkdir()
        (folder / "results").mkdir()
        self.ledger = Ledger.open(folder / "node.sqlite", clock=lambda: self.now)
        self.purger = Purger(folder, self.ledger, POLICY, 0.0)
        self.ledger.retention.look()

    def park(self, sizes: dict[str, int], patient: bytes = b"P-17", study: str = STUDY) -> None:
        header = struct.pack("<HH2sH", 0x10, 0x20, b"LO", len(patient)) + patient
        for uid, size in sizes.items():
            body = header.ljust(size, b"\0")
            (self.folder / "spool" / f"{uid}.dcm").write_bytes(
                file_header(CLASS, uid, SYNTAX) + body
            )
            self.ledger.arrivals.record(
                ReceivedInstance(uid, CLASS, study, "1.2.9", SYNTAX, size, f"{uid}.dcm", "A", "p")
            )
        levels = tuple(
            LevelEvidence((uid,), "VOLUME" if uid == VOLUME else "THUMBNAIL", 1, 1, "TILED_FULL",
                          1, 1, 1, 1, ())
            for uid in sizes
        )  # fmt: skip
        slide = SlideEvidence("s", "1.2.9", "c", levels)
        run = Run(study, self.ledger.queries.revision(study).revision, 0)
        self.ledger.studies.park_uncounted(run, Evidence(len(sizes), slides=(slide,)), "sick")
        folder = self.folder / "results" / run.folder
        (folder / "tiles-s").mkdir(parents=True)
        (folder / "tiles-s" / "0.npy").touch()
        (folder / "prediction-s.npz").touch()

    def later(self, days: float) -> None:
        """Somebody looks all the time."""
        for _ in range(round(days * 2)):
            self.now += DAY_S / 2
            self.ledger.retention.look()

    def files(self) -> set[str]:
        return {p.name for p in self.folder.rglob("*") if p.suffix in (".dcm", ".npy", ".npz")}


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_a_thumbnail_and_the_map_stay_until_the_rows_end_and_a_large_one_does_not(place):
    place.park({SMALL: MOST_KEPT_BYTES, LARGE: MOST_KEPT_BYTES + 1, VOLUME: 64})
    place.later(2)
    plan = {p.what: p for p in place.purger.plan()}
    assert (plan["inputs"].files, plan["inputs"].may_go) == (2, True)
    assert (plan["tiles"].files, plan["tiles"].may_go) == (1, True)
    place.purger.round()
    assert place.files() == {f"{SMALL}.dcm", "prediction-s.npz"}
    place.later(97)
    place.purger.round()
    assert place.files() == {f"{SMALL}.dcm", "prediction-s.npz"}
    assert "rows" not in {p.what for p in place.purger.plan()}
    place.later(2)
    (rows,) = place.purger.plan()
    assert (rows.what, rows.files, rows.may_go) == ("rows", 2, True)
    place.purger.round()
    assert place.files() == set()
    assert place.ledger.queries.of_study(STUDY) == []
    assert place.ledger.queries.events(STUDY) == []
    assert place.ledger.discards.paths() == []


def test_what_the_node_told_of_itself_and_of_erased_studies_ends_too(place):
    place.park({VOLUME: 64})
    assert place.ledger.endings.erase(STUDY, lambda: [])
    place.ledger.events.record("disk_low")
    place.later(99)
    place.purger.round()
    assert [e.kind for e in place.ledger.queries.events()] == ["study_erased", "disk_low"]
    place.later(2)
    place.purger.round()
    assert place.ledger.queries.events() == []


def test_a_clock_that_jumped_ahead_removes_nothing_sooner(place):
    place.park({VOLUME: 64})
    place.now += 4000 * DAY_S
    place.purger.round()
    assert "prediction-s.npz" in place.files(), "rows, not ten years old"
    place.now -= 4000 * DAY_S
    place.purger.round()
    assert place.ledger.queries.revision(STUDY).state is State.PARKED
    assert "time_not_counted" in [e.kind for e in place.ledger.queries.events()]


def test_what_the_source_was_seen_to_hold_by_a_clock_that_went_back_is_asked_again(place):
    place.park({VOLUME: 64})
    place.ledger.retention.note_held([VOLUME])
    assert place.ledger.retention.facts(STUDY).held_at is not None
    place.now -= 40 * DAY_S
    place.ledger.retention.look()
    assert place.ledger.retention.facts(STUDY).held_at is None


def test_a_study_whose_files_are_gone_is_found_by_its_patient_and_the_id_is_nowhere(place):
    place.park({VOLUME: 64})
    place.later(2)
    place.purger.round()
    assert f"{VOLUME}.dcm" not in place.files()
    key = PatientKey.found(place.folder)
    assert place.ledger.endings.of_patient(key.digest("P-17"), key.name) == {STUDY}
    assert place.ledger.endings.of_patient(key.digest("P-18"), key.name) == set()
    assert (place.folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    for path in place.folder.rglob("*"):
        assert not path.is_file() or b"P-17" not in path.read_bytes()
    (place.folder / KEY_FILE).unlink()
    other = PatientKey.of(place.folder)
    assert place.ledger.endings.of_unknown(other.name) == {STUDY}, "said, not passed over"


def test_an_erased_study_that_comes_again_at_once_loses_nothing_to_what_a_kill_left(place):
    place.park({VOLUME: 64})
    assert place.ledger.endings.erase(STUDY, lambda: place.purger.set_aside(STUDY))
    place.park({SMALL: 64})  # the same revision of the same study: the same folder
    place.purger.unlink_listed()
    assert place.files() == {f"{SMALL}.dcm", "prediction-s.npz", "0.npy"}
    assert not list(place.folder.glob("results/gone-*"))


def test_an_erased_study_that_comes_again_can_be_asked_for_again(place):
    asked = []
    for _ in range(2):
        place.park({VOLUME: 64})
        with place.ledger.database.write() as db:
            db.exec_driver_sql(
                "INSERT INTO results (study_instance_uid, revision, sop_instance_uid, "
                "sop_class_uid, kind, slide, path, sha256) "
                "VALUES (?, 1, '9', '8', 'k', 's', 'r', '')",
                (STUDY,),
            )
            db.exec_driver_sql(
                "INSERT INTO deliveries (sop_instance_uid, destination, state, attempts, asks, "
                "resends) VALUES ('9', 'pacs', 'delivered', 1, 0, 0)"
            )
        due = place.ledger.commitments.due("pacs", most=9, needs_commitment=False)
        asked.append(place.ledger.commitments.open("pacs", due))
        assert place.ledger.endings.erase(STUDY, lambda: place.purger.set_aside(STUDY))
        place.purger.unlink_listed()
    assert None not in asked
    assert place.ledger.commitments.unsent("pacs") == []


def test_results_that_were_set_aside_for_what_was_never_written_get_their_names_again(place):
    place.park({VOLUME: 64})
    before = {p for p in place.folder.rglob("*") if p.suffix in (".npy", ".npz")}

    def fail() -> list[str]:
        place.purger.set_aside(STUDY)
        raise OSError(5, "a disk")

    with pytest.raises(OSError, match="a disk"):
        place.ledger.endings.erase(STUDY, fail)
    assert list(place.folder.glob("results/gone-*"))
    (place.folder / "results" / "gone-by-a-person").mkdir()
    place.purger.unlink_listed()
    assert {p for p in place.folder.rglob("*") if p.suffix in (".npy", ".npz")} >= before


def test_an_object_given_up_before_its_study_was_erased_takes_nothing_of_one_that_comes_again(
    place,
):
    place.park({VOLUME: 64})
    made = place.folder / "results" / Run(STUDY, 1, 0).folder / "7.dcm"
    made.touch()
    place.ledger.discards.adopt([str(made.relative_to(place.folder))])  # not unlinked yet
    assert place.ledger.endings.erase(STUDY, lambda: place.purger.set_aside(STUDY))
    made.parent.mkdir()
    made.touch()  # written, and the row is not there yet
    place.purger.unlink_listed()
    assert made.exists()
    assert not list(place.folder.glob("results/gone-*"))


class Killed(BaseException):
    """The process ends here."""


def test_an_object_made_anew_after_a_kill_stays_and_what_was_set_aside_goes(place):
    place.park({VOLUME: 64})
    made = place.folder / "results" / Run(STUDY, 1, 0).folder / "7.dcm"
    made.write_bytes(b"old")
    where = str(made.relative_to(place.folder))
    with place.ledger.database.write() as db:
        db.exec_driver_sql(
            "INSERT INTO results (study_instance_uid, revision, sop_instance_uid, sop_class_uid, "
            "kind, slide, path, sha256, purged_at) VALUES (?, 1, '9', '8', 'k', 's', ?, '', 5)",
            (STUDY, where),
        )
    place.ledger.discards.adopt([where])
    place.purger._remove = lambda _path: (_ for _ in ()).throw(Killed)
    with pytest.raises(Killed):
        place.purger.unlink_listed()
    assert not made.exists(), "set aside, not removed yet"
    made.write_bytes(b"new")  # by a retry
    with place.ledger.database.write() as db:
        db.exec_driver_sql("UPDATE results SET purged_at = NULL")
    Purger(place.folder, place.ledger, POLICY, 0.0).unlink_listed()
    assert made.read_bytes() == b"new"
    assert not list(made.parent.glob("gone-*"))
    assert place.ledger.discards.paths() == []


def test_others_may_write_while_a_large_file_or_a_folder_of_tiles_is_removed(place):
    place.park({VOLUME: 64})
    place.later(2)
    removed = []

    def remove(path: str) -> None:
        place.ledger.events.record("written")  # waits for nobody, or fails after some seconds
        removed.append(path)
        place.purger._aside.remove(path)

    place.purger._remove = remove
    place.purger.round()
    assert len(removed) == 2
    assert place.files() == {"prediction-s.npz"}
    assert not list(place.folder.rglob("gone-*"))
    assert place.ledger.discards.paths() == []


def test_a_file_set_aside_by_a_process_that_ended_then_is_known_and_is_removed(place):
    place.park({VOLUME: 64})
    place.later(2)
    place.purger._remove = lambda _path: (_ for _ in ()).throw(OSError(16, "busy"))
    place.purger.round()
    (left,) = place.folder.glob("spool/gone-*")
    assert left.name in place.ledger.arrivals.known_paths(), "no start moves it to lost+found"
    Purger(place.folder, place.ledger, POLICY, 0.0).unlink_listed()
    assert not left.exists()


def test_a_file_that_an_older_version_took_again_counts_as_there(place):
    place.park({VOLUME: 64})
    content = (place.folder / "spool" / f"{VOLUME}.dcm").read_bytes()
    place.later(2)
    place.purger.round()
    (place.folder / "spool" / f"{VOLUME}.dcm").write_bytes(content)  # it sees no purged_at
    place.ledger.holds.hold(STUDY, "inquest", lambda _path: False)
    Purger(place.folder, place.ledger, POLICY, 0.0).round()
    assert [i.sop_instance_uid for i in place.ledger.retention.inputs(STUDY)] == [VOLUME]


def test_the_number_of_an_event_that_was_erased_is_given_to_no_other(place):
    place.park({VOLUME: 64})
    last = place.ledger.queries.last_event()
    assert place.ledger.endings.erase(STUDY, lambda: [])
    with place.ledger.database.write() as db:
        db.exec_driver_sql("DELETE FROM events")
    place.park({SMALL: 64}, study="1.2.4")
    (told,) = place.ledger.queries.events_after(last, ["study_parked"], 9)
    assert told[0] > last


def asked_about(place: Place) -> set[str]:
    with place.ledger.database.read() as db:
        return set(db.exec_driver_sql("SELECT sop_instance_uid FROM inquiry_items").scalars())


def promised(place: Place, transaction: str, *uids: str) -> Inquiry:
    """A request that was decided, everything known committed to."""
    promises = place.ledger.promises
    assert promises.ask("PACS", transaction, [(CLASS, uid) for uid in uids]) is Receipt.NEW
    (asked,) = [i for i in promises.due("PACS", most=9) if i.transaction_uid == transaction]
    return promises.decide(asked, dict.fromkeys(asked.outcomes, "committed"), promises.kept(uids))


def test_no_request_tells_of_an_erased_study_when_it_has_ended_or_that_it_is_kept(place):
    place.park({VOLUME: 64})
    place.park({SMALL: 64}, study="1.2.4")
    promised(place, "1", VOLUME)
    both = promised(place, "2", VOLUME, SMALL)
    assert place.ledger.endings.erase(STUDY, lambda: [])
    (left,) = place.ledger.promises.due("PACS", most=9)
    assert left.transaction_uid == "2"
    assert left.outcomes == {(CLASS, VOLUME): "0112", (CLASS, SMALL): "committed"}
    assert asked_about(place) == {VOLUME, SMALL}, "the sender has to be told"
    place.ledger.promises.close(both, InquiryState.REPORTED)
    assert asked_about(place) == {SMALL}


def test_what_a_node_of_another_name_left_open_ends_and_stands_in_nobodys_way(place, monkeypatch):
    monkeypatch.setattr("dicom_node.ledger.keeping.promises._MOST_OPEN", 2)
    place.park({VOLUME: 64})
    place.park({SMALL: 64}, study="1.2.4")
    for number in range(2):
        promised(place, f"{number}", VOLUME, SMALL)
    renamed = Ledger.open(place.folder / "node.sqlite", owner="new", clock=lambda: place.now)
    assert renamed.promises.ask("PACS", "9", [(CLASS, SMALL)]) is Receipt.NEW
    assert renamed.endings.erase(STUDY, lambda: [])
    assert asked_about(place) == {SMALL}
    renamed.endings.forget_others(place.now + 1)
    assert asked_about(place) == set()


def break_evidence(place: Place, study: str) -> None:
    with place.ledger.database.write() as db:
        db.exec_driver_sql(
            "UPDATE revisions SET evidence = '{\"slides\": 7}' WHERE study_instance_uid = ?",
            (study,),
        )


def test_a_study_that_cannot_be_read_holds_up_the_purging_of_no_other(place, capsys):
    place.park({SMALL: 64}, study="1.2.2")
    place.park({VOLUME: 64})
    break_evidence(place, "1.2.2")
    place.ledger.events.record("disk_low")
    place.later(2)
    assert {(p.study_instance_uid, p.may_go) for p in place.purger.plan() if p.what != "tiles"} == {
        ("1.2.2", False),
        (STUDY, True),
    }
    place.purger.round()
    assert f"{VOLUME}.dcm" not in place.files()
    assert f"{SMALL}.dcm" in place.files()
    assert "1.2.2" in capsys.readouterr().out
    place.later(100)
    place.purger.round()
    assert "disk_low" not in {e.kind for e in place.ledger.queries.events()}


def test_a_folder_that_cannot_be_removed_holds_up_the_purging_of_no_other(
    place, monkeypatch, capsys
):
    place.park({SMALL: 64}, study="1.2.2")
    place.park({VOLUME: 64})
    place.later(2)
    tiles = place.purger._there.tiles

    def sick(facts):
        if facts.study_instance_uid == "1.2.2":
            raise PermissionError(13, "no")
        return tiles(facts)

    monkeypatch.setattr(place.purger._there, "tiles", sick)
    place.purger.round()
    assert f"{VOLUME}.dcm" not in place.files()
    assert "1.2.2" in capsys.readouterr().out


def test_a_hold_takes_back_what_was_given_up_and_is_still_there(place):
    place.park({VOLUME: 64, SMALL: 64})
    place.later(2)
    place.purger._aside.path = lambda _path: (_ for _ in ()).throw(OSError(16, "busy"))
    place.purger.round()
    assert f"spool/{VOLUME}.dcm" in place.ledger.discards.paths()
    place.ledger.holds.hold(STUDY, "inquest", lambda path: (place.folder / path).exists())
    Purger(place.folder, place.ledger, POLICY, 1000.0).round()
    assert f"{VOLUME}.dcm" in place.files()
    assert len(place.ledger.retention.inputs(STUDY)) == 2
    with pytest.raises(ValueError, match="on hold"):
        place.ledger.endings.erase(STUDY, lambda: [])


def test_a_damaged_study_is_not_removed_and_not_read_again_every_minute(place, monkeypatch):
    place.park({VOLUME: 64})
    (place.folder / "spool" / f"{VOLUME}.dcm").write_bytes(b"short")
    place.later(2)
    read: list[str] = []
    digest = place.purger._digest
    monkeypatch.setattr(place.purger, "_digest", lambda one: (read.append(one.path), digest(one)))
    place.purger.round()
    place.purger.round()
    assert len(read) == 1
    assert f"{VOLUME}.dcm" in place.files()


def test_check_tells_what_can_never_be_removed(tmp_path):
    with node(tmp_path / "node", 1) as n, keeping_pacs(n.port, commits=False, finds=False) as pacs:
        text = n.config.read_text().replace("port = 1\n", f"port = {pacs.port}\n")
        text += '\n[[senders]]\nae_title = "SCANNER"\nnetworks = ["127.0.0.0/8"]\n'
        n.config.write_text(text)
        says = [f.says for f in keeping(load_config(n.config)) if f.warns]
        assert any("neither storage commitment nor a query" in s for s in says)
        assert any("SCANNER: no destination" in s or ", SCANNER: no" in s for s in says)
        data = load_config(n.config).node.data_dir
        data.mkdir(exist_ok=True)
        ledger = Ledger.open(data / "node.sqlite")
        ledger.arrivals.record(
            ReceivedInstance(VOLUME, CLASS, STUDY, "1.2.9", SYNTAX, 64, "x.dcm", "OLDSCANNER", "p")
        )
        says = [f.says for f in keeping(load_config(n.config)) if f.warns]
        assert any("1 studies came from OLDSCANNER" in s for s in says)
        n.config.write_text(text + "\n[retention]\nsource_holds_slides = true\n")
        says = [f.says for f in keeping(load_config(n.config)) if f.warns]
        assert not any("source_holds_slides" in s for s in says)
