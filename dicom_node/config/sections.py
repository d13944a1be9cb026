"""Keys of the node itself: where it listens and keeps things, how it analyzes and delivers."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from dicom_node.config.fields import AETitle, Port, Section
from dicom_node.config.languages import LANGUAGES, Language
from dicom_node.config.tls import NodeTls
from engines.names import EngineName, PrecisionName

ONLY_NODE = "node"
"""Name of a node that shares its database and spool with nobody."""
PostgresUrl = Annotated[
    str, StringConstraints(pattern=r"^postgresql\+psycopg://[^/@\s]+@[^/@\s]+/[^/@\s]+$")
]


class NodeSection(Section):
    """Where the node listens and keeps its data."""

    ae_title: AETitle
    """The node's own; 1 to 16 characters."""
    bind: str = "127.0.0.1"
    """Address of the machine that the listener is bound to."""
    port: Port = 11112
    """TCP port the node listens on, 1 to 65535."""
    data_dir: Path
    """Folder of spool, results and, where [database] names none, the database."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = ONLY_NODE
    """What the node is called among those that share a database; another one for each. Whoever has
    a name receives into a folder of the spool of its own."""
    quiet_time_s: Annotated[float, Field(ge=0)] = 30
    """Seconds. A study closes when its last byte is at least this old and every slide is
    complete."""
    incomplete_after_s: Annotated[float, Field(gt=0)] = 3600
    """Seconds. A study still incomplete after this long without a byte is closed: what is whole is
    analyzed, a preliminary report says what is missing, and it is parked once that is delivered."""
    reserve_mb: Annotated[int, Field(ge=0)] = 2048
    """Mebibytes (1024 x 1024 bytes). Free space kept on the spool's file system; below it C-STORE
    answers A700."""
    warn_free_percent: Annotated[float, Field(ge=0, le=90)] = 10
    """Percent of the disk of data_dir. With less free, or less than 1.5 times `reserve_mb`, log and
    [notify] say so before anything is refused."""
    maximum_associations: Annotated[int, Field(ge=1, le=256)] = 32
    """Number of associations open at once; a further one is rejected."""
    associations_per_sender: Annotated[int, Field(ge=1, le=256)] | None = None
    """Number of them that one calling AE title may have open; by default three quarters of them
    where several may send, and all of them where one may."""
    proxy_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of load balancers, in CIDR form. Every connection from there must begin with a
    header of the PROXY protocol, version 2; the address it names is the sender's."""
    tls: NodeTls | None = None
    """TLS for senders; without it the port is a plain one."""

    most_crashes: Annotated[int, Field(ge=1)] = 5
    """Number of times. A study during whose analysis the worker died more often is parked."""
    drain_s: Annotated[float, Field(ge=0)] = 30
    """Seconds that SIGTERM waits for open transfers, results being built and deliveries under way.
    A slide under analysis is paused at once."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.tls is not None and not self.tls.required and self.tls.port == self.port:
            raise ValueError(f"found {self.port} as the port with and without TLS")
        return self


class DatabaseSection(Section):
    """Where the ledger is: a file in data_dir, or a PostgreSQL database that machines share."""

    url: PostgresUrl | None = None
    """`postgresql+psycopg://USER@HOST:PORT/DATABASE`; without it a SQLite file is used."""
    password: SecretStr | None = None
    """Of the user; better in DICOM_NODE_DATABASE_PASSWORD or in `password_file` than here."""
    password_file: Path | None = None
    """File whose first line is the password."""

    @field_validator("url")
    @classmethod
    def _holds_no_password(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).password is not None:
            raise ValueError("expected no password in it: use password_file")
        return value


class ModelSection(Section):
    """Which student runs, and on what."""

    bundle: str = "default"
    """Name of a shipped bundle, or a folder: what has a `/` in it."""
    engine: EngineName = "auto"
    """`auto` is a GPU where a comparison on this host proved it, else OpenVINO on the CPU; a name
    is an order."""
    precision: PrecisionName = "shipped"
    """`shipped` is what the bundle chose, or fp32 where this machine cannot compute that; `fastest`
    what `engine compare` timed as such on this host, and `shipped` until it has."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Number of CPU threads of the engine; 0 means all cores."""
    build_plans: bool = False
    """Whether a start may build TensorRT plans that are missing, which takes minutes."""
    allow_fixture: bool = False
    """Whether a bundle may run whose numbers mean nothing, to show how the node works."""


class AnalysisSection(Section):
    """How an analysis is retried that failed for a cause that may pass.

    One that found no room on the disk is not retried by these rules: it goes on when there is room.
    """

    first_retry_s: Annotated[float, Field(gt=0)] = 5
    """Seconds, on average, from the first failure to the next attempt; every further failure
    doubles them."""
    longest_retry_s: Annotated[float, Field(gt=0)] = 600
    """Seconds; no wait between two attempts is longer."""
    most_retries: Annotated[int, Field(ge=0)] = 5
    """Number of retries. A study that fails after so many is parked."""
    longest_standstill_s: Annotated[float, Field(ge=30)] = 900
    """Seconds. A study in whose counting, analysis or results nothing moves for so long is parked,
    and the worker started anew."""
    early: bool = True
    """Whether slides of a study that has not closed yet are encoded while nothing closed waits. The
    numbers are the same; a report is made when the study closes, and never before."""
    open_models: Annotated[int, Field(ge=0)] = 0
    """Number of `[[models]]` that are open at once; the one that was not used for the longest time
    is closed for another. 0 means as many as there is memory for."""
    most_memory_mb: Annotated[int, Field(ge=0)] = 0
    """Mebibytes. A study during whose analysis the worker uses more is parked, and the worker
    started anew. 0 means three quarters of what the machine has left when the worker is ready."""


class ReportsSection(Section):
    """What results say to people."""

    language: Language = "en"
    """Of titles and sentences in reports, maps and pictures: `en` or `de`. Codes are the same in
    all, and what a bundle says of itself stays in its own language."""

    @field_validator("language", mode="before")
    @classmethod
    def _is_spoken(cls, value: object) -> object:
        if value not in LANGUAGES:
            raise ValueError(
                f"found {value!r}, which results do not speak; expected one of "
                f"{', '.join(LANGUAGES)}"
            )
        return value


class DeliverySection(Section):
    """How the delivery of a result object is retried that failed for a cause that may pass."""

    first_retry_s: Annotated[float, Field(gt=0)] = 5
    """Seconds, on average, from the first failure to the next attempt; every further failure
    doubles them."""
    longest_retry_s: Annotated[float, Field(gt=0)] = 600
    """Seconds; no wait between two attempts is longer."""
    give_up_after_s: Annotated[float, Field(gt=0)] = 72 * 3600
    """Seconds since the analysis. A delivery that fails at that age or later is given up."""


class LogSection(Section):
    """Log output."""

    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is text for people on a terminal, and one JSON object a line elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe events that are written."""
