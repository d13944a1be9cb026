"""The configuration: one TOML file, one frozen model, unknown keys refused.

Every key can be overridden by an environment variable `DICOM_NODE_<SECTION>_<KEY>`, for example
`DICOM_NODE_NODE_PORT=11113`, or `DICOM_NODE_NODE_TLS_PORT=2762` for a table in a section. Lists of
tables (senders, destinations) live in the file only.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from engines.names import EngineName, PrecisionName

PREFIX = "DICOM_NODE_"
_ONLY_NODE = "node"
"""Name of a node that shares its database and spool with nobody."""
_TLS = "tls_"
SECTIONS = ("node", "database", "model", "analysis", "delivery", "notify", "retention", "log")

AETitle = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$"),
]
"""Application Entity title: 1-16 characters, no backslash or control characters (PS3.5 6.2)."""
PostgresUrl = Annotated[
    str, StringConstraints(pattern=r"^postgresql\+psycopg://[^/@\s]+@[^/@\s]+/[^/@\s]+$")
]
Port = Annotated[int, Field(ge=1, le=65535)]
TlsProfile = Literal["bcp195", "bcp195-modified"]
CertificatePin = Annotated[
    str,
    StringConstraints(to_lower=True, pattern=r"^(dns:[A-Za-z0-9_.-]+|sha256:[0-9A-Fa-f]{64})$"),
]
"""A name in Subject Alternative Name, or the fingerprint, of a peer's certificate."""


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and the reason."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeTls(_Section):
    """TLS for senders: a port of its own beside the plain one, or in its place."""

    certificate: Path
    """File in PEM: the node's certificate, then those it was issued by, if any."""
    key: Path
    """File in PEM: the key of the certificate."""
    password_file: Path | None = None
    """File whose first line is the password of the key."""
    port: Port = 2762
    """TCP port that speaks TLS, 1 to 65535."""
    required: bool = False
    """Whether the port without TLS stays closed."""
    client_certificates: Literal["required", "none"] = "required"
    """Whether senders have to show a certificate that `client_ca` or what it issued has signed."""
    client_ca: Path | None = None
    """File in PEM: CA certificates that those of senders are verified by."""
    crl: Path | None = None
    """File in PEM: revocation lists of the CA certificates; whoever is on one is refused."""
    profile: TlsProfile = "bcp195"
    """`bcp195` is PS3.15 B.12; `bcp195-modified` adds the further ciphers of B.13."""

    @model_validator(mode="after")
    def _has_a_ca_where_it_needs_one(self) -> Self:
        if (self.client_certificates == "required") != (self.client_ca is not None):
            raise ValueError('expected client_ca, or client_certificates = "none"')
        if self.crl is not None and self.client_ca is None:
            raise ValueError("found crl without client_ca")
        return self


class DestinationTls(_Section):
    """TLS to a destination: its certificate and name are verified."""

    ca: Path
    """File in PEM: CA certificates that the destination's certificate is verified by."""
    peer_name: str | None = None
    """Name or address that its certificate has to hold; `host` by default."""
    certificate: Path | None = None
    """File in PEM: the certificate that the node shows, then those it was issued by, if any."""
    key: Path | None = None
    """File in PEM: the key of the certificate."""
    password_file: Path | None = None
    """File whose first line is the password of the key."""
    crl: Path | None = None
    """File in PEM: revocation lists of the CA certificates."""
    profile: TlsProfile = "bcp195"
    """`bcp195` is PS3.15 B.12; `bcp195-modified` adds the further ciphers of B.13."""

    @model_validator(mode="after")
    def _has_both_or_none(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("expected both certificate and key, or none of them")
        return self


_AnyTls = TypeVar("_AnyTls", NodeTls, DestinationTls)


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


class Sender(_Section):
    """A peer that may send to the node: calling AE title and the networks it may come from."""

    ae_title: AETitle
    """The calling AE title; 1 to 16 characters."""
    networks: Annotated[tuple[IPv4Network | IPv6Network, ...], Field(min_length=1)]
    """In CIDR form, such as `10.0.0.0/8`; the peer's address must lie in one of them."""
    certificate: tuple[CertificatePin, ...] = ()
    """`dns:NAME` or `sha256:FINGERPRINT`, one or a list: the certificate that it has to show. An AE
    title is no proof of who speaks; with this the sender is taken over TLS only."""

    @field_validator("certificate", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


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
    commitment: Literal["auto", "required", "never"] = "auto"
    """Proof that it keeps what it took. `auto`: storage commitment where it offers that, else a
    query; `required`: nothing but storage commitment counts; `never`: its answer to C-STORE is
    believed."""
    commitment_wait_s: Annotated[float, Field(gt=0)] = 3600
    """Seconds that a report of storage commitment is waited for; then a query decides."""
    reports_as: AETitle | None = None
    """AE title that its reports come from, 1 to 16 characters; `ae_title` by default. It has to be
    among [[senders]] to report on an association of its own."""
    tls: DestinationTls | None = None
    """`[destinations.tls]` below the destination; without it nothing is encrypted."""


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


class RetentionSection(_Section):
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
    source_holds_slides: bool = False
    """Whether the site says that the source keeps every slide that it sends. Otherwise received
    files go only where a query finds them at a destination that is the sender, too."""
    require_commitment: bool = True
    """Whether results have to be proven at a destination, by storage commitment or a query."""
    free_target_percent: Annotated[float, Field(ge=0, le=95)] = 20
    """Percent of the disk. With less free, what may go goes before its days are over."""


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
    retention: RetentionSection = RetentionSection()
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
            "node": config.node.model_copy(
                update={"data_dir": data_dir, "tls": _located(config.node.tls, path.parent)}
            ),
            "destinations": tuple(
                d.model_copy(update={"tls": _located(d.tls, path.parent)})
                for d in config.destinations
            ),
            "database": _with_password(config.database, path.parent),
            "model": config.model.model_copy(update={"bundle": bundle}),
        }
    )


def _located(section: _AnyTls | None, folder: Path) -> _AnyTls | None:
    """The section with its files found from the folder of the configuration."""
    if section is None:
        return None
    files = {k: folder / v for k, v in section if isinstance(v, Path)}
    return section.model_copy(update=files)


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
        table = values.setdefault(section, {})
        if section == "node" and key.startswith(_TLS):
            table, key = table.setdefault("tls", {}), key.removeprefix(_TLS)
        table[key] = text
