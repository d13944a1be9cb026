"""Tables of the statement, each from the value that the code itself uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_node.association.limits import ACCEPTED, REQUESTED
from dicom_node.association.wire import (
    APPLICATION_CONTEXT_UNKNOWN,
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    CONGESTION,
    LIMIT_EXCEEDED,
    VERSION_UNKNOWN,
)
from dicom_node.config.sections import DeliverySection, NodeSection
from dicom_node.config.tls import NodeTls
from dicom_node.results.kinds import KINDS, result_classes
from dicom_node.services import echo
from dicom_node.services.store import handler
from dicom_node.services.store.status import StoreStatus
from dicom_node.sop_classes import (
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    VERIFICATION,
    SopClass,
)

_SCP_MEANING = {
    StoreStatus.SUCCESS: (
        "Success",
        "File, folder entry and database row are durable, or the same bytes were here already",
    ),
    StoreStatus.PROCESSING_FAILURE: ("Failure: processing failure", "An error nobody expected"),
    StoreStatus.DUPLICATE: (
        "Failure: duplicate SOP Instance",
        "The SOP Instance UID is known with other content; the first stays",
    ),
    StoreStatus.CLASS_NOT_SUPPORTED: (
        "Failure: SOP Class not supported",
        "The command names another class than the presentation context",
    ),
    StoreStatus.OUT_OF_RESOURCES: (
        "Refused: out of resources",
        "The reserve of the disk is reached, or storage or database cannot be written: send later",
    ),
    StoreStatus.MISMATCH: (
        "Error: data set does not match SOP Class",
        "Class or instance of the command differ from the data set",
    ),
    StoreStatus.UNPARSABLE: ("Error: cannot understand", "The data set cannot be parsed"),
    StoreStatus.NO_SOP_UID: ("Error: cannot understand", "A SOP UID is missing"),
    StoreStatus.NO_STUDY_UID: ("Error: cannot understand", "Study Instance UID is missing"),
    StoreStatus.NO_SERIES_UID: ("Error: cannot understand", "Series Instance UID is missing"),
    StoreStatus.ILLEGAL_UID: ("Error: cannot understand", "A UID is not one (PS3.5 9.1)"),
    StoreStatus.HEADER_TOO_LARGE: (
        "Error: cannot understand",
        "The identifying attributes are not in the first 2 MiB, or come behind 2000 items",
    ),
    StoreStatus.OWN_RESULT: (
        "Error: cannot understand",
        "The instance is a result of a dicom-node (Manufacturer), and no slide to analyze",
    ),
}
SCU_BEHAVIOR = (
    ("0000", "Success", "Delivered"),
    ("Bxxx", "Warning", "Delivered; the status is kept"),
    (
        "0111",
        "Duplicate SOP Instance",
        "Delivered, unless a query, or the object itself by C-GET where that is offered, "
        "shows other content: not sent again then",
    ),
    ("A7xx", "Refused: out of resources", "Sent again later"),
    ("0110", "Processing failure", "Sent again later"),
    ("0213", "Resource limitation", "Sent again later"),
    ("others", "Failure", "Not sent again by itself; the study is parked with the status"),
    ("none", "No answer, abort, no connection", "Sent again later"),
)
"""Status of a C-STORE response, what it is called, and what the sender makes of it."""
_REJECTIONS = (
    (APPLICATION_CONTEXT_UNKNOWN, "application context name not supported",
     "Another application context is named, or none"),
    (CALLING_AE_UNKNOWN, "calling AE title not recognized",
     "The title is not listed, or it comes from an address or with a certificate not its own"),
    (CALLED_AE_UNKNOWN, "called AE title not recognized", "The title is not the node's"),
    (VERSION_UNKNOWN, "protocol version not supported", "Bit 0 of the version is not set"),
    (CONGESTION, "temporary congestion", "The node is stopping, or has no room for connections"),
    (LIMIT_EXCEEDED, "local limit exceeded", "As many associations as configured are open, "
     "in all or of this title"),
)  # fmt: skip


def accepted() -> tuple[SopClass, ...]:
    """SOP classes of the listener."""
    return (*echo.service().sop_classes, *handler.SOP_CLASSES, STORAGE_COMMITMENT)


def proposed() -> tuple[SopClass, ...]:
    """SOP classes that are proposed to destinations."""
    return (VERIFICATION, *result_classes().values(), STORAGE_COMMITMENT, STUDY_ROOT_FIND,
            STUDY_ROOT_GET)  # fmt: skip


def services() -> str:
    """SOP classes with the roles that the node takes."""
    taken, offered = accepted(), proposed()
    every = dict.fromkeys([*taken, *offered])
    yes = ("no", "yes")
    rows = [(c.name, c.uid, yes[c in offered], yes[c in taken]) for c in every]
    return table(("SOP Class", "UID", "SCU", "SCP"), rows)


def contexts(classes: Iterable[SopClass], role: str) -> str:
    """Presentation contexts, transfer syntaxes in order of preference."""
    rows = [
        (
            f"{c.name} `{c.uid}`",
            f"{t.keyword} `{t.uid}`",
            "SCU and SCP" if c.both_roles else role,
            "role selection" if c.both_roles else "none",
        )
        for c in classes
        for t in c.transfer_syntaxes
    ]
    head = ("Abstract syntax", "Transfer syntax", "Role", "Extended negotiation")
    return table(head, rows)


def store_scp() -> str:
    """What C-STORE is answered with."""
    rows = [(f"{s:04X}", *_SCP_MEANING[s]) for s in StoreStatus]
    return table(("Status", "Meaning", "When"), rows)


def store_scu() -> str:
    """What is made of the answers of destinations."""
    return table(("Status", "Meaning", "Behavior"), SCU_BEHAVIOR)


def rejections() -> str:
    """Why an association is rejected."""
    rows = [
        (f"{code.result}/{code.source}/{code.reason}", meaning, when)
        for code, meaning, when in _REJECTIONS
    ]
    return table(("Result/source/reason", "Meaning", "When"), rows)


def association_limits() -> str:
    """Lengths and times of associations."""

    def row(what: str, of: str) -> list[str]:
        return [what, *(f"{getattr(limits, of):g}" for limits in (ACCEPTED, REQUESTED))]

    rows = [
        row("Maximum PDU size (bytes)", "pdu_bytes"),
        row("Wait for a connection (s)", "connect_s"),
        row("Wait for association messages (s)", "acse_s"),
        row("Wait for a DIMSE message (s)", "dimse_s"),
        row("Idle association (s)", "network_s"),
    ]
    return table(("Parameter", "As acceptor", "As initiator"), rows)


def parameters() -> str:
    """What can be configured, with defaults."""
    rows = [
        ("Local AE title", "`[node] ae_title`", "none: must be given"),
        ("Port", "`[node] port`", _default(NodeSection, "port")),
        ("Port with TLS", "`[node.tls] port`", _default(NodeTls, "port")),
        ("Address", "`[node] bind`", _default(NodeSection, "bind")),
        ("Associations at once", "`[node] maximum_associations`",
         _default(NodeSection, "maximum_associations")),
        ("Senders: AE title, networks, certificate", "`[[senders]]`", "nobody may send"),
        ("Destinations: AE title, host, port, TLS", "`[[destinations]]`", "none"),
        ("Quiet time before a study closes (s)", "`[node] quiet_time_s`",
         _default(NodeSection, "quiet_time_s")),
        ("First retry of a delivery (s)", "`[delivery] first_retry_s`",
         _default(DeliverySection, "first_retry_s")),
        ("Longest wait between retries (s)", "`[delivery] longest_retry_s`",
         _default(DeliverySection, "longest_retry_s")),
    ]  # fmt: skip
    return table(("Parameter", "Key", "Default"), rows)


def created() -> str:
    """Kinds of objects that the node makes."""
    yes = ("no", "yes")
    rows = [
        (k.name, k.sop_class.name, yes[k.needs_prediction], yes[k.asked], k.instead_of or "none")
        for k in KINDS
    ]
    head = ("Kind", "SOP Class", "Only with a prediction", "Only where asked for", "Stands for")
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _default(section: type[NodeSection | NodeTls | DeliverySection], key: str) -> str:
    value = section.model_fields[key].default
    return f"{value:g}" if isinstance(value, int | float) else str(value)
