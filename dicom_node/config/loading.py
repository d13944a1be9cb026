"""From a TOML file and the environment to a configuration, or the reason why not.

Every key can be overridden by an environment variable `DICOM_NODE_<SECTION>_<KEY>`, for example
`DICOM_NODE_NODE_PORT=11113`, or `DICOM_NODE_NODE_TLS_PORT=2762` for a table in a section. Lists of
tables (senders, destinations, requestors, models) live in the file only.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError

from dicom_node.config.sections import DatabaseSection, ModelSection
from dicom_node.config.tls import DestinationTls, NodeTls
from dicom_node.config.whole import Config

PREFIX = "DICOM_NODE_"
SECTIONS = (
    "node", "database", "model", "analysis", "delivery", "notify", "retention", "commitment", "log",
)  # fmt: skip
"""Those whose keys can be overridden by a variable."""
_TLS = "tls_"
_AnyTls = TypeVar("_AnyTls", NodeTls, DestinationTls)
_AnyModel = TypeVar("_AnyModel", bound=ModelSection)


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and the reason."""


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
    return config.model_copy(
        update={
            "node": config.node.model_copy(
                update={"data_dir": data_dir, "tls": _located(config.node.tls, path.parent)}
            ),
            "destinations": tuple(
                d.model_copy(update={"tls": _located(d.tls, path.parent)})
                for d in config.destinations
            ),
            "commitment": config.commitment.model_copy(
                update={
                    "requestors": tuple(
                        r.model_copy(update={"tls": _located(r.tls, path.parent)})
                        for r in config.commitment.requestors
                    )
                }
            ),
            "database": _with_password(config.database, path.parent),
            "model": _with_bundle(config.model, path.parent),
            "models": tuple(_with_bundle(m, path.parent) for m in config.models),
        }
    )


def _with_bundle(section: _AnyModel, folder: Path) -> _AnyModel:
    """The section with its bundle found from the folder of the configuration."""
    if "/" not in section.bundle:
        return section
    return section.model_copy(update={"bundle": str((folder / section.bundle).resolve())})


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
