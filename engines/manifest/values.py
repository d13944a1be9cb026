"""What every part of a manifest is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Frozen; refuses keys that it does not know, and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Code(Strict):
    """A coded concept (PS3.3 8.8): value, coding scheme designator, meaning.

    Value and designator are SH: viewers read no Long Code Value.
    """

    value: Annotated[str, Field(min_length=1, max_length=16)]
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    meaning: Annotated[str, Field(max_length=64)]
