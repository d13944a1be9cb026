"""Languages that results speak to people."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Language: TypeAlias = Literal["en", "de"]
"""As in RFC 5646."""
LANGUAGES: tuple[Language, ...] = get_args(Language)
