"""Presentation contexts of the table of SOP classes, as the library wants them."""

from __future__ import annotations

from collections.abc import Sequence

from pynetdicom.presentation import PresentationContext

from dicom_node.sop_classes import SopClass


def accepted_contexts(classes: Sequence[SopClass]) -> list[PresentationContext]:
    """Contexts of the listener: one per class, all its transfer syntaxes."""
    accepted = []
    for sop_class in classes:
        context = _context(sop_class.uid, [t.uid for t in sop_class.transfer_syntaxes])
        if sop_class.both_roles:
            context.scu_role = context.scp_role = True
        accepted.append(context)
    return accepted


def proposed_contexts(classes: Sequence[SopClass]) -> list[PresentationContext]:
    """Contexts offered to a destination: one per class and transfer syntax.

    One each because an acceptor picks a single syntax per context (PS3.8 9.3.3.2): only so do we
    learn everything that it takes, and choose.
    """
    return [_context(c.uid, [t.uid]) for c in classes for t in c.transfer_syntaxes]


def _context(abstract_syntax: str, transfer_syntaxes: list[str]) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = abstract_syntax
    context.transfer_syntax = transfer_syntaxes
    return context
