"""The configuration: one TOML file, one frozen model, unknown keys refused.

Every key can be overridden by an environment variable `DICOM_NODE_<SECTION>_<KEY>`, for example
`DICOM_NODE_NODE_PORT=11113`. Lists of tables (senders, destinations) live in the file only.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)

from engines.names import EngineName, PrecisionName

PREFIX = "DICOM_NODE_"
_ONLY_NODE = "node"
"""Name of a node that shares its database and spool with nobody."""
SECTIONS = ("node", "database", "model", "analysis", "delivery", "notify", "log")

AETitle = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$"),
]
"""Application Entity title: 1-16 characters, no backslash or control characters (PS3.5 6.2)."""
PostgresUrl = Annotated[
    str, StringConstraints(pattern=r"^postgresql\+psycopg://[^/@\s]+@[^/@\s]+/[^/@\s]+$")
]
Port = Annotated[int, Field(ge=1, le=65535)]


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and the reason."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSection(_Section):
    """Where the node listens and keeps its data."""

    ae_title: AETitle
    """The node's own; 1 to 16 characters."""
    bind: str = "127.0.0.1"
    """Address of the machine that the listener is bound to."""
    port: Port = 11112
    """TCP port the node listens on, 1 to 65535."""
    data_dir: Path
    """Folder of spool, results and, where [database] names none, the database."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = _ONLY_NODE
    """What the node is called among those that share a database; another one for each. Whoever has
    a name receives into a folder of the spool of its own."""
    quiet_time_s: Annotated[float, Field(ge=0)] = 30
    """Seconds. A study closes when its last byte is at least this old and every slide is
    complete."""
    incomplete_after_s: Annotated[float, Field(gt=0)] = 3600
    """Seconds. A study still incomplete after this long without a byte is parked with what is
    missing."""
    reserve_mb: Annotated[int, Field(ge=0)] = 2048
    """Mebibytes (1024 x 1024 bytes). Free space kept on the spool's file system; below it C-STORE
    answers A700."""
    warn_free_percent: Annotated[float, Field(ge=0, le=90)] = 10
    """Percent of the disk of data_dir. With less free, or less than 1.5 times `reserve_mb`, log and
    [notify] say so before anything is refused."""
    maximum_associations: Annotated[int, Field(ge=1, le=256)] = 32
    """Number of associations open at once; a further one is rejected."""
    most_crashes: Annotated[int, Field(ge=1)] = 5
    """Number of times. A study during whose analysis the worker died more often is parked."""
    drain_s: Annotated[float, Field(ge=0)] = 30
    """Seconds that SIGTERM waits for open transfers, results being built and deliveries under way.
    A slide under analysis is paused at once."""


class Sender(_Section):
    """A peer that may send to the node: calling AE title and the networks it may come from."""

    ae_title: AETitle
    """The calling AE title; 1 to 16 characters."""
    networks: Annotated[tuple[IPv4Network | IPv6Network, ...], Field(min_length=1)]
    """In CIDR form, such as `10.0.0.0/8`; the peer's address must lie in one of them."""


class Destination(_Section):
    """A PACS that gets the results."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    """What log and commands call it; 1 to 32 characters."""
    ae_title: AETitle
    """The called AE title; 1 to 16 characters."""
    host: str
    """Host name or IP address."""
    port: Port
    """TCP port, 1 to 65535."""
    calling_ae_title: AETitle | None = None
    """AE title we call from, 1 to 16 characters; the node's own by default."""


class DatabaseSection(_Section):
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


class ModelSection(_Section):
    """Which student runs, and on what."""

    bundle: str = "default"
    """Name of a shipped bundle, or a folder: what has a `/` in it."""
    engine: EngineName = "auto"
    """`auto` is OpenVINO on the CPU; a GPU is used when its engine is named."""
    precision: PrecisionName = "shipped"
    """`shipped` is what the bundle chose, or fp32 where this machine cannot compute that."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Number of CPU threads of the engine; 0 means all cores."""
    build_plans: bool = False
    """Whether a start may build TensorRT plans that are missing, which takes minutes."""


class AnalysisSection(_Section):
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
    most_memory_mb: Annotated[int, Field(ge=0)] = 0
    """Mebibytes. A study during whose analysis the worker uses more is parked, and the worker
    started anew. 0 means three quarters of what the machine has left when the worker is ready."""


class DeliverySection(_Section):
    """How the delivery of a result object is retried that failed for a cause that may pass."""

    first_retry_s: Annotated[float, Field(gt=0)] = 5
    """Seconds, on average, from the first failure to the next attempt; every further failure
    doubles them."""
    longest_retry_s: Annotated[float, Field(gt=0)] = 600
    """Seconds; no wait between two attempts is longer."""
    give_up_after_s: Annotated[float, Field(gt=0)] = 72 * 3600
    """Seconds since the analysis. A delivery that fails at that age or later is given up."""


class NotifySection(_Section):
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


class LogSection(_Section):
    """Log output."""

    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is text for people on a terminal, and one JSON object a line elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe events that are written."""


class Config(_Section):
    """The whole configuration."""

    node: NodeSection
    senders: tuple[Sender, ...] = ()
    destinations: Annotated[tuple[Destination, ...], Field(min_length=1)]
    database: DatabaseSection = DatabaseSection()
    model: ModelSection = ModelSection()
    analysis: AnalysisSection = AnalysisSection()
    delivery: DeliverySection = DeliverySection()
    notify: NotifySection = NotifySection()
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

    @property
    def spool_dir(self) -> Path:
        """Received instances."""
        return self.node.data_dir / "spool"

    @property
    def spool_writer(self) -> str:
        """Folder of the spool that this node writes: its own where nodes have names."""
        return "" if self.node.name == _ONLY_NODE else f"by-{self.node.name}"

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


def load_config(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a TOML file with environment overrides.

    Relative paths start at the file.

    Raises ConfigError with the file, the key and the reason.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    _override(values, environ)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()[:5]
        )
        raise ConfigError(f"{path}: {problems}") from error
    data_dir = (path.parent / config.node.data_dir).resolve()
    bundle = config.model.bundle
    if "/" in bundle:
        bundle = str((path.parent / bundle).resolve())
    return config.model_copy(
        update={
            "node": config.node.model_copy(update={"data_dir": data_dir}),
            "database": _with_password(config.database, path.parent),
            "model": config.model.model_copy(update={"bundle": bundle}),
        }
    )


def _with_password(section: DatabaseSection, folder: Path) -> DatabaseSection:
    """The section with the password that its file holds."""
    if section.password_file is None:
        return section
    if section.password is not None:
        raise ConfigError("database: found both password and password_file, expected one")
    file = folder / section.password_file
    try:
        first, _, _ = file.read_text().partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"database.password_file: {file}: cannot be read: {why}") from error
    return section.model_copy(update={"password": SecretStr(first)})


def _override(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        section, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        if section not in SECTIONS or not key:
            raise ConfigError(
                f"{variable}: expected {PREFIX}<SECTION>_<KEY>, sections: {', '.join(SECTIONS)}"
            )
        values.setdefault(section, {})[key] = text
