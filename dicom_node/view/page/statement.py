"""What the report says, top down: refusal or caution, numbers, what was analyzed, limits, the
rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from dicom_node.view.page import numbers
from dicom_node.view.page.cards.composition import composition_table
from dicom_node.view.page.markup import Named, card, facts, note, sentences
from dicom_node.view.page.words import USE, Words, of_a_model, of_the_slide, words_of
from dicom_node.view.reading import Group, Measurement, Report, gathered

_FIRST = 3
_REFUSED = "No prediction"
_READ_FIRST = "Read this first"
_NO_INTERVAL = "The report states no interval for these numbers: how sure they are is not known."
_NOTHING_LEFT_OUT = "The report does not say which tissue was left out, nor why."
_MAP_ONLY = "<p>No score: this model gives maps of the slide and no number for it as a whole.</p>"


def report_cards(report: Report, *, with_patches: bool) -> str:
    """The cards of the report column; `with_patches` where no close-ups tell their values."""
    words = words_of(report)
    limits = card("Limits, and how good the model was where it was measured", _named(words.limits))
    comments = card("Comments", _named(_comments(report, words)))
    return (
        card("Result", _result(report, words, with_patches=with_patches), "result")
        + card("What was analyzed, and what not", _analyzed(report, words))
        + (limits if words.limits else "")
        + (comments if _comments(report, words) else "")
    )


def headline(report: Report) -> str:
    """The refusal, or the class and the first numbers of the report, for a list of slides."""
    if report.is_refusal:
        return _box(_REFUSED, _reasons(report.statements))
    cautions = words_of(report).cautions
    box = _box(_READ_FIRST, cautions) if cautions else ""
    found = of_a_model(report)
    shown = _first(found or of_the_slide(report))
    mark = bool(found) and report.is_research
    results = (named for group in report.statements for named in group.result)
    rows = _coded(results) + numbers.rows(shown, (), mark=mark)
    return f"{box}<table>{rows}</table>"


def _first(found: Sequence[Measurement]) -> Sequence[Measurement]:
    """The first numbers; of probabilities of classes the highest."""
    chances = [m for m in found if m.is_of_class]
    others = [m for m in found if not m.is_of_class]
    return [*sorted(chances, key=lambda m: -float(m.value)), *others][:_FIRST]


def has_numbers(report: Report) -> bool:
    """Whether a model gave a number for the slide that is not counted on its map."""
    return any(not numbers.is_of_a_region(m.name) for m in of_a_model(report))


def _result(report: Report, words: Words, *, with_patches: bool) -> str:
    parts = []
    if report.is_refusal:
        parts.append(_box(_REFUSED, _reasons(report.statements)))
        parts += [f"<p>{escape(text)}</p>" for text in _detail(report, words)]
    elif words.cautions:
        parts.append(_box(_READ_FIRST, words.cautions))
    parts.append(_use(report, words))
    if not report.is_refusal:
        parts += _numbers(report, words)
        parts.append(sentences(words.results))
    if with_patches and report.patches:
        parts.append(_patch_values(report.patches, mark=report.is_research))
    return "".join(parts)


def _detail(report: Report, words: Words) -> Sequence[str]:
    """The sentence of a refusal that says what was found: the first of its comments."""
    stated = [text for _, text in words.assessed]
    return stated or [c for group in report.statements for c in group.comments][:1]


def _comments(report: Report, words: Words) -> Sequence[Named]:
    told = _detail(report, words) if report.is_refusal else ()
    return [(name, text) for name, text in words.others if not _is_told(text, told)]


def _is_told(text: str, told: Iterable[str]) -> bool:
    return any(text in one for one in told)


def _use(report: Report, words: Words) -> str:
    """What the result is for: in the report's sentences, else by its code."""
    evaluations = [e for group in report.groups for e in group.evaluations]
    coded = dict.fromkeys(value for name, value in evaluations if name == USE)
    texts = words.use or tuple(coded)
    return note(f"{USE}: {' '.join(texts)}" if texts else "")


def _numbers(report: Report, words: Words) -> Iterator[str]:
    yield facts(words.assessed, "row")
    for group in report.statements:
        yield _group(group, words, mark=report.is_research)
    loose = [m for m in report.measurements if not m.is_of_the_analysis]
    if loose:
        yield f"<table>{numbers.rows(loose, words.with_numbers, mark=report.is_research)}</table>"
    models = of_a_model(report)
    if not models and not words.results:
        yield _MAP_ONLY
    elif models and not _says_how_sure(report, words):
        yield note(_NO_INTERVAL)


def _says_how_sure(report: Report, words: Words) -> bool:
    """Whether the report says it for any number, or that nobody knows."""
    coded = [f"{n} {v}" for group in report.statements for n, v in group.evaluations]
    texts = (*coded, *words.results)
    return any(map(numbers.states_interval, of_a_model(report))) or any(
        map(numbers.speaks_of_intervals, texts)
    )


def _group(group: Group, words: Words, *, mark: bool) -> str:
    """Heading, numbers and coded statements of a group of the slide."""
    of_the_model = [m for m in group.measurements if not m.is_of_the_analysis]
    table, others = composition_table(of_the_model, mark=mark)
    rows = _coded(group.result) + numbers.rows(others, words.with_numbers, mark=mark)
    said_above = {USE, "Caution"} if words.cautions else {USE}
    rows += _coded(gathered(e for e in group.statements if e[0] not in said_above))
    heading = f"<h3>{escape(group.finding)}</h3>" if group.finding else ""
    return heading + table + (f"<table>{rows}</table>" if rows else "")


def _coded(statements: Iterable[Named]) -> str:
    """Rows of a table, of what is coded."""
    return "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="words" colspan="2">{escape(value)}</td></tr>'
        for name, value in statements
    )


def _reasons(groups: Sequence[Group]) -> Sequence[str]:
    """The coded reasons of a refusal, without the words that say again that it is one."""
    said = [evaluation for group in groups for evaluation in group.evaluations]
    reasons = [value for name, value in said if "reason" in name.casefold()]
    return list(dict.fromkeys(reasons or [value for _, value in said]))


def _analyzed(report: Report, words: Words) -> str:
    counted = [m for m in of_the_slide(report) if m.is_of_the_analysis]
    rows = numbers.rows(counted, words.with_numbers, mark=False)
    told = _named(words.analyzed)
    if report.is_refusal and not (rows or told):
        return "<p>Nothing was analyzed.</p>"
    silent = note("" if words.analyzed or report.is_refusal else _NOTHING_LEFT_OUT)
    return (f"<table>{rows}</table>" if rows else "") + told + silent


def _named(remarks: Sequence[Named]) -> str:
    """Texts under their names, then those without one."""
    nameless = [text for name, text in remarks if not name]
    return facts(r for r in remarks if r[0]) + sentences(nameless)


def _patch_values(patches: Sequence[Group], *, mark: bool) -> str:
    rows = "".join(
        numbers.rows([Measurement(f"{n}. {m.name}", m.value, m.unit)], (), mark=mark)
        for n, group in enumerate(patches, start=1)
        for m in group.measurements
    )
    return f"<h3>Top patches: {escape(patches[0].finding)}</h3><table>{rows}</table>"


def _box(title: str, texts: Iterable[str]) -> str:
    return f'<div class="caution"><b>{escape(title)}</b>{sentences(filter(None, texts))}</div>'
