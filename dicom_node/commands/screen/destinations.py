"""What `dicom-node check` says of destinations: whether they answer, and what each gets."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID

from dicom_node.commands.screen.findings import Finding
from dicom_node.config.loading import ConfigError
from dicom_node.config.whole import Config
from dicom_node.deliver.choose import require_known
from dicom_node.deliver.dimse import Acceptance, ask
from dicom_node.ledger.database.look import exists
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import Ledger
from dicom_node.results.kinds import result_classes

_ON_LEVEL = (
    "segmentations are sent on the grid of the smallest level on which each tile has a pixel; of a "
    "slide without such a level, on that of the tiles, which its story then says"
)


def destinations(config: Config) -> Iterator[Finding]:
    """What each accepts, and a line for whatever it is sent otherwise than asked.

    What it answers counts for the next study, too.
    """
    try:
        require_known(config.destinations)
    except ConfigError as error:
        yield Finding("destinations", False, str(error))
        return
    for destination in config.destinations:
        answer = ask(destination, config.node.ae_title)
        _keep(config, destination.name, answer)
        where = f"{destination.ae_title}@{destination.host}:{destination.port}"
        if destination.tls is not None:
            where += " over TLS"
        if not answer.reachable:
            yield Finding(destination.name, False, answer.reason)
            continue
        classes = result_classes()
        taken = "; ".join(
            f"{classes[uid].name}: {', '.join(UID(s).name for s in syntaxes) or 'REFUSED'}"
            for uid, syntaxes in answer.accepted.items()
        )
        echo = "echoes" if answer.echoes else "DOES NOT ECHO"
        yield Finding(destination.name, answer.echoes, f"{where} {echo}; {taken}")
        if destination.heatmap_grid == "level":
            yield Finding(destination.name, True, _ON_LEVEL)
        for choice in answer.choices:
            if choice.told:
                is_well = not choice.is_hopeless
                yield Finding(destination.name, is_well, choice.told, warns=is_well)


def _keep(config: Config, name: str, answer: Acceptance) -> None:
    """Note the answer where there is a database; a broken one is told elsewhere."""
    try:
        if exists(config.ledger_at):
            Ledger.open(config.ledger_at).deliveries.note_destination(
                name, answer.reachable, answer.accepted, answer.reason
            )
    except LedgerFailed:
        return
