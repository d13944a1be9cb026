"""What the configuration says of keeping, as the rules want it."""

from __future__ import annotations

from dicom_node.config.whole import Config
from dicom_node.ledger.keeping.rules import Policy
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.spool.purge import Purger

_DAY_S = 86400.0


def policy_of(config: Config) -> Policy:
    """The rules' numbers, in seconds."""
    section = config.retention
    return Policy(
        inputs_s=section.inputs_days * _DAY_S,
        results_s=section.results_days * _DAY_S,
        parked_s=section.parked_days * _DAY_S,
        ledger_s=section.ledger_days * _DAY_S,
        keep_inputs=section.keep_inputs,
        source_holds_slides=section.source_holds_slides,
        require_commitment=section.require_commitment,
        believed=frozenset(d.name for d in config.destinations if d.commitment == "never"),
        commits_only=frozenset(d.name for d in config.destinations if d.commitment == "required"),
    )


def purger_of(config: Config, ledger: EgressLedger) -> Purger:
    """What removes files of this node."""
    target = config.retention.free_target_percent
    return Purger(config.node.data_dir, ledger, policy_of(config), target)
