"""What `dicom-node check` says of proof and of removal."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.commands.screen.findings import Finding
from dicom_node.config.peers import Destination
from dicom_node.config.whole import Config
from dicom_node.deliver import dimse
from dicom_node.ledger.database.look import exists
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import Ledger
from dicom_node.sop_classes import STORAGE_COMMITMENT, STUDY_ROOT_FIND

_MOST_NAMED = 5


def keeping(config: Config) -> Iterator[Finding]:
    """Which reports cannot come, and what can never be removed."""
    senders = {s.ae_title for s in config.senders}
    for destination in config.destinations:
        title = destination.reports_as or destination.ae_title
        if destination.commitment != "never" and title not in senders:
            yield _warning(
                destination.name,
                f"{title} is not among [[senders]]: its reports of storage commitment are taken on "
                "the association of the request only, and a query decides otherwise",
            )
        if says := _cannot_prove(config, destination, senders):
            yield _warning(destination.name, says)
    section = config.retention
    if section.require_commitment and all(d.commitment == "never" for d in config.destinations):
        yield _warning("retention", "no destination is asked for proof: nothing is ever removed")
    titles = {d.ae_title for d in config.destinations}
    if not section.source_holds_slides and (mute := senders - titles):
        yield _warning(
            "retention",
            f"{', '.join(sorted(mute))}: no destination with that AE title, so it cannot be asked "
            "whether it holds its slides, and source_holds_slides is not set: what it sends is "
            "never removed",
        )
    yield from _promises(config)
    yield from _stuck(config, titles)
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


def _cannot_prove(config: Config, destination: Destination, senders: set[str]) -> str:
    """What a destination does not offer that something is removed for; empty if nothing, or if it
    does not answer, which is told elsewhere."""
    is_source = destination.ae_title in senders and not config.retention.source_holds_slides
    if destination.commitment == "never" and not is_source:
        return ""
    try:
        wanted = [STORAGE_COMMITMENT, STUDY_ROOT_FIND]
        association = dimse.associate(destination, config.node.ae_title, wanted)
        offered = {c.abstract_syntax for c in association.accepted_contexts}
        has_answered = association.is_established or bool(association.rejected_contexts)
        if association.is_established:
            association.release()
    except dimse.NETWORK_FAULTS:
        return ""
    if not has_answered:
        return ""
    commits, finds = STORAGE_COMMITMENT.uid in offered, STUDY_ROOT_FIND.uid in offered
    if destination.commitment == "required" and not commits:
        return "offers no storage commitment, and nothing else counts: what it gets never goes"
    if destination.commitment == "auto" and not (commits or finds):
        return (
            "offers neither storage commitment nor a query: what it gets is never proven and never "
            'removed; commitment = "never" believes its answer, where another destination proves'
        )
    if is_source and not finds:
        return "offers no query, so it cannot be asked for its slides: they are never removed"
    return ""


def _stuck(config: Config, titles: set[str]) -> Iterator[Finding]:
    """What is here already and can never go as the configuration is."""
    try:
        if not exists(config.ledger_at):
            return
        queries = Ledger.open(config.ledger_at).queries
        unproven, senders, lost = queries.unproven(), queries.senders(), queries.lost()
    except LedgerFailed:
        return  # told elsewhere
    for name, by_study in lost.items():
        studies = sorted(by_study)
        others = f" and {len(studies) - _MOST_NAMED} more" if len(studies) > _MOST_NAMED else ""
        yield _warning(
            name,
            f"{sum(by_study.values())} results that it took are lost there and are not sent again "
            "by themselves: `dicom-node retry` sends those of a study, which are "
            f"{', '.join(studies[:_MOST_NAMED])}{others}",
        )
    known = {d.name for d in config.destinations}
    for name in sorted(set(unproven) - known):
        yield _warning(
            "retention",
            f"{unproven[name]} results were taken by {name}, which is no longer among the "
            "destinations: nobody asks it for proof, and their studies are never removed; put it "
            'back, with commitment = "never" to believe it',
        )
    if config.retention.source_holds_slides:
        return
    strangers = set(senders) - titles - {s.ae_title for s in config.senders}
    for title in sorted(strangers):
        yield _warning(
            "retention",
            f"received files of {senders[title]} studies came from {title}, which cannot be asked "
            "whether it holds them: they are never removed unless source_holds_slides is set",
        )


def _warning(what: str, says: str) -> Finding:
    return Finding(what, True, says, warns=True)
