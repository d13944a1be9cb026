"""Whether an output may speak of a slide: it is silent on organs that it was not measured on."""

from __future__ import annotations

from collections.abc import Sequence

from engines.manifest.outputs import HeatmapOutput
from engines.manifest.values import Code
from engines.manifest.whole import Manifest
from inference.slide.attributes import BadValue
from inference.slide.slide import Slide
from inference.specimen.codes import Coded
from inference.specimen.deciding import Decision, agreed, decide
from inference.specimen.organs import is_covered
from inference.specimen.says import SlideSays, read_specimens

UNREAD = Decision(None, "What the slide says of its specimen cannot be read.")


def asks_for_organs(manifest: Manifest) -> bool:
    """Whether anything of the student is for some organs only."""
    of_maps = any(output.organs for output in (*manifest.heatmaps, *manifest.class_maps))
    of_classes = any(output.organs for output in manifest.classifications)
    return of_maps or of_classes or any(output.organs for output in manifest.measures)


def organ_of(slide: Slide) -> Decision:
    """The organ that all levels of an open slide are of, or why that is undecided; as the models
    for a slide are chosen."""
    try:
        return agreed([decide(says) for says in _says(slide)])
    except BadValue:
        return UNREAD


def _says(slide: Slide) -> list[SlideSays]:
    return [read_specimens(image.dataset) for image in slide.images_of("VOLUME")]


def out_of_scope(organs: Sequence[Code], origin: Decision | None) -> str:
    """Why what was measured on these organs says nothing of a slide, in a sentence; empty where it
    may. `origin` is what is known of the slide's organ."""
    if not organs:
        return ""
    known = [Coded(code.value, code.scheme, code.meaning).organ for code in organs]
    organ = origin.organ if origin else None
    if organ is not None and is_covered(organ, [one for one in known if one is not None]):
        return ""
    start = f"Not assessed, because it was measured on {names_of(organs)} only"
    if organ is not None:
        return f"{start}; the slide is of {organ.name}."
    return f"{start}. {origin.sentence if origin else UNREAD.sentence}"


def silent_classes(manifest: Manifest, origins: Sequence[Decision | None]) -> dict[str, str]:
    """Why outputs of one class say nothing of a slide of this organ, by output name; or of a case
    of slides of these organs: its class is of all their tiles together, so none may be of another.
    """
    found = {}
    for output in manifest.classifications:
        whys = [why for origin in origins if (why := out_of_scope(output.organs, origin))]
        if whys and len(whys) == len(origins) and len(set(whys)) == 1:
            found[output.name] = whys[0]
        elif whys:
            found[output.name] = (
                f"Not assessed, because it was measured on {names_of(output.organs)} only; "
                f"{len(whys)} of {len(origins)} slides used are of another organ or do not say of "
                "which."
            )
    return found


def of_heatmap(output: HeatmapOutput, origin: Decision | None) -> tuple[str, str]:
    """Why a map of one value says nothing of a slide, or the caution that it needs; both empty
    where it was measured on the slide's organ.

    A slide that says nothing of its organ keeps the map: many do, and a reader sees what it is of.
    One that says something that is not understood, as of a metastasis, does not.
    """
    why = out_of_scope(output.organs, origin)
    if why and origin is not None and origin.organ is None and origin.is_silent:
        return "", (
            f"{output.name}: measured on {names_of(output.organs)} only, and the slide does not "
            "say of which organ it is."
        )
    return why, ""


def names_of(organs: Sequence[Code]) -> str:
    """Organs in words, such as "colon and breast"."""
    found = []
    for code in organs:
        organ = Coded(code.value, code.scheme, code.meaning).organ
        found.append(organ.name if organ else code.meaning)
    *first, last = dict.fromkeys(found)
    return f"{', '.join(first)} and {last}" if first else last
