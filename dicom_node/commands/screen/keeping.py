"""What `dicom-node check` says of proof and of removal."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.commands.screen.findings import Finding
from dicom_node.config.whole import Config


def keeping(config: Config) -> Iterator[Finding]:
    """Which reports cannot come, and what can never be removed."""
    senders = {s.ae_title for s in config.senders}
    for destination in config.destinations:
        title = destination.reports_as or destination.ae_title
        if destination.commitment != "never" and title not in senders:
            yield Finding(
                destination.name,
                True,
                f"{title} is not among [[senders]]: its reports of storage commitment are taken on "
                "the association of the request only, and a query decides otherwise",
                warns=True,
            )
    section = config.retention
    if section.require_commitment and all(d.commitment == "never" for d in config.destinations):
        yield Finding("retention", True, "no destination is asked for proof: nothing is ever "
                      "removed", warns=True)  # fmt: skip
    sources = {d.ae_title for d in config.destinations}
    if not section.source_holds_slides and not sources & senders:
        yield Finding(
            "retention",
            True,
            "no sender is a destination that can be asked, and source_holds_slides is not set: "
            "received slides are never removed, and the disk fills up",
            warns=True,
        )
    yield from _promises(config)
    stay = "for ever" if section.keep_inputs else f"{section.inputs_days:g} days"
    yield Finding(
        "retention",
        True,
        f"once proven, received files stay {stay} and results "
        f"{section.results_days:g} days; of parked studies {section.parked_days:g}; the "
        f"ledger tells of them {section.ledger_days:g}",
    )


def _promises(config: Config) -> Iterator[Finding]:
    """Who may ask us to commit to what it sent."""
    if not config.commitment.scp:
        return
    known = config.requestors
    for title in sorted({s.ae_title for s in config.senders}):
        to = known.get(title)
        if to is None:
            says = (
                f"{title} may send, but nobody knows where it takes reports: what it asks is "
                "turned down; add it to [[commitment.requestors]]"
            )
        else:
            says = f"{title} at {to.host}:{to.port} is promised that what it sent is kept for ever"
        yield Finding("commitment", True, says, warns=to is None)
