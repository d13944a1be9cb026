"""`dicom-node serve`, and its children `ingest` and `worker` alone."""

from __future__ import annotations

import argparse
import importlib
import os
import threading
from pathlib import Path

import structlog

from dicom_node.config import Config, load_config
from dicom_node.ledger.database import require_sound
from dicom_node.ledger.rows import LedgerBusy, LedgerDamaged
from dicom_node.observe.log import configure, os_reason
from dicom_node.processes.supervisor import (
    MAY_PASS,
    REFUSED,
    stop_on_signals,
    supervise,
    watch_supervisor,
)
from dicom_node.spool.spool import SpoolUnusable
from engines.errors import BundleRejected, EngineMissing

log = structlog.get_logger()

_OTHERS = 0o077
_MODULES = {
    "ingest": "dicom_node.processes.ingest",
    "worker": "dicom_node.processes.worker",
}


def run(arguments: argparse.Namespace) -> int:
    """Run the supervisor or one child until SIGTERM; 0 after draining."""
    config = load_config(arguments.config)
    role = arguments.command
    configure(config.log.format, config.log.level, role=role)
    stop = threading.Event()
    stop_on_signals(stop)
    if arguments.supervisor is not None:
        watch_supervisor(arguments.supervisor, stop)
    try:
        _make_private(config)
        if arguments.supervisor is None and not _database_is_sound(config.database_path):
            return REFUSED
        if role == "serve":
            return supervise(config, arguments.config, stop)
        # Imported by role: what the worker needs would triple the memory of ingest.
        module = importlib.import_module(_MODULES[role])
        getattr(module, f"run_{role}")(config, stop)
    except (BundleRejected, EngineMissing) as error:
        log.error("model_refused", reason=str(error))
        return REFUSED
    except LedgerDamaged as error:
        log.error("database_unusable", reason=str(error))
        os._exit(REFUSED)  # a plain exit would wait for threads that may be at work on a slide
    except LedgerBusy as error:
        log.error("cannot_start", reason=str(error))
        return MAY_PASS  # the supervisor starts us again
    except (SpoolUnusable, OSError) as error:
        where = f"{config.node.bind}:{config.node.port}, {config.node.data_dir}"
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        log.error("cannot_start", reason=reason, where=where)
        # A port that is taken stays taken; what breaks a worker may pass.
        return 1 if role == "worker" else REFUSED
    return 0


def _make_private(config: Config) -> None:
    """The data folder, and what an earlier version left in it readable for all, for us alone."""
    folder = config.node.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    database = config.database_path
    made = [folder, config.results_dir, *folder.glob(f"{database.name}*")]
    for path in made:
        mode = path.stat().st_mode if path.exists() else 0
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)


def _database_is_sound(path: Path) -> bool:
    """Whether to start on this database; looked at once a start, by the first process."""
    try:
        require_sound(path)
    except LedgerDamaged as error:
        log.error("database_unusable", reason=str(error))
        return False
    except LedgerBusy as error:
        log.warning("ledger_busy", error=str(error))
    return True
