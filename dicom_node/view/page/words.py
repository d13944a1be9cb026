"""The words of a report, sorted by the place where they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.view.page import numbers
from dicom_node.view.page.markup import Named
from dicom_node.view.reading import Measurement, Report

USE = "Intended use"
_CAUTION = re.compile(r"(Caution|Vorsicht): ")
"""How a comment that is a caution begins, in each language of reports."""
_OF_USE = re.compile(rf"^{USE}|may be used for", re.I)
_OF_LIMITS = re.compile(r"\blimit|performance", re.I)
_ASSESSED = re.compile(r"assess", re.I)
_RESULT = re.compile(r"^results?$", re.I)
_STANDS_ABOVE = re.compile(r"^(slide|assessment by the model|reason not predictable)$", re.I)
"""What the page says at its head, or in the box of a refusal."""
_OF_THE_ANALYSIS = re.compile(r"analy[sz]ed|excluded|left out|^tiles?\b|spacing|\blevels?\b", re.I)
_LEFT_OUT = re.compile(
    r"not analy[sz]ed|left out|excluded|no outline|pieces of tissue|levels? read|"
    r"tissue share|derived spacing|out.of.distribution",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Words:
    """Each sentence of the report once."""

    cautions: tuple[str, ...]
    use: tuple[str, ...]
    """What the result is for and what not."""
    assessed: tuple[Named, ...]
    results: tuple[str, ...]
    with_numbers: tuple[str, ...]
    """Comments that belong to a single number."""
    analyzed: tuple[Named, ...]
    """What was looked at and what was left out."""
    limits: tuple[Named, ...]
    """Limits of the model, and how good it was where it was measured."""
    others: tuple[Named, ...]


def words_of(report: Report) -> Words:
    """Comments and named texts of a report, whichever it has of them."""
    comments = list(dict.fromkeys(c for group in report.groups for c in group.comments))
    in_groups = [remark for group in report.groups for remark in group.remarks]
    named = list(dict.fromkeys((*report.remarks, *in_groups)))
    cautions = [c for c in comments if _CAUTION.match(c)]
    stated_use = [c for c in comments if c.startswith(f"{USE}: ")]
    of_numbers = [c for c in comments if numbers.said_of_a_number(c, of_the_slide(report))]
    taken = [r for r in named if _OF_USE.search(r[0]) or _STANDS_ABOVE.search(r[0])]
    assessed, results, limits = (
        [r for r in named if r not in taken and pattern.search(r[0])]
        for pattern in (_ASSESSED, _RESULT, _OF_LIMITS)
    )
    rest = [r for r in named if r not in (*taken, *assessed, *results, *limits)]
    said = (*cautions, *stated_use, *of_numbers)
    plain = [c for c in comments if c not in said and not any(c in text for _, text in results)]
    everything = [*rest, *(("", c) for c in plain)]
    analyzed = [r for r in everything if _is_of_the_analysis(r)]
    use = [text for name, text in named if _OF_USE.search(name)]
    return Words(
        cautions=tuple(_CAUTION.sub("", c, count=1) for c in cautions),
        use=tuple(dict.fromkeys((*use, *(c.removeprefix(f"{USE}: ") for c in stated_use)))),
        assessed=tuple((name, _without(text, cautions)) for name, text in assessed),
        results=tuple(text for _, text in results),
        with_numbers=tuple(of_numbers),
        analyzed=tuple(analyzed),
        limits=tuple(limits),
        others=tuple(r for r in everything if r not in analyzed),
    )


def _without(text: str, cautions: Sequence[str]) -> str:
    """A sentence without the cautions in it, which stand in a box of their own."""
    for caution in cautions:
        text = text.replace(_CAUTION.sub("", caution, count=1), "")
    return " ".join(text.split())


def of_the_slide(report: Report) -> Sequence[Measurement]:
    """The numbers of the slide as a whole."""
    own = [m for group in report.statements for m in group.measurements]
    return [*own, *report.measurements]


def of_a_model(report: Report) -> Sequence[Measurement]:
    """Those of them that a model made, without those that say what was looked at."""
    return [m for m in of_the_slide(report) if not m.is_of_the_analysis]


def _is_of_the_analysis(remark: Named) -> bool:
    name, text = remark
    return bool(_OF_THE_ANALYSIS.search(name) or _LEFT_OUT.search(f"{name} {text}"))
