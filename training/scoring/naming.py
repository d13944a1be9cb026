"""Names and order of the rows of a report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

ROLES = {
    "student": "student",
    "one_slide": "shown one slide of the patient",
    "twin": "twin, not distilled",
    "teacher": "teacher",
    "late_fusion": "late fusion",
    "self": "twin of equal capacity, taught by the slide alone",
    "null": "null, shuffled teacher",
    "genomic": "genes alone",
    "clinical": "clinic and age",
    "age": "age alone",
}
"""Roles that stand beside every student, in the order of a report."""
FLOORS = ("genomic", "clinical", "age")
"""Of them, those that have nothing to do with the method they stand beside."""
NEEDS = {
    "student": "WSI",
    "twin": "WSI",
    "self": "WSI",
    "null": "WSI",
    "teacher": "WSI + genes",
    "late_fusion": "WSI + genes",
    "genomic": "genes",
    "clinical": "clinic",
    "age": "age",
    "snn": "genes",
    "coxnet": "genes",
    "mcat": "WSI + genes",
}
"""What a role needs at inference; a baseline that is not named needs the slide alone."""
TEACHERS_NEED = {
    "crossfit": "clinic + genes, as known",
    "crossfit-pan": "clinic + genes, as known",
    "moments": "genes",
}
"""Teachers that see no slide, by method: its part is the student's own."""


@dataclass(frozen=True, order=True)
class RowName:
    """A role of a method; without a method it is a floor that all runs share."""

    method: str
    role: str

    @property
    def text(self) -> str:
        """As it reads in a table."""
        if self.role not in ROLES:
            return self.method if self.role in self.method else f"{self.method}: {self.role}"
        name = ROLES[self.role]
        return f"{self.method}: {name}" if self.method else name

    @property
    def needs(self) -> str:
        """What must be known of a patient at inference."""
        if self.role == "teacher":
            method, _, _ = self.method.partition(" (")  # without the settings of its label
            return TEACHERS_NEED.get(method, NEEDS["teacher"])
        return NEEDS.get(self.role, "WSI")


def row_names(found: Collection[RowName]) -> list[RowName]:
    """Rows in order: each distilled method with all its roles, floors, then baselines.

    Roles that were not run are there too, so that a table cannot hide them.
    """
    distilled = sorted({name.method for name in found if name.role == "student"})
    rows = [RowName(method, role) for method in distilled for role in ROLES if role not in FLOORS]
    rows += [RowName("", role) for role in FLOORS]
    rows += sorted(name for name in found if name not in rows)
    return rows
