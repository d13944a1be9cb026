"""The WHO 2021 class of an adult diffuse glioma from its markers, as the method labels it.

Four classes (arXiv 2508.16479). The cohort's table has three, its own derivation, which joins the
astrocytomas; a research label, not a pathologist's reading.
"""

from __future__ import annotations

from training.errors import TrainingError

CLASSES = (
    "glioblastoma, IDH-wildtype",
    "astrocytoma, IDH-mutant, grade 4",
    "astrocytoma, IDH-mutant, grade 2 or 3",
    "oligodendroglioma, IDH-mutant and 1p/19q-codeleted",
)


def who2021(idh: str, codel: str, cdkn2a: float, grade: str) -> int:
    """Position in CLASSES, of IDH "WT" or "Mutant", 1p/19q "codel" or "non-codel", the copy number
    change of CDKN2A/B (-2 to 2) and the histologic grade "G2" to "G4".

    Raises TrainingError for an IDH or 1p/19q status that was not determined.
    """
    if idh not in ("WT", "Mutant"):
        raise TrainingError(
            f"found IDH status {idh!r}, expected 'WT' or 'Mutant', drop the patient"
        )
    if idh == "WT":
        return 0
    if codel not in ("codel", "non-codel"):
        raise TrainingError(
            f"found 1p/19q status {codel!r} of an IDH-mutant glioma, expected 'codel' or "
            "'non-codel', drop the patient"
        )
    if codel == "codel":
        return 3
    return 1 if cdkn2a < 0 or grade == "G4" else 2
