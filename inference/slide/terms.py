"""Words of a header that may be said to people: those that DICOM defines, and no others.

What we say of a slide goes to logs and into reports. A free text, and any attribute that holds one
by mistake, may be the patient's.
"""

from __future__ import annotations

import re

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MOST_UID_CHARACTERS = 64  # PS3.5 9.1
_SCT = re.compile(r"[0-9]{6,18}")
_FLAVORS = frozenset(
    {"VOLUME", "LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"}
)  # PS3.3 C.8.12.4.1.1
# PS3.3 C.7.6.3.1.2, retired ones included
_PHOTOMETRIC = frozenset(
    {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "XYB"}
    | {"YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"}
)
_DAB = Code("113159008", "SCT", "diaminobenzidine stain")  # not in CID 8112, and the most likely


def is_uid(text: str) -> bool:
    """Whether it is digits and dots as in a UID; zeros in front are common, and let pass."""
    return len(text) <= _MOST_UID_CHARACTERS and _UID.fullmatch(text) is not None


def uid_name(uid: UID) -> str:
    """The name of a UID of the standard, or the UID itself."""
    name = str(uid.name)
    return name if name != uid or is_uid(uid) else "an illegal UID"


def flavor_name(flavor: str) -> str:
    """Image Type value 3 of a slide's image."""
    return flavor if flavor in _FLAVORS else "an image of unknown kind"


def photometric_name(photometric: str) -> str:
    """Photometric Interpretation."""
    if photometric in _PHOTOMETRIC:
        return photometric
    return "none that DICOM defines" if photometric else "missing"


def substance_name(code: Code) -> str:
    """A stain by the standard's meaning of its code, never by the meaning that the slide gives."""
    for known in (*codes.cid8112.concepts.values(), _DAB):
        if code == known:
            return f"{known.meaning} ({known.value}, {known.scheme_designator})"
    if code.scheme_designator == "SCT" and _SCT.fullmatch(code.value):
        return f"a substance unknown here ({code.value}, SCT)"
    return "a substance that is not coded as DICOM does"
