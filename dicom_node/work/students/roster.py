"""The students of a node as an attempt is begun with them: bundles, engines, and their rules."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from dicom_node.ledger.rows import ModelRun
from dicom_node.work.routing.values import Student
from engines.bundle import Bundle
from engines.names import Opened


@dataclass(frozen=True, slots=True)
class Known:
    """A student whose bundle was verified, and that passed its exam on this machine."""

    model: str
    """Its name in files and in the ledger; empty where it is the one for all slides."""
    student: Student
    bundle: Bundle
    engine: str
    """With its version and device, as reports have it."""
    precision: str
    opened: Opened
    """What to open where it was closed: never chosen anew while the worker runs."""

    @property
    def is_silent(self) -> bool:
        """Whether its results go nowhere."""
        return self.student.entry.silent

    @property
    def is_of_cases(self) -> bool:
        """Whether one prediction is of all slides of a study together."""
        return self.student.is_of_cases


@dataclass(frozen=True)
class Roster:
    """All students of a node, in the order in which they are asked."""

    known: tuple[Known, ...]
    is_one: bool
    """Whether `[model]` names one for all slides, and nothing is routed but by its bundle."""

    @property
    def live(self) -> tuple[Known, ...]:
        """Those whose results are sent."""
        return tuple(one for one in self.known if not one.is_silent)

    @cached_property
    def digest(self) -> str:
        """Of all that decides what is computed: of the one bundle, or of all bundles and rules."""
        if self.is_one:
            return self.known[0].bundle.digest
        told = [
            (one.bundle.digest, one.student.entry.model_dump(mode="json", include=_ASKED))
            for one in self.known
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @cached_property
    def engine(self) -> str:
        """Of the one student, or of each by its name."""
        if self.is_one:
            return self.known[0].engine
        return "; ".join(f"{one.model}: {one.engine}" for one in self.known)

    @cached_property
    def runs(self) -> tuple[ModelRun, ...]:
        """What the ledger keeps of an attempt that is begun with them."""
        return tuple(
            ModelRun(one.model, one.bundle.digest, one.engine, one.precision, one.is_silent)
            for one in self.known
        )

    def of(self, model: str) -> Known | None:
        """The student of that name; None for no model, and for one that is not there."""
        return next((one for one in self.known if one.model == model), None)

    def is_silent(self, model: str) -> bool:
        """Whether the results of a student of that name go nowhere."""
        known = self.of(model)
        return known is not None and known.is_silent

    def modes(self) -> dict[str, dict[str, str]]:
        """What is recorded of each when it changes; nothing of the one for all slides."""
        return {
            one.model: {
                "mode": "silent" if one.is_silent else "live",
                "bundle": f"{one.bundle.manifest.name} {one.bundle.manifest.version}",
                "bundle_digest": one.bundle.digest,
                "precision": one.precision,
            }
            for one in self.known
            if not self.is_one
        }


_ASKED = {"name", "when", "silent", "override", "rule", "allow_fixture"}
"""Keys of a model that decide on which slides it runs, and what is said of that."""
