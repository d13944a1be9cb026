"""The whole configuration, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from dicom_node.config.fields import Section
from dicom_node.config.keeping import CommitmentSection, NotifySection, RetentionSection
from dicom_node.config.models import ModelEntry
from dicom_node.config.peers import Destination, Requestor, Sender
from dicom_node.config.sections import (
    ONLY_NODE,
    AnalysisSection,
    DatabaseSection,
    DeliverySection,
    LogSection,
    ModelSection,
    NodeSection,
    ReportsSection,
)


class Config(Section):
    """The whole configuration."""

    node: NodeSection
    senders: tuple[Sender, ...] = ()
    destinations: Annotated[tuple[Destination, ...], Field(min_length=1)]
    database: DatabaseSection = DatabaseSection()
    model: ModelSection = ModelSection()
    models: tuple[ModelEntry, ...] = ()
    """In the place of `model`: several, each with the slides that it is for."""
    analysis: AnalysisSection = AnalysisSection()
    reports: ReportsSection = ReportsSection()
    delivery: DeliverySection = DeliverySection()
    notify: NotifySection = NotifySection()
    retention: RetentionSection = RetentionSection()
    commitment: CommitmentSection = CommitmentSection()
    log: LogSection = LogSection()

    @field_validator("destinations")
    @classmethod
    def _names_differ(cls, value: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [d.name for d in value]
        if len(set(names)) != len(names):
            raise ValueError(f"destination names must differ, found {names}")
        if taken := {"intake", "analysis"} & set(names):
            raise ValueError(
                f"found a destination named {taken.pop()}, which `pause` has another use for"
            )
        return value

    @model_validator(mode="after")
    def _models_are_told_apart(self) -> Self:
        if self.models and "model" in self.model_fields_set:
            raise ValueError("found [model] and [[models]], expected one of them")
        names = [m.name for m in self.models]
        if len(set(names)) != len(names):
            raise ValueError(f"models: names must differ, found {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _promises_only_what_stays(self) -> Self:
        if self.commitment.scp and not self.retention.keep_inputs:
            raise ValueError(
                "found commitment.scp and no retention.keep_inputs: a sender may delete its only "
                "copy of what the node promises to keep, so set `[retention] keep_inputs = true`, "
                "or promise nothing"
            )
        return self

    @property
    def students(self) -> tuple[ModelEntry, ...]:
        """All models, as they are asked: the highest priority first, then in the file's order."""
        if not self.models:
            return (ModelEntry(name="model", **self.model.model_dump()),)
        return tuple(sorted(self.models, key=lambda m: -m.priority))

    @property
    def requestors(self) -> dict[str, Requestor]:
        """Where reports of storage commitment go, by the calling AE title of the request.

        To the destination of that title, if it is not named otherwise.
        """
        found: dict[str, Requestor] = {}
        for d in self.destinations:
            for title in (d.ae_title, d.reports_as or d.ae_title):
                to = Requestor(
                    ae_title=title,
                    host=d.host,
                    port=d.port,
                    called_ae_title=d.ae_title,
                    tls=d.tls,
                )
                found.setdefault(title, to)
        return found | {r.ae_title: r for r in self.commitment.requestors}

    @property
    def spool_dir(self) -> Path:
        """Received instances."""
        return self.node.data_dir / "spool"

    @property
    def spool_writer(self) -> str:
        """Folder of the spool that this node writes: its own where nodes have names."""
        return "" if self.node.name == ONLY_NODE else f"by-{self.node.name}"

    @property
    def comparisons_dir(self) -> Path:
        """Folder of what `engine compare` found on this host."""
        return self.node.data_dir / "engines"

    @property
    def results_dir(self) -> Path:
        """Predictions and result objects, one folder a study revision."""
        return self.node.data_dir / "results"

    @property
    def sqlite_file(self) -> Path:
        """The database where [database] names none."""
        return self.node.data_dir / "node.sqlite"

    @property
    def ledger_at(self) -> Path | str:
        """The database of the ledger and the workflow engine: a file, or a URL with the password.

        The URL is for who connects, never to be shown.
        """
        if self.database.url is None:
            return self.sqlite_file
        parts = urlsplit(self.database.url)
        if self.database.password is None:
            return self.database.url
        secret = quote(self.database.password.get_secret_value(), safe="")
        user, _, host = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))
