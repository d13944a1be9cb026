"""What of a study may be removed: pure rules, asked before a removal and again while it is written.

Results may go when every destination has proven to keep them, inputs when moreover the source is
known to hold the slides. Age comes after that, and a full disk replaces age and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.ledger.states import DeliveryState, Proof, State

_AT_REST = (State.DONE, State.PARKED, State.SUPERSEDED)
HELD_S = 24 * 3600.0
"""How long it is believed that the source holds what it was seen to hold."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says."""

    inputs_s: float
    results_s: float
    parked_s: float
    ledger_s: float
    source_holds_slides: bool
    require_commitment: bool
    believed: frozenset[str] = frozenset()
    """Destinations whose answer to C-STORE is enough."""
    commits_only: frozenset[str] = frozenset()
    """Destinations of which only storage commitment is proof."""
    keep_inputs: bool = False
    """Whether received files never go."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One object of one revision at one destination."""

    revision: int
    destination: str
    state: DeliveryState
    proof: Proof | None
    proven_at: float
    """When it was proven, or else taken."""


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What the ledger knows of a study that matters here."""

    study_instance_uid: str
    states: tuple[State, ...]
    """Of every revision, the newest last."""
    finished_at: float
    """Of the newest revision."""
    last_received_at: float
    made: frozenset[int]
    """Revisions of which there are objects."""
    sent: tuple[Sent, ...]
    held_at: float | None
    """When the source was last seen to hold every input; None if not of all."""
    is_on_hold: bool
    is_promised: bool = False
    """Whether a sender was told that we keep a received file that is there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something may go."""

    may_go: bool
    why: str


def inputs(facts: StudyFacts, policy: Policy, now: float, *, pressed: bool = False) -> Verdict:
    """Of the received files."""
    refusal = _never(facts) or _inputs_stay(facts, policy) or _unproven(facts, policy)
    if refusal:
        return Verdict(False, refusal)
    if not _source_holds(facts, policy, now):
        return Verdict(False, "nobody knows that the source holds the slides")
    if facts.states[-1] is State.PARKED:
        return _aged(facts.finished_at, policy.parked_s, now, "parked")
    since = max(facts.finished_at, facts.last_received_at, _proven_at(facts))
    return _aged(since, 0.0 if pressed else policy.inputs_s, now, "proven")


def waits_for_source(facts: StudyFacts, policy: Policy, now: float) -> bool:
    """Whether inputs could go soon if the source were known to hold them; full disk or not."""
    if _never(facts) or _inputs_stay(facts, policy) or _unproven(facts, policy):
        return False
    if _source_holds(facts, policy, now):
        return False
    return facts.states[-1] is not State.PARKED or now - facts.finished_at >= policy.parked_s


def results(facts: StudyFacts, policy: Policy, now: float, *, pressed: bool = False) -> Verdict:
    """Of the objects that were made."""
    refusal = _never(facts) or _unproven(facts, policy)
    if refusal:
        return Verdict(False, refusal)
    if facts.states[-1] is State.PARKED:
        return _aged(facts.finished_at, max(policy.parked_s, policy.results_s), now, "parked")
    since = max(facts.finished_at, _proven_at(facts))
    return _aged(since, 0.0 if pressed else policy.results_s, now, "proven")


def tiles(facts: StudyFacts, policy: Policy, now: float) -> Verdict:
    """Of tiles kept for an analysis to go on with: whatever is removed can be computed again."""
    if refusal := _never(facts):
        return Verdict(False, refusal)
    is_parked = facts.states[-1] is State.PARKED
    wait_s = policy.parked_s if is_parked else policy.inputs_s
    return _aged(facts.finished_at, wait_s, now, "parked" if is_parked else "done")


def rows(facts: StudyFacts, policy: Policy, now: float) -> Verdict:
    """Of everything that the ledger knows; asked only where no file is left that may not go."""
    if refusal := _never(facts) or _inputs_stay(facts, policy):
        return Verdict(False, refusal)
    since = max(facts.finished_at, facts.last_received_at)
    return _aged(since, policy.ledger_s, now, "finished")


def is_proven(sent: Sent, policy: Policy) -> bool:
    """Whether a destination is known to keep one object."""
    if sent.state is not DeliveryState.DELIVERED:
        return False
    if not policy.require_commitment or sent.destination in policy.believed:
        return True
    if sent.destination in policy.commits_only:
        return sent.proof is Proof.COMMITTED
    return sent.proof in (Proof.COMMITTED, Proof.FOUND)


def _never(facts: StudyFacts) -> str:
    if facts.is_on_hold:
        return "on hold"
    under_way = [state for state in facts.states if state not in _AT_REST]
    return f"{under_way[0]}" if under_way else ""


def _inputs_stay(facts: StudyFacts, policy: Policy) -> str:
    """Why received files stay for ever, if they do and there are any."""
    if facts.is_promised:
        return "promised to a sender"
    return "kept for ever" if policy.keep_inputs and facts.last_received_at else ""


def _unproven(facts: StudyFacts, policy: Policy) -> str:
    """Why the results are not proven; empty where they are, or where a parked study has none."""
    newest = len(facts.states)
    if newest not in facts.made:
        return "" if facts.states[-1] is State.PARKED else "no results"
    current = [s for s in facts.sent if s.revision == newest]
    if not current:
        return "sent to nobody"
    for sent in current:
        if not is_proven(sent, policy):
            return f"not proven at {sent.destination}"
    has_proof = any(s.proof in (Proof.COMMITTED, Proof.FOUND) for s in current)
    if policy.require_commitment and not has_proof:
        return "no destination gives proof"
    for sent in facts.sent:
        # What was replaced before it was taken, or is known to be lost, nobody waits for.
        was_taken = sent.state is DeliveryState.DELIVERED and sent.proof is not Proof.LOST
        if sent.revision != newest and was_taken and not is_proven(sent, policy):
            return f"an earlier result is not proven at {sent.destination}"
    return ""


def _source_holds(facts: StudyFacts, policy: Policy, now: float) -> bool:
    seen = facts.held_at is not None and now - facts.held_at <= HELD_S
    return policy.source_holds_slides or seen


def _proven_at(facts: StudyFacts) -> float:
    return _latest(s.proven_at for s in facts.sent if s.revision == len(facts.states))


def _latest(times: Iterable[float]) -> float:
    return max(times, default=0.0)


def _aged(since: float, wait_s: float, now: float, what: str) -> Verdict:
    days = (now - since) / 86400
    if now - since < wait_s:
        return Verdict(False, f"{what} {days:.1f} days ago, kept {wait_s / 86400:g} days")
    return Verdict(True, f"{what} {days:.1f} days ago")
