"""Words of the command line that several commands read alike."""

from __future__ import annotations

from collections.abc import Sequence

from training.errors import TrainingError


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
