"""Codes of anatomy as slides have them, and the organs that they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pydicom.sr.coding import Code

from inference.specimen.organs import Organ, organs

_SCHEMES = {
    **dict.fromkeys(("SCT", "SNOMEDCT", "SNOMED"), "SCT"),
    **dict.fromkeys(("SRT", "SNM3", "99SDM", "SNOMEDRT"), "SRT"),
    **dict.fromkeys(("ICDO3", "ICDO"), "ICDO3"),
    **dict.fromkeys(("I10", "ICD10"), "I10"),
}
"""Coding schemes (PS3.16 section 8) by their designators without punctuation. SNOMED 2 (SNM2) is
not among them: its T-62000 is the esophagus, that of later ones the liver."""
_TOPOGRAPHY = re.compile(r"C([0-9]{2})\.?([0-9])?")
_SECONDARY = ("C42", "C77")
"""Of ICD-O-3, where ICD-10 has none or means secondary tumors."""
_SCT, _SRT = re.compile(r"[0-9]{6,18}"), re.compile(r"[A-Z]-[0-9A-F]{4,6}")


@dataclass(frozen=True, slots=True)
class Coded:
    """A code of a slide. Its meaning is for reading, never for repeating."""

    value: str
    scheme: str
    meaning: str

    @property
    def organ(self) -> Organ | None:
        """What it is of; None where this is not known here."""
        return _organ_of(self.value.strip(), _SCHEMES.get(_plain(self.scheme), ""))

    @property
    def said(self) -> str:
        """For people, with DICOM's own meaning; the slide's may be anything."""
        value, scheme = self.value.strip(), _SCHEMES.get(_plain(self.scheme), "")
        organ = self.organ
        if organ is not None:
            meaning = organ.sct.get(_sct(value, scheme) or "", organ.name)
            return f"{value}, {scheme}, {meaning}"
        pattern = {"SCT": _SCT, "SRT": _SRT, "ICDO3": _TOPOGRAPHY, "I10": _TOPOGRAPHY}.get(scheme)
        is_sound = pattern is not None and pattern.fullmatch(value)
        return f"{value}, {scheme}, of no organ known here" if is_sound else "a code unknown here"

    @property
    def concept(self) -> Code:
        """The code for comparison, which maps retired SNOMED codes to those of today."""
        value, scheme = self.value.strip(), _SCHEMES.get(_plain(self.scheme), self.scheme.strip())
        if scheme == "SRT" and _SCT.fullmatch(value):
            scheme = "SCT"
        return Code(value, "SRT" if scheme == "SCT" and _SRT.fullmatch(value) else scheme, "")

    def is_same(self, other: Code) -> bool:
        """Whether it is this code, in whatever version of SNOMED."""
        return bool(self.concept == other)


def coded(text: str) -> Coded:
    """The code that `value^scheme` means."""
    value, _, scheme = text.partition("^")
    return Coded(value, scheme, "")


def _plain(scheme: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", scheme.upper())


@lru_cache(maxsize=4096)
def _organ_of(value: str, scheme: str) -> Organ | None:
    if scheme in ("ICDO3", "I10"):
        return _by_topography(value, scheme)
    sct = _sct(value, scheme)
    return next((o for o in organs().values() if sct in o.sct), None) if sct else None


@lru_cache(maxsize=4096)
def _sct(value: str, scheme: str) -> str | None:
    """The code of an organ in SNOMED CT; None for one that no organ has.

    Some writers put the codes of one version under the name of the other: their forms differ.
    """
    if scheme not in ("SCT", "SRT"):
        return None
    if _SCT.fullmatch(value):
        return value
    found = Code(value, "SRT", "")  # compared by what it means in SNOMED CT
    known = (code for organ in organs().values() for code in organ.sct)
    return next((code for code in known if found == Code(code, "SCT", "")), None)


def _by_topography(value: str, scheme: str) -> Organ | None:
    """The organ with the longest beginning of the code; none for a part that several share."""
    if not (match := _TOPOGRAPHY.fullmatch(value.upper())):
        return None
    code = "C" + match[1] + (match[2] or "")
    if scheme == "I10" and code[:3] in _SECONDARY:
        return None
    fitting = [(len(b), o.name) for o in organs().values() for b in o.icdo if code.startswith(b)]
    return organs()[max(fitting)[1]] if fitting else None
