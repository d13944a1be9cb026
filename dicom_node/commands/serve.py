"""`dicom-node serve`, and its children `ingest`, `worker` and `egress` alone."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from dicom_node.association.tls.contexts import TlsUnusable
from dicom_node.commands import flags
from dicom_node.config.loading import load_config
from dicom_node.config.whole import Config
from dicom_node.deliver.choose import require_known
from dicom_node.exit_status import FAILED, MAY_PASS, REFUSED
from dicom_node.ledger.database.look import Where, require_sound
from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged
from dicom_node.observe.log import configure, os_reason
from dicom_node.processes.heartbeat import Heart
from dicom_node.processes.signals import stop_on_signals
from dicom_node.processes.supervisor import ROLES, supervise, watch_supervisor
from dicom_node.spool.incoming import FULL
from dicom_node.spool.spool import SpoolUnusable
from engines.errors import BundleRejected, EngineMissing

log = structlog.get_logger()

_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Serve:
    """What was asked for."""

    command: str
    """`serve`, or the one role to run."""
    config: Path
    supervisor: int | None
    """The process that started this one as its child."""
    heartbeat: int | None
    """Descriptor of the pipe that it listens to."""


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `serve`, `ingest`, `worker` and `egress`."""
    flags.add_config(parser)
    parser.add_argument("--supervisor", type=int, metavar="PID", help=argparse.SUPPRESS)
    parser.add_argument("--heartbeat", type=int, metavar="FD", help=argparse.SUPPRESS)
    flags.gives(parser, Serve)


def run(arguments: Serve) -> int:
    """Run the supervisor or one child until SIGTERM; 0 after draining."""
    role = arguments.command
    config = load_config(arguments.config)
    require_known(config.destinations)
    configure(config.log.format, config.log.level, role=role)
    stop = threading.Event()
    stop_on_signals(stop)
    if arguments.supervisor is not None:
        watch_supervisor(arguments.supervisor, stop)
    try:
        _make_private(config)
        if arguments.supervisor is None and not _database_is_sound(config.ledger_at):
            return REFUSED
        if role == "serve":
            return supervise(config, arguments.config, stop)
        ROLES[role](config, stop, Heart(arguments.heartbeat))
        _leave()
    except (BundleRejected, EngineMissing) as error:
        log.error("model_refused", reason=str(error))
        return REFUSED
    except TlsUnusable as error:
        log.error("tls_unusable", reason=str(error))
        return REFUSED
    except LedgerDamaged as error:
        log.error("database_unusable", reason=str(error))
        os._exit(REFUSED)  # a plain exit would wait for threads that may be at work on a slide
    except LedgerBusy as error:
        log.error("cannot_start", reason=str(error))
        return MAY_PASS  # the supervisor starts us again
    except (SpoolUnusable, OSError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        log.error("cannot_start", reason=reason, where=_where(config))
        if isinstance(error, OSError) and error.errno in FULL:
            return MAY_PASS  # there will be room again
        # A port that is taken stays taken; what breaks the others may pass.
        return FAILED if role in ("worker", "egress") else REFUSED


def _leave() -> NoReturn:
    """End this process now, all it held is written and closed. A plain exit takes seconds to take
    everything apart, and waits for threads of libraries: the workflow library's may wait for ever
    for a database that is closed."""
    with suppress(OSError):  # nobody reads what was said
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _where(config: Config) -> str:
    """Ports and folder, for whoever looks for what is in the way."""
    where = f"{config.node.bind}:{config.node.port}, {config.node.data_dir}"
    if config.node.tls is None:
        return where
    return f"{config.node.bind}:{config.node.tls.port} (TLS), {where}"


def _make_private(config: Config) -> None:
    """The data folder, and what an earlier version left in it readable for all, for us alone."""
    folder = config.node.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    database = config.sqlite_file
    made = [folder, config.results_dir, *folder.glob(f"{database.name}*")]
    for path in made:
        mode = path.stat().st_mode if path.exists() else 0
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)


def _database_is_sound(where: Where) -> bool:
    """Whether to start on this database; looked at once per start, by the first process."""
    try:
        require_sound(where)
    except LedgerDamaged as error:
        log.error("database_unusable", reason=str(error))
        return False
    except LedgerBusy as error:
        log.warning("ledger_busy", error=str(error))
    return True
