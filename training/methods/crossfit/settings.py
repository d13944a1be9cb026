"""What can be set in `crossfit`, and the penalties of its linear heads."""

from __future__ import annotations

from dataclasses import dataclass

OWN_PENALTY = 3.0
TEACHER_PENALTY = 0.3


@dataclass(frozen=True)
class Settings:
    """Chosen on inner splits of the five TCGA cohorts, one recipe for all."""

    epochs: int = 24
    """Steps over the whole training part; 0: no attention branch, the linear heads alone."""
    lr: float = 2e-3
    weight_decay: float = 1e-2
    members: int = 2
    hidden: int = 48
    attention: int = 24
    dropout: float = 0.3
    max_instances: int = 32
    null: bool = True
    """Also train on permuted targets."""
    capacity_twin: bool = True
    """Also train on targets of the slide alone: a twin of equal capacity."""
