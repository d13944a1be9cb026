"""Keys of what people are told of, and of what is removed when."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from dicom_node.config.fields import Section
from dicom_node.config.peers import Requestor


class NotifySection(Section):
    """Who is told of parked studies and of disks that fill. Without a key: nobody."""

    command: tuple[str, ...] = ()
    """Program and arguments; gets each notice as one JSON object on its standard input. No shell
    reads it."""
    webhook: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """URL that each notice is posted to as JSON. Redirections are not followed."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds after which a command is killed, or a webhook given up."""
    with_uids: bool = False
    """Whether notices hold the Study Instance UID and the UIDs of reasons."""


class RetentionSection(Section):
    """What is removed when. Nothing goes as long as a destination has not proven that it keeps the
    results; received slides not before the source is known to hold them, too."""

    inputs_days: Annotated[float, Field(ge=0)] = 7
    """Days that received files stay after the results are proven."""
    results_days: Annotated[float, Field(ge=0)] = 30
    """Days that result objects stay after they are proven."""
    parked_days: Annotated[float, Field(ge=0)] = 30
    """Days that everything of a parked study stays, full disk or not."""
    ledger_days: Annotated[float, Field(ge=1)] = 3650
    """Days that the ledger tells of a study after its end, with its thumbnails and predictions."""
    keep_inputs: bool = False
    """Whether received files are never removed, whatever their age and however full the disk: a
    full one refuses what comes. `[commitment] scp` needs it."""
    source_holds_slides: bool = False
    """Whether the site says that the source keeps every slide that it sends. Otherwise received
    files go only where a query finds them at a destination that is the sender, too."""
    require_commitment: bool = True
    """Whether results have to be proven at a destination, by storage commitment or a query."""
    free_target_percent: Annotated[float, Field(ge=0, le=95)] = 20
    """Percent of the disk. With less free, what may go goes before its days are over."""


class CommitmentSection(Section):
    """Whether the node promises senders to keep what they sent (storage commitment as SCP)."""

    scp: bool = False
    """Whether senders may ask. A sender may delete its only copy on the answer, so this needs
    `[retention] keep_inputs = true`; and what was promised is not removed after either is unset."""
    requestors: tuple[Requestor, ...] = ()
    """Senders that are no destination, and where they take reports."""
    give_up_after_s: Annotated[float, Field(gt=0)] = 24 * 3600
    """Seconds since the request. A report that nobody takes until then is given up."""
