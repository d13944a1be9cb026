"""Types of columns: what peers say is kept so that both databases can keep it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Integer, String, Text

from dicom_node.ledger.database.dialects import Json

Big = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both: SQLite's integers have them, and only an INTEGER key counts up by itself."""

MadeKind = String(32).with_variant(String(96), "postgresql")
"""It holds the name of a map, of up to 64 characters; SQLite counts none."""


def storable(value: Any) -> Any:
    """A value without what a database cannot keep in a text: NUL, and half a surrogate pair.

    Each becomes U+FFFD. They come from peers; what is shown to people stays readable.
    """
    if isinstance(value, str):
        kept = value.replace("\0", "\ufffd")
        return kept.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


class Words(sa.types.TypeDecorator[str]):
    """Text that a peer or an operating system may have had a hand in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """What is kept."""
        return storable(value)


class ShortWords(Words):
    """The same, of a stated length."""

    impl = String  # type: ignore[assignment]  # Text is one without a length
    cache_ok = True


class Values(sa.types.TypeDecorator[Any]):
    """JSON whose texts are kept as `Words` are."""

    impl = Json
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """What is kept."""
        return storable(value)
