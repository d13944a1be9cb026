"""Every case, in the order in which they are asked: what harms nobody first."""

from __future__ import annotations

from conformance.case import Case
from conformance.cases import (
    admission,
    commitment,
    completeness,
    contexts,
    fragments,
    hostile,
    large,
    lengths,
    refusals,
    results,
    states,
    storage,
    tls,
    user_information,
    verification,
)

ALL: tuple[Case, ...] = (
    *verification.CASES,
    *admission.CASES,
    *contexts.CASES,
    *user_information.CASES,
    *fragments.CASES,
    *tls.CASES,
    *results.CASES,
    *completeness.CASES,
    *storage.CASES,
    *refusals.CASES,
    *large.CASES,
    *commitment.CASES,
    *states.CASES,
    *lengths.CASES,
    *hostile.CASES,
)
