"""What of a study may be removed: pure rules, asked before a removal and again while it is written.

Results may go when every destination has proven to keep them, inputs when moreover the source is
known to hold the slides. Age comes after that, and a full disk replaces age and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.ledger.states import AT_REST, DeliveryState, Proof, State

HELD_S = 24 * 3600.0
"""How long it is believed that the source holds what it was seen to hold."""
CAME_BACK_S = 3600.0
"""What was removed and sent again is wanted: a full disk leaves it to who asked for it so long."""
UNSEEN_S = 24 * 3600.0
"""So much of a stretch in which nobody looked makes things older. The rest may be a clock that was
set wrong, and what may go is not gone sooner for it."""


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
    """Revisions of which there are objects to be sent."""
    sent: tuple[Sent, ...]
    held_at: float | None
    """When the source was last seen to hold every input; None if not of all."""
    is_on_hold: bool
    is_purged: bool = False
    """Whether received files were removed before, when they might go."""
    unseen: tuple[tuple[float, float], ...] = ()
    """Stretches of time, from and to, in which nobody looked what may go."""
    is_promised: bool = False
    """Whether a sender was told that we keep a received file that is there."""
    silent: frozenset[int] = frozenset()
    """Revisions of which there are objects that go nowhere."""
    hushed: frozenset[int] = frozenset()
    """Revisions that no model was to tell anything of: all that ran were silent."""


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
    since = max(facts.finished_at, facts.last_received_at, _proven_at(facts))
    if facts.states[-1] is State.PARKED:
        return _aged(facts, since, policy.parked_s, now, "parked, or proven since,")
    wait_s = policy.inputs_s
    if pressed:
        came_back = facts.is_purged and facts.last_received_at >= facts.finished_at
        wait_s = min(wait_s, CAME_BACK_S) if came_back else 0.0
    return _aged(facts, since, wait_s, now, "proven")


def waits_for_source(facts: StudyFacts, policy: Policy, now: float) -> bool:
    """Whether inputs could go soon if the source were known to hold them; full disk or not."""
    if _never(facts) or _inputs_stay(facts, policy) or _unproven(facts, policy):
        return False
    if _source_holds(facts, policy, now):
        return False
    is_parked = facts.states[-1] is State.PARKED
    return not is_parked or _age_s(facts, facts.finished_at, now) >= policy.parked_s


def results(facts: StudyFacts, policy: Policy, now: float, *, pressed: bool = False) -> Verdict:
    """Of the objects that were made."""
    refusal = _never(facts) or _unproven(facts, policy)
    if refusal:
        return Verdict(False, refusal)
    since = max(facts.finished_at, _proven_at(facts))
    if facts.states[-1] is State.PARKED:
        wait_s = max(policy.parked_s, policy.results_s)
        return _aged(facts, since, wait_s, now, "parked, or proven since,")
    goes_early = pressed and not facts.silent  # nobody else has silent ones
    return _aged(facts, since, 0.0 if goes_early else policy.results_s, now, "proven")


def tiles(facts: StudyFacts, policy: Policy, now: float) -> Verdict:
    """Of tiles kept for an analysis to go on with: whatever is removed can be computed again."""
    if refusal := _never(facts):
        return Verdict(False, refusal)
    is_parked = facts.states[-1] is State.PARKED
    wait_s = policy.parked_s if is_parked else policy.inputs_s
    return _aged(facts, facts.finished_at, wait_s, now, "parked" if is_parked else "done")


def rows(facts: StudyFacts, policy: Policy, now: float) -> Verdict:
    """Of everything that the ledger knows; asked only where no file is left that may not go."""
    if refusal := _never(facts) or _inputs_stay(facts, policy):
        return Verdict(False, refusal)
    if not facts.is_purged and not (verdict := inputs(facts, policy, now)).may_go:
        return verdict  # what people are left of a study that was never proven stays, too
    since = max(facts.finished_at, facts.last_received_at)
    return _aged(facts, since, policy.ledger_s, now, "finished")


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
    under_way = [state for state in facts.states if state not in AT_REST]
    return f"{under_way[0]}" if under_way else ""


def _inputs_stay(facts: StudyFacts, policy: Policy) -> str:
    """Why received files stay for ever, if they do and there are any."""
    if facts.is_promised:
        return "promised to a sender"
    return "kept for ever" if policy.keep_inputs and facts.last_received_at else ""


def _unproven(facts: StudyFacts, policy: Policy) -> str:
    """Why the results are not proven; empty where they are, or where a study has none to prove:
    parked, or analyzed silently."""
    if len(facts.states) not in facts.made:
        if facts.states[-1] is not State.PARKED and not _is_silent(facts):
            return "no results"
        if not facts.made:
            return ""
    # A parked revision without results leaves those of an earlier one in their place.
    newest = max(facts.made)
    current = [s for s in facts.sent if s.revision == newest]
    if not current:
        return "its results were sent to nobody"
    for sent in current:
        if not is_proven(sent, policy):
            return f"not proven at {sent.destination}: {_standing(sent)}"
    has_proof = any(s.proof in (Proof.COMMITTED, Proof.FOUND) for s in current)
    if policy.require_commitment and not has_proof:
        return "no destination that it went to gives proof"
    for sent in facts.sent:
        # What was replaced before it was taken, or is known to be lost, nobody waits for.
        was_taken = sent.state is DeliveryState.DELIVERED and sent.proof is not Proof.LOST
        if sent.revision != newest and was_taken and not is_proven(sent, policy):
            return f"an earlier result is not proven at {sent.destination}: {_standing(sent)}"
    return ""


def _is_silent(facts: StudyFacts) -> bool:
    """Whether the newest revision has nothing that anybody was to be sent, and rightly so."""
    newest = len(facts.states)
    return newest not in facts.made and newest in facts.silent | facts.hushed


def _standing(sent: Sent) -> str:
    """Where one object stands with a destination that has not proven to keep it."""
    if sent.state is not DeliveryState.DELIVERED:
        return {DeliveryState.PENDING: "not taken yet"}.get(sent.state, "refused there")
    told = {
        Proof.ASKED: "asked, no report yet",
        Proof.FOUND: "found by a query, not committed to",
        Proof.LOST: "lost there",
    }
    return told.get(sent.proof, "taken, no proof yet") if sent.proof else "taken, no proof yet"


def _source_holds(facts: StudyFacts, policy: Policy, now: float) -> bool:
    # A time that is still to come is of a clock that was set back: it tells nothing.
    seen = facts.held_at is not None and 0.0 <= now - facts.held_at <= HELD_S
    return policy.source_holds_slides or seen


def _proven_at(facts: StudyFacts) -> float:
    return _latest(s.proven_at for s in facts.sent if s.revision in facts.made)


def _latest(times: Iterable[float]) -> float:
    return max(times, default=0.0)


def _age_s(facts: StudyFacts, since: float, now: float) -> float:
    """Seconds since then, without those in which nobody looked for too long."""
    unseen = (min(end, now) - max(start, since) - UNSEEN_S for start, end in facts.unseen)
    return now - since - sum(max(0.0, gap) for gap in unseen)


def _aged(facts: StudyFacts, since: float, wait_s: float, now: float, what: str) -> Verdict:
    age_s = _age_s(facts, since, now)
    days = f"{what} {max(0.0, age_s) / 86400:.1f} days ago"
    if age_s < wait_s:
        left = f"{wait_s / 86400:g} days are kept, {(wait_s - age_s) / 86400:.1f} are left"
        return Verdict(False, f"{days}; {left}")
    return Verdict(True, days)
