"""`dicom-node erase PATIENT-ID`: give up everything of a patient, because the law says so.

The ledger holds no Patient ID, so the headers of all files that are there are read. Of files that
were removed before it holds a keyed digest, which is compared.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.commands import flags
from dicom_node.config.loading import load_config
from dicom_node.config.whole import Config
from dicom_node.deliver.keeping import purger_of
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import exists, name_of, require_sound
from dicom_node.ledger.keeping.discards import aside_of, owner_of
from dicom_node.ledger.ledger import Ledger
from dicom_node.observe.log import configure, os_reason
from dicom_node.spool.patients import UNREADABLE, PatientKey, patient_id_of
from dicom_node.spool.pledges import Pledges
from dicom_node.spool.purge import Purger


@dataclass(frozen=True, slots=True)
class Erase:
    """What was asked for."""

    config: Path
    patient_id: str
    yes: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `erase`."""
    flags.add_config(parser)
    parser.add_argument("patient_id", metavar="PATIENT-ID", help="Patient ID (0010,0020), exactly")
    parser.add_argument("--yes", action="store_true", help="erase; without it, say what would go")
    flags.gives(parser, Erase)


def run(arguments: Erase) -> int:
    """Say what there is of the patient, and erase it with --yes; 1 when something had to stay."""
    config = load_config(arguments.config)
    configure("console", "error")
    where = config.ledger_at
    require_sound(where)
    if not exists(where):
        sys.stderr.write(f"dicom-node: no node has run on {name_of(where)}\n")
        return FAILED
    ledger = Ledger.open(where, owner=config.node.name)
    key = PatientKey.found(config.node.data_dir)
    patient_id = arguments.patient_id.strip()
    purger, pledges = purger_of(config, ledger), Pledges(config.node.data_dir)
    if arguments.yes:
        if not purger.remember_holds():
            sys.stderr.write("dicom-node: what is on hold cannot be read: see the folder holds\n")
            return FAILED
        purger.take_back()
    found = _with_files(config, ledger, patient_id)
    studies = found.studies
    if key is not None:
        studies |= ledger.endings.of_patient(key.digest(patient_id), key.name)
    left = 0
    for study in sorted(studies):
        if not arguments.yes:
            sys.stdout.write(f"study {study} would be erased\n")
        elif why := _erase(ledger, purger, pledges, study):
            sys.stderr.write(f"dicom-node: {why}\n")
            left += 1
        else:
            sys.stdout.write(f"study {study} is erased\n")
    if arguments.yes:
        purger.unlink_listed()
        ledger.endings.tidy()
    sys.stdout.write(f"{len(studies)} studies of this patient\n")
    unknown = ledger.endings.of_unknown(key.name if key else "") - studies
    is_all = _say_what_is_left(config, ledger, found, unknown)
    return 0 if is_all and not left else FAILED


def _say_what_is_left(config: Config, ledger: Ledger, found: _Found, unknown: set[str]) -> bool:
    """Tell what this command could not erase; whether that is nothing."""
    says = [f"{path}: cannot be read; look yourself whose it is" for path in found.unreadable]
    says += [
        f"{path}: is of this patient and has no row: remove it, or `dicom-node recover` and erase "
        "once more"
        for path in found.rowless
    ]
    says += [
        f"files of {number} studies are in the data folder of node {name}: erase there, too"
        for name, number in sorted(found.elsewhere.items())
    ]
    waiting = ledger.discards.of_others().items()
    going = Counter(to for path, to in waiting if not (config.node.data_dir / path).exists())
    says += [
        f"{number} files that were given up are in the data folder of node {name}: they are gone "
        f"after its next round, or `dicom-node purge` there"
        for name, number in sorted(going.items())
    ]
    data_dir = config.node.data_dir
    here = [p for p in ledger.discards.paths() for p in {p, aside_of(p)} if (data_dir / p).exists()]
    if here:
        says.append(f"{len(here)} files and folders that were given up are still there: the node "
                    "tries again every minute, and its log tells why")  # fmt: skip
    says += [
        f"study {study}: its files were removed, and here nobody can tell whose it was: ask on the "
        "node that had them, or look for its UID in the PACS"
        for study in sorted(unknown)
    ]
    for what in says:
        sys.stderr.write(f"dicom-node: {what}\n")
    return not says


def _erase(ledger: Ledger, purger: Purger, pledges: Pledges, study: str) -> str:
    """Why a study stays; empty when it is erased."""
    received = [i.sop_instance_uid for i in ledger.retention.inputs(study)]
    try:
        is_erased = ledger.endings.erase(study, lambda: purger.set_aside(study))
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"study {study}: its folders cannot be set aside: {os_reason(error)}"
    if is_erased:
        pledges.break_promises(received)
    return "" if is_erased else f"study {study} is under way; try again when it is done or parked"


@dataclass
class _Found:
    """What files say whose they are."""

    studies: set[str] = field(default_factory=set)
    """Of the patient."""
    rowless: list[Path] = field(default_factory=list)
    """Of the patient, and the ledger does not know them."""
    unreadable: list[Path] = field(default_factory=list)
    elsewhere: Counter[str] = field(default_factory=Counter)
    """How many studies have files that only another node sees, by its name."""


def _with_files(config: Config, ledger: Ledger, patient_id: str) -> _Found:
    """Read every file that there is, files aside among them."""
    found, elsewhere = _Found(), set()
    for study, path in _files(config, ledger):
        try:
            owner = patient_id_of(path)
        except FileNotFoundError:
            if name := owner_of(str(path.relative_to(config.node.data_dir))):
                elsewhere.add((name, study))
        except UNREADABLE:
            found.unreadable.append(path)
        else:
            if owner == patient_id and study:
                found.studies.add(study)
            elif owner == patient_id:
                found.rowless.append(path)
    if ledger.database.is_shared:
        others = (name for name, study in elsewhere if study not in found.studies)
        found.elsewhere = Counter(name for name in others if name != config.node.name)
    return found


def _files(config: Config, ledger: Ledger) -> Iterator[tuple[str, Path]]:
    for study in {r.study_instance_uid for r in ledger.queries.all_revisions()}:
        for one in ledger.retention.inputs(study):
            yield study, config.spool_dir / one.path
        for path in ledger.retention.result_paths(study):
            yield study, config.node.data_dir / path
    for aside in config.spool_dir.rglob("lost+found/*"):
        yield "", aside
