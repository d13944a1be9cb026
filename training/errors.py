"""The one error of the training room."""

from __future__ import annotations


class TrainingError(Exception):
    """Bad input or an impossible request; one sentence: found, expected, what to do."""
