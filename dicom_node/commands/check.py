"""`dicom-node check`: one screen that tells whether the node can work, and what to mend."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dicom_node.commands import flags
from dicom_node.commands.screen.destinations import destinations
from dicom_node.commands.screen.findings import Finding
from dicom_node.commands.screen.keeping import keeping
from dicom_node.commands.screen.listener import listener
from dicom_node.commands.screen.shown import shown
from dicom_node.config.loading import load_config
from dicom_node.config.models import ModelEntry
from dicom_node.config.whole import Config
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import Where, exists, name_of, require_sound
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.queries.of_withdrawals import told_of_recalled
from dicom_node.notify.disk import Room, look
from dicom_node.observe.log import configure
from dicom_node.spool.lost_found import LostFound, published_paths
from dicom_node.spool.spool import Spool
from engines.bundle import open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.here.records import Records
from engines.runtime import open_runtime
from inference.answers import require_answerable


@dataclass(frozen=True, slots=True)
class Check:
    """What was asked for."""

    config: Path
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `check`."""
    flags.add_config(parser)
    flags.add_json(parser)
    flags.gives(parser, Check)


def run(arguments: Check) -> int:
    """Print every finding; 0 only when all are well."""
    config = load_config(arguments.config)
    configure("console", "error")
    findings = [Finding("config", True, f"{arguments.config}: valid"), *_findings(config)]
    if arguments.as_json:
        sys.stdout.write(json.dumps([asdict(f) for f in findings], indent=2) + "\n")
    else:
        console = Console(soft_wrap=True)
        for finding in findings:
            mark = Text("ok  ", "green") if finding.ok else Text("BAD ", "bold red")
            if finding.warns:
                mark = Text("WARN", "yellow")
            console.print(mark + shown(f"{finding.what:<12} {finding.says}"))
    return 0 if all(f.ok for f in findings) else FAILED


def _findings(config: Config) -> Iterator[Finding]:
    checks: list[Callable[[Config], Iterator[Finding]]] = [
        _layout,
        listener,
        _senders,
        _database,
        _spool,
        keeping,
        _models,
        destinations,
    ]
    for check in checks:
        yield from check(config)


def _layout(config: Config) -> Iterator[Finding]:
    """Our top-level names are common words: make sure that they are ours."""
    import engines
    import inference

    here = Path(__file__).resolve().parents[2]
    homes = {m.__name__: Path(str(m.__file__)).resolve().parents[1] for m in (engines, inference)}
    strange = {name: str(home) for name, home in homes.items() if home != here}
    yield Finding(
        "packages",
        not strange,
        f"inference and engines come from elsewhere: {strange}; install into a clean environment"
        if strange
        else f"dicom_node, inference and engines are one installation: {here}",
    )


def _senders(config: Config) -> Iterator[Finding]:
    names = ", ".join(
        f"{s.ae_title} from {', '.join(map(str, s.networks))}"
        + (f" with {' or '.join(s.certificate)}" if s.certificate else "")
        for s in config.senders
    )
    yield Finding(
        "senders",
        bool(config.senders),
        names or "nobody may send: add a [[senders]] block with ae_title and networks",
    )


def _database(config: Config) -> Iterator[Finding]:
    """The database, and whether it knows what is on the spool; creates nothing."""
    where = config.ledger_at
    spool = Spool(config.spool_dir, 0, writer=config.spool_writer)
    lost_found = LostFound(spool)
    try:
        require_sound(where)
        published = published_paths(spool)  # first: what arrives meanwhile is no stranger
        is_there = exists(where)
        ledger = Ledger.open(where) if is_there else None
        known = ledger.arrivals.known_paths() if ledger else set()
        paused = list(ledger.switches.paused()) if ledger else []
    except LedgerFailed as error:
        yield Finding("database", False, str(error))
        return
    yield _database_finding(where, is_there, len(known), len(set(published) - known))
    for name in paused:
        yield Finding("paused", False, f"{name}: `dicom-node resume {name}` lets it go on")
    if waiting := len(lost_found.names()):
        yield Finding(
            "lost+found",
            False,
            f"{lost_found.folder}: {waiting} received files that the database does not know; run "
            "`dicom-node recover`, and move away what it has to leave",
        )


def _database_finding(where: Where, is_there: bool, instances: int, unknown: int) -> Finding:
    name = name_of(where)
    if unknown:
        state = f"holds {instances} instances" if is_there else "absent"
        says = (
            f"{name}: {state}, but the spool holds {unknown} files that it does not know: put the "
            "right database back, or start the node and run `dicom-node recover`"
        )
        return Finding("database", False, says)
    if not is_there:
        return Finding("database", True, f"{name}: absent yet; the first start creates it")
    size = f" {where.stat().st_size / 1e6:.1f} MB," if isinstance(where, Path) else ""
    return Finding("database", True, f"{name}: sound,{size} {instances} instances")


def _spool(config: Config) -> Iterator[Finding]:
    spool = config.spool_dir
    try:
        spool.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=spool) as file:
            file.write(b"\0")
    except OSError as error:
        yield Finding("spool", False, f"{spool}: cannot be written: {error.strerror}")
        return
    reserve_mb, percent = config.node.reserve_mb, config.node.warn_free_percent
    room, free_mb = look(spool, reserve_mb, percent, Room.ENOUGH)
    told = {
        Room.ENOUGH: "",
        Room.LOW: "; that will soon be full: free some space",
        Room.NONE: "; C-STORE answers A700: free some space",
    }[room]
    yield Finding(
        "spool",
        room is not Room.NONE,
        f"{spool}: writable, {free_mb} MB free, {reserve_mb} MB kept in reserve{told}",
    )


def _models(config: Config) -> Iterator[Finding]:
    recalled: dict[str, float] = {}
    with suppress(LedgerFailed):  # told elsewhere
        if exists(config.ledger_at):
            recalled = Ledger.open(config.ledger_at).queries.recalled()
    for entry in config.students:
        yield from _model(config, entry, f"{entry.name}: " if config.models else "", recalled)


def _model(
    config: Config, model: ModelEntry, name: str, recalled: dict[str, float]
) -> Iterator[Finding]:
    try:
        bundle = require_answerable(open_bundle(model.bundle))
    except BundleRejected as error:
        yield Finding("bundle", False, f"{name}{error}")
        return
    manifest = bundle.manifest
    label = f"{manifest.name} {manifest.version} ({manifest.status}), digest {bundle.digest[:12]}"
    silent = "; silent: nothing of it is sent" if model.silent else ""
    unit = "; one report of all slides of a study" if manifest.unit == "case" else ""
    yield Finding("bundle", True, f"{name}{label}: every file as listed{unit}{silent}")
    if told := told_of_recalled(bundle.digest, recalled):
        yield Finding("bundle", True, f"{name}{told}", warns=True)
    try:
        with open_runtime(
            bundle,
            engine=model.engine,
            precision=model.precision,
            threads=model.threads,
            records=Records(config.comparisons_dir),
        ) as runtime:
            worst = max(runtime.sit_probe().items(), key=lambda item: item[1])
            chose = "auto chose" if model.engine == "auto" else "using"
            says = f"{chose} {runtime.engine}; probe passed, largest difference {worst[1]:.2g}"
            if runtime.note:
                says = f"{says}; {runtime.note}"
            yield Finding("engine", True, f"{name}{says}")
            for other in runtime.passed_over:
                yield Finding("engine", True, f"{name}{other}")
    except (BundleRejected, EngineMissing, DeviceFailed) as error:
        yield Finding("engine", False, f"{name}{error}")
