"""What the report says, top down: refusal or caution, numbers, what was analyzed, the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from dicom_node.view.page import numbers
from dicom_node.view.page.markup import Named, card, facts, note, sentences
from dicom_node.view.reading import Group, Measurement, Report

_LEFT_OUT = re.compile(
    r"not analy[sz]ed|left out|excluded|no outline|pieces of tissue|levels? read|"
    r"tissue share|derived spacing|out.of.distribution",
    re.I,
)
_FIRST = 3
_USE = "Intended use: "
_REFUSED = "No prediction"
_NO_INTERVAL = "The report states no interval for these numbers: how sure they are is not known."
_NOTHING_LEFT_OUT = "The report does not say which tissue was left out, nor why."


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The words of a report by the place where they are read."""

    cautions: tuple[str, ...]
    use: tuple[str, ...]
    analyzed: tuple[Named, ...]
    said_with_numbers: tuple[str, ...]
    others: tuple[str, ...]
    remarks: tuple[Named, ...]


def report_cards(report: Report, *, with_patches: bool) -> str:
    """The cards of the report column; `with_patches` where no close-ups tell their values."""
    words = _sort(report)
    return (
        card("Result", _result(report, words, with_patches=with_patches), "result")
        + card("What was analyzed, and what not", _analyzed(report, words))
        + (card("Comments", _others(words)) if words.others or words.remarks else "")
    )


def has_numbers(report: Report) -> bool:
    """Whether a model gave a number for the slide as a whole."""
    return any(not numbers.is_of_the_analysis(m.name) for m in _of_the_slide(report))


def headline(report: Report) -> str:
    """The refusal, or the first numbers of the report, for a list of slides."""
    if report.is_refusal:
        return _box(_REFUSED, [_verdict(report.statements)])
    found = [m for m in _of_the_slide(report) if not numbers.is_of_the_analysis(m.name)]
    shown = found or _of_the_slide(report)
    of_a_model = bool(found) and report.is_research
    cautions = [c for c in _sort(report).cautions]
    box = _box("Read this first", cautions) if cautions else ""
    return f"{box}<table>{numbers.rows(shown[:_FIRST], (), mark=of_a_model)}</table>"


def _of_the_slide(report: Report) -> list[Measurement]:
    own = [m for group in report.statements for m in group.measurements]
    return [*own, *report.measurements]


def _sort(report: Report) -> _Sorted:
    measured = _of_the_slide(report)
    comments = list(dict.fromkeys(c for group in report.groups for c in group.comments))
    named = list(
        dict.fromkeys((*report.remarks, *(r for group in report.groups for r in group.remarks)))
    )
    cautions = tuple(c for c in comments if c.startswith("Caution"))
    use = tuple(c.removeprefix(_USE) for c in comments if c.startswith(_USE))
    use += tuple(text for name, text in named if name.startswith("Intended use"))
    beside = tuple(c for c in comments if numbers.said_of_a_number(c, measured))
    left = [c for c in comments if c not in cautions and not c.startswith(_USE)]
    analyzed = [("", c) for c in left if _LEFT_OUT.search(c)]
    analyzed += [r for r in named if _is_of_the_analysis(r)]
    rest = [c for c in left if ("", c) not in analyzed and c not in beside]
    remarks = [r for r in named if r not in analyzed and not r[0].startswith("Intended use")]
    return _Sorted(cautions, use, tuple(analyzed), beside, tuple(rest), tuple(remarks))


def _is_of_the_analysis(remark: Named) -> bool:
    name, text = remark
    return numbers.is_of_the_analysis(name) or bool(_LEFT_OUT.search(f"{name} {text}"))


def _result(report: Report, words: _Sorted, *, with_patches: bool) -> str:
    parts = []
    if report.is_refusal:
        parts.append(_box(_REFUSED, [_verdict(report.statements)]))
        detail = words.others[:1]  # the first sentence of a refusal says what was found
        parts += [f"<p>{escape(text)}</p>" for text in detail]
    elif words.cautions:
        parts.append(_box("Read this first", words.cautions))
    for group in report.statements:
        parts.append(_group(group, words, mark=report.is_research))
    loose = [m for m in report.measurements if not numbers.is_of_the_analysis(m.name)]
    if loose:
        said = words.said_with_numbers
        parts.append(f"<table>{numbers.rows(loose, said, mark=report.is_research)}</table>")
    parts.append(_how_sure(report))
    if with_patches and report.patches:
        parts.append(_patch_values(report.patches, mark=report.is_research))
    coded = dict.fromkeys(
        v for group in report.groups for n, v in group.evaluations if n == _USE[:-2]
    )
    use = ". ".join((*coded, *words.use))
    parts.append(note(f"{_USE}{use}" if use else ""))
    return "".join(parts)


def _group(group: Group, words: _Sorted, *, mark: bool) -> str:
    """Heading, numbers and coded statements of a group of the slide."""
    of_the_model = [m for m in group.measurements if not numbers.is_of_the_analysis(m.name)]
    rows = numbers.rows(of_the_model, words.said_with_numbers, mark=mark)
    stated = [(n, v) for n, v in group.evaluations if group.measurements and n != _USE[:-2]]
    rows += "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="words" colspan="2">{escape(value)}</td></tr>'
        for name, value in stated
    )
    none = "" if of_the_model or not group.measurements else _MAP_ONLY
    heading = f"<h3>{escape(group.finding)}</h3>" if group.finding else ""
    return f"{heading}{none}" + (f"<table>{rows}</table>" if rows else "")


_MAP_ONLY = "<p>No score: this model gives maps of the slide and no number for it as a whole.</p>"


def _how_sure(report: Report) -> str:
    models = [m for m in _of_the_slide(report) if not numbers.is_of_the_analysis(m.name)]
    unsure = models and not any(map(numbers.states_interval, models))
    return note(_NO_INTERVAL) if unsure else ""


def _verdict(groups: Sequence[Group]) -> str:
    """The coded reasons of a refusal, without the words that say again that it is one."""
    said = [(n, v) for group in groups for n, v in group.evaluations]
    reasons = [v for n, v in said if "reason" in n.casefold()]
    return "; ".join(dict.fromkeys(reasons or [v for _, v in said]))


def _analyzed(report: Report, words: _Sorted) -> str:
    counted = [m for m in _of_the_slide(report) if numbers.is_of_the_analysis(m.name)]
    table = numbers.rows(counted, words.said_with_numbers, mark=False)
    named = facts((r for r in words.analyzed if r[0]), "facts")
    texts = sentences(text for name, text in words.analyzed if not name)
    silent = note("" if words.analyzed or report.is_refusal else _NOTHING_LEFT_OUT)
    if report.is_refusal and not (table or named or texts):
        return "<p>Nothing was analyzed.</p>"
    return (f"<table>{table}</table>" if table else "") + named + texts + silent


def _others(words: _Sorted) -> str:
    return facts(r for r in words.remarks if r[0]) + sentences(
        (*words.others, *(text for name, text in words.remarks if not name))
    )


def _patch_values(patches: Sequence[Group], *, mark: bool) -> str:
    rows = "".join(
        numbers.rows([Measurement(f"{n}. {m.name}", m.value, m.unit)], (), mark=mark)
        for n, group in enumerate(patches, start=1)
        for m in group.measurements
    )
    return f"<h3>Top patches: {escape(patches[0].finding)}</h3><table>{rows}</table>"


def _box(title: str, texts: Iterable[str]) -> str:
    return f'<div class="caution"><b>{escape(title)}</b>{sentences(filter(None, texts))}</div>'
