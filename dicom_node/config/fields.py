"""What the sections of the configuration are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

AETitle = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$"),
]
"""Application Entity title: 1-16 characters, no backslash or control characters (PS3.5 6.2)."""
Port = Annotated[int, Field(ge=1, le=65535)]
TlsProfile = Literal["bcp195", "bcp195-modified"]
CertificatePin = Annotated[
    str,
    StringConstraints(to_lower=True, pattern=r"^(dns:[A-Za-z0-9_.-]+|sha256:[0-9A-Fa-f]{64})$"),
]
"""A name in Subject Alternative Name, or the fingerprint, of a peer's certificate."""


class Section(BaseModel):
    """A table of the file: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
