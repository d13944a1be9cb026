"""Words of the command line that several commands read alike."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from training.errors import TrainingError


def count(text: str) -> int:
    """A whole number of 1 and more, of the command line."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1 on")
    return value


def settings_of(words: Sequence[str], epochs: int | None) -> dict[str, str]:
    """Settings of `--set KEY=VALUE` words and `--epochs`; raises TrainingError for other words."""
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise TrainingError(f"--set: found {word!r}, expected KEY=VALUE")
        settings[key] = value
    if epochs is not None:
        settings["epochs"] = str(epochs)
    return settings
