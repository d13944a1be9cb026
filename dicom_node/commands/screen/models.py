"""What is told of several models: the share of each in the time that slides took, and its runs."""

from __future__ import annotations

from rich.console import Console

from dicom_node.commands.screen.shown import shown
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Revision


def print_shares(console: Console, ledger: Ledger) -> None:
    """One line where several models have worked."""
    if line := shares(ledger.queries.work_of_models()):
        console.print(shown(f"Time of analysis, of the studies above: {line}"))


def shares(worked_s: dict[str, float]) -> str:
    """Each with its part of the whole, the largest first; empty where none or one has worked.

    Without a name is what took the choice of no model, or the one model of earlier studies.
    """
    whole_s = sum(worked_s.values())
    if len(worked_s) < 2 or whole_s <= 0:
        return ""
    ordered = sorted(worked_s.items(), key=lambda item: -item[1])
    return ", ".join(f"{name or 'no name'} {s / whole_s:.0%} ({s:.1f} s)" for name, s in ordered)


def print_models(console: Console, ledger: Ledger, revision: Revision) -> None:
    """What the current attempt runs of each model, where they have names."""
    for run in ledger.queries.models(revision.run):
        if run.model:
            silent = ", silent" if run.silent else ""
            told = f"{run.bundle_digest[:12]} on {run.engine}, {run.worked_s:.1f} s{silent}"
            console.print(shown(f"  Model     {run.model}: {told}"))
