"""Why a model must not judge a slide: every rule, in the order they are asked.

The answer is a value that becomes a report. Each sentence says what was found and what is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code as SRCode

from engines.manifest.claims import Applicability
from engines.manifest.tensors import TileInput
from engines.manifest.values import Code
from engines.manifest.whole import Manifest
from inference.composition.classes import classes_fault
from inference.outputs.classification import probabilities_fault
from inference.outputs.uncertainty import wrong_interval
from inference.slide.terms import substance_name
from inference.types import Reason

ROUNDING = 1e-5
"""How far a probability may leave [0, 1] by rounding; it is clipped."""
_HEMATOXYLIN = (SRCode("12710003", "SCT", "hematoxylin stain"),)
_EOSINS = (
    SRCode("36879007", "SCT", "water soluble eosin stain"),
    SRCode("1346008", "SCT", "blue shade eosin stain"),
    SRCode("83600004", "SCT", "spirit soluble eosin stain"),
)
"""PS3.16 CID 8112."""
_H_AND_E_METHOD = (
    SRCode("104210008", "SCT", "Hematoxylin and eosin stain method"),
    SRCode("P3-50495", "SRT", "Hematoxylin and eosin stain method"),
)
"""PS3.16 CID 8130: no substance, but some writers state it as the one that was used."""
SURVIVAL_RISE = 1e-4
"""Rounding allowed in a survival curve, which cannot rise."""

DISPUTED_SHARE, DISPUTED_LEAST_MM2 = 0.5, 1.0
"""A slide is refused where what may be tissue beside the mask has this share of it, and this area:
dust and shade stayed below 0.5 mm2 on the slides looked at."""


def magnification_refusal(base_mpp: float, wanted: TileInput) -> tuple[Reason, str] | None:
    """SPACING_TOO_COARSE when the slide has less detail than the model needs."""
    coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
    if base_mpp <= coarsest:
        return None
    return Reason.SPACING_TOO_COARSE, (
        f"The finest level has {base_mpp:.3f} um per pixel; the model needs {coarsest:.3f} or less."
    )


def stain_refusal(
    stated: Sequence[SRCode], applicability: Applicability
) -> tuple[tuple[Reason, str] | None, tuple[str, ...]]:
    """Refusal when a stated stain is not one of the model's, and warnings when none is stated.

    Every coded substance must be among the model's stains: hematoxylin is in an
    immunohistochemistry slide too. Free text is not interpreted.
    """
    if not applicability.stains:
        return None, ()
    known = ", ".join(stain.meaning for stain in applicability.stains)
    if not stated:
        return None, (f"The stain is not stated in the slide; the model is made for {known}.",)
    foreign = [code for code in stated if not _is_known(code, applicability.stains)]
    if not foreign:
        return None, ()
    names = ", ".join(dict.fromkeys(substance_name(code) for code in foreign))
    return (Reason.STAIN, f"The slide is stained with {names}; the model is made for {known}."), ()


def dispute_refusal(tissue_mm2: float, disputed_mm2: float) -> tuple[Reason, str] | None:
    """Why a slide must not be judged of which much may be tissue that was not recognized."""
    if disputed_mm2 < max(DISPUTED_LEAST_MM2, DISPUTED_SHARE * tissue_mm2):
        return None
    return Reason.TOO_LITTLE_TISSUE if tissue_mm2 > 0 else Reason.NO_TISSUE, (
        f"{tissue_mm2:.2f} mm2 of tissue was recognized; {disputed_mm2:.2f} mm2 more take light as "
        "pale or fatty tissue does. A slide is analyzed when that is less than "
        f"{DISPUTED_LEAST_MM2:g} mm2 or {DISPUTED_SHARE:.0%} of its tissue."
    )


def dispute_warning(disputed_mm2: float) -> tuple[str, ...]:
    """What is said of areas that may be tissue and were not analyzed."""
    if disputed_mm2 <= 0:
        return ()
    return (
        f"{disputed_mm2:.2f} mm2 of the slide take light as pale or fatty tissue does, were not "
        "recognized as tissue, and were not analyzed.",
    )


def tissue_refusal(
    tissue_mm2: float, tiles: int, applicability: Applicability, unread_mm2: float = 0.0
) -> tuple[Reason, str] | None:
    """NO_TISSUE, or TOO_LITTLE_TISSUE for what the model needs; `unread_mm2` of tissue more could
    not be used."""
    if tissue_mm2 <= 0:
        return Reason.NO_TISSUE, "No tissue was found on the slide."
    if tissue_mm2 < applicability.minimum_tissue_mm2:
        return Reason.TOO_LITTLE_TISSUE, (
            f"{tissue_mm2:.2f} mm2 of tissue was found; the model needs "
            f"{applicability.minimum_tissue_mm2:g} mm2.{_unread(unread_mm2)}"
        )
    if tiles < applicability.minimum_tiles:
        return Reason.TOO_LITTLE_TISSUE, (
            f"{tiles} fields with enough tissue were found; the model needs "
            f"{applicability.minimum_tiles}.{_unread(unread_mm2)}"
        )
    return None


def _unread(area_mm2: float) -> str:
    if area_mm2 <= 0:
        return ""
    return (
        f" {area_mm2:.2f} mm2 more lie in tiles that could not be read or that levels contradict."
    )


def with_tissue_beyond(refusal: tuple[Reason, str], beyond: Sequence[str]) -> tuple[Reason, str]:
    """A refusal for want of tissue with what is said of tissue that was not scanned."""
    if not beyond:
        return refusal
    return refusal[0], " ".join((refusal[1], *beyond, "Scan the slide again with it."))


def output_refusal(
    manifest: Manifest,
    slide_outputs: Mapping[str, NDArray[np.float32]],
    heatmaps: Mapping[str, NDArray[np.float32]],
    class_values: Mapping[str, NDArray[np.float32]] | None = None,
) -> tuple[Reason, str] | None:
    """MODEL_OUTPUT when a number is missing, infinite or outside of its range.

    `slide_outputs` by tensor name of the aggregator; `heatmaps` [N] and
    `class_values` [N, K] by output name.
    """
    ranges = [(s.name, slide_outputs[s.tensor], -inf, inf) for s in manifest.scores]
    ranges += [(s.name, slide_outputs[s.tensor], 0.0, 1.0) for s in manifest.survivals]
    ranges += [(h.name, heatmaps[h.name], 0.0, 1.0) for h in manifest.heatmaps]
    for name, values, low, high in ranges:
        if not np.all(np.isfinite(values)):
            return Reason.MODEL_OUTPUT, f"The model gave a value for {name} that is no number."
        if np.any(values < low - ROUNDING) or np.any(values > high + ROUNDING):
            return Reason.MODEL_OUTPUT, (
                f"The model gave {float(values.min()):g} to {float(values.max()):g} for {name}; "
                f"expected {low:g} to {high:g}."
            )
    for fault in filter(None, _of_classes(manifest, slide_outputs, class_values or {})):
        return Reason.MODEL_OUTPUT, fault
    if outside := wrong_interval(manifest, slide_outputs):
        return Reason.MODEL_OUTPUT, (
            f"The model gave an interval for {outside} that does not hold its value."
        )
    for survival in manifest.survivals:
        if np.any(np.diff(slide_outputs[survival.tensor].ravel()) > SURVIVAL_RISE):
            return Reason.MODEL_OUTPUT, f"The model gave a curve for {survival.name} that rises."
    return None


def _of_classes(
    manifest: Manifest,
    slide_outputs: Mapping[str, NDArray[np.float32]],
    class_values: Mapping[str, NDArray[np.float32]],
) -> Iterator[str]:
    """Why probabilities of classes are none: those of the slide, then those of its tiles."""
    for output in manifest.classifications:
        yield probabilities_fault(output, slide_outputs[output.tensor])
    for name, values in class_values.items():
        yield classes_fault(name, values)


def _is_known(found: SRCode, stains: Sequence[Code]) -> bool:
    """Whether a stated code is one of the model's stains, an eosin where it knows one, or the
    method that names hematoxylin and eosin by one code where it knows both."""
    knows_eosin = any(_is_any(stain, _EOSINS) for stain in stains)
    if _is_any(found, _EOSINS):
        return knows_eosin
    if _is_any(found, _H_AND_E_METHOD):
        return knows_eosin and any(_is_any(stain, _HEMATOXYLIN) for stain in stains)
    return any(_same(found, stain) for stain in stains)


def _is_any(code: SRCode | Code, wanted: Sequence[SRCode]) -> bool:
    return any(_same(one, code) if isinstance(code, Code) else one == code for one in wanted)


def _same(found: SRCode, wanted: Code) -> bool:
    return bool(found == SRCode(wanted.value, wanted.scheme, wanted.meaning))
