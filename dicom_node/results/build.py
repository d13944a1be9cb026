"""All objects of a slide, kind after kind; shared by the worker and `analyze`."""

from __future__ import annotations

from importlib import import_module

from dicom_node.results import kinds
from dicom_node.results.making import BuiltObject, Making
from inference.types import Prediction


def build_objects(making: Making) -> list[BuiltObject]:
    """Every object that the table of kinds has for a slide, in delivery order."""
    for kind in kinds.KINDS:
        if kind.needs_prediction and not isinstance(making.result, Prediction):
            continue
        made = list(import_module(kind.module).make(making))
        wrong = [b for b in made if b.dataset.SOPClassUID != kind.sop_class.uid]
        if wrong:
            found = wrong[0].dataset.SOPClassUID
            raise ValueError(f"{kind.module} made {found}, expected {kind.sop_class.name}")
        making = making.after(made)
    return list(making.made)
