"""The egress process: what leaves the node. No model and no workflows: rows of the ledger, lanes.

One lane per destination, so that a sick one costs nobody but itself; a slide under analysis delays
no delivery, and a destination that hangs delays no analysis. What is due stands in the ledger, so
whatever ends the process loses nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from dicom_node.config.whole import Config
from dicom_node.deliver.finishing import tend
from dicom_node.deliver.keeping import purger_of
from dicom_node.deliver.lanes import Lanes
from dicom_node.deliver.reporting import Reporters
from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged, LedgerFailed
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.states import State
from dicom_node.notify.lookout import Lookout
from dicom_node.observe.log import place_of, trace_of
from dicom_node.observe.rounds import Rounds
from dicom_node.processes.heartbeat import NOBODY, Heart
from dicom_node.spool.purge import Purger
from inference.lock import held

log = structlog.get_logger()

_ROUND_S = 0.5
_PURGE_EVERY_S = 60.0
_AFTER_ERROR_S = 5.0
_HANGS_AFTER_S = 900.0
"""A thread that does not go round: longer than an object takes over a slow line, with the query
after it, and than a file of gigabytes takes to be read."""
_PURGES_WITHIN_S = 86400.0
"""One round may read whole studies, all that have become due."""


def run_egress(config: Config, stop: threading.Event, heart: Heart = NOBODY) -> None:
    """Deliver until `stop` is set, then let what is being sent finish within the drain time.

    Another one on the same data folder is waited for: two would send everything twice.
    """

    def waits(holder: str) -> None:
        log.warning("waiting_for_lock", lock="egress.lock", held_by=holder)

    with held(
        config.node.data_dir / "egress.lock", stop=stop, waits=waits, looks=heart.waits
    ) as is_alone:
        if is_alone:
            _serve(config, stop, heart)


def _serve(config: Config, stop: threading.Event, heart: Heart) -> None:
    ledger = EgressLedger.open(config.ledger_at, owner=config.node.name)
    rounds = Rounds(stop)
    lanes = Lanes(config, ledger, rounds)
    lanes.start()
    reporters = Reporters(config, ledger, rounds)
    reporters.start()
    Lookout(config, ledger, rounds).start()
    log.info("egress_started", destinations=[d.name for d in config.destinations])
    purger = purger_of(config, ledger)
    purging = threading.Thread(target=_purge, args=(purger, rounds), name="purge", daemon=True)
    purging.start()
    watch = _Watch(rounds, _patience_of(config), heart)
    pause_s = 0.0
    while not stop.wait(pause_s):
        watch.look()
        pause_s = _ROUND_S
        try:
            _round(config, ledger)
        except LedgerBusy as error:
            log.warning("ledger_busy", error=str(error))
        except LedgerFailed:
            raise  # damaged: the node ends
        except Exception as error:  # noqa: BLE001 - the lanes go on whatever it is
            log.error("round_failed", error=place_of(error), trace=trace_of(error))
            pause_s = _AFTER_ERROR_S
    log.info("egress_draining")
    deadline = time.monotonic() + config.node.drain_s
    lanes.join(deadline - time.monotonic())
    reporters.join(deadline - time.monotonic())  # what still sends goes on after the next start
    log.info("egress_stopped")


class _Watch:
    """Beats as long as every thread goes round, and says once which does not: the supervisor ends
    the process then, and what is due stands in the ledger."""

    def __init__(self, rounds: Rounds, patience_s: Callable[[str], float], heart: Heart) -> None:
        self._rounds = rounds
        self._patience_s = patience_s
        self._heart = heart
        self._told: set[str] = set()

    def look(self) -> None:
        """Look once; call it more often than the supervisor's patience lasts."""
        silent = self._rounds.silent(self._patience_s)
        for name in sorted(silent.keys() - self._told):
            log.error("thread_hangs", thread=name, silent_s=round(silent[name]))
        self._told = set(silent)
        if not silent:
            self._heart.beat()


def _patience_of(config: Config) -> Callable[[str], float]:
    """Seconds until a thread is held to hang, by its name."""
    by_name = {
        "purge": _PURGES_WITHIN_S,
        "lookout": _HANGS_AFTER_S + 2 * config.notify.timeout_s,  # a command and a webhook
    }
    return lambda name: by_name.get(name, _HANGS_AFTER_S)


def _purge(purger: Purger, stop: threading.Event) -> None:
    """Remove what may go, until `stop`: apart from the lanes, which it must not hold up."""
    pause_s = 0.0
    while not stop.wait(pause_s):
        pause_s = _PURGE_EVERY_S
        try:
            purger.round()
        except LedgerFailed as error:
            log.warning("ledger_busy", error=str(error))
        except Exception as error:  # noqa: BLE001 - what cannot be removed holds nothing else up
            log.error("purge_failed", error=place_of(error), trace=trace_of(error))


def _round(config: Config, ledger: EgressLedger) -> None:
    """Finish what is delivered; an error nobody expected parks that study and no other."""
    known = {d.name for d in config.destinations}
    for revision in ledger.queries.in_state(State.DELIVERING):
        try:
            tend(ledger, revision, known)
        except (LedgerBusy, LedgerDamaged):
            raise  # of the database, so of all studies
        except Exception as error:  # noqa: BLE001 - whatever it is, the other studies go on
            log.error("study_failed", study=revision.study_instance_uid, trace=trace_of(error))
            ledger.deliveries.park(revision.run, f"unexpected {place_of(error)}")
