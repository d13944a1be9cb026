"""Published rows in the HTML report: a block of the main table and the whole list."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from training.scoring.places import Column
from training.scoring.published import LAST_EPOCH, PHANTOMS, REGIMES, UNKNOWN, PublishedRow

REGIME_MARKS = {LAST_EPOCH: "a", PHANTOMS: "b", UNKNOWN: "c"}
CONTEXT = ("MCAT", "Disentangled teacher (DMSF+IGC+CGC)", "MKD multimodal")
"""Published models that see genes and still belong beside the students: the usual yardsticks."""


def regimes_in_words() -> str:
    """What the marks beside published methods mean."""
    return "; ".join(
        f"<sup>{mark}</sup> {REGIMES[regime]}" for regime, mark in REGIME_MARKS.items()
    )


def published_lines(rows: Sequence[PublishedRow], cohorts: Sequence[str]) -> tuple[str, str]:
    """Head and body of a table of every published row; numbers point into `sources_in_words`."""
    sources = list(dict.fromkeys(row.source for row in rows))
    head = "".join(f'<th scope="col">{escape(cohort.upper())}</th>' for cohort in cohorts)
    names = '<th class="word"></th><th class="word">needs</th>'
    body = "".join(
        f'<tr><th scope="row">{escape(row.method)}'
        f"<sup>{REGIME_MARKS[row.regime]}, {sources.index(row.source) + 1}</sup></th>"
        f'<td class="word">{escape(row.inference)}</td>'
        f"{''.join(_published_cell(row, cohort) for cohort in cohorts)}</tr>"
        for row in rows
    )
    return f"<tr>{names}{head}</tr>", f"<tbody>{body}</tbody>"


def sources_in_words(rows: Sequence[PublishedRow]) -> str:
    """Where the rows were read; P1: the authors' own files, P2: a paper, S: second hand."""
    sources = dict.fromkeys(row.source for row in rows)
    return " ".join(f"<sup>{at}</sup> {escape(source)}." for at, source in enumerate(sources, 1))


def published_block(
    rows: Sequence[PublishedRow], columns: Sequence[Column], kinds: Sequence[str]
) -> str:
    """Slide-only rows that have most of the cohorts; empty where there is none."""
    cohorts = {at.cohort for at in columns}
    shown = [
        row
        for row in rows
        if (row.inference.startswith("WSI (") or row.inference == "WSI" or row.method in CONTEXT)
        and len(row.values) * 2 > len(cohorts)
    ]
    lines = []
    for row in shown:
        cells = [
            _published_cell(row, at.cohort) if at.kind == "official" else '<td class="none">–</td>'
            for at in columns
        ]
        if len(columns) > len(kinds):
            cells += [_published_mean(row, cohorts, kind, not at) for at, kind in enumerate(kinds)]
        name = f"{escape(row.method)}<sup>{REGIME_MARKS[row.regime]}</sup>"
        lines.append(
            f'<tr><th scope="row">{name}</th><td class="word">{escape(row.inference)}</td>'
            f"{''.join(cells)}</tr>"
        )
    if not lines:
        return ""
    width = 2 + len(columns) + (len(kinds) if len(columns) > len(kinds) else 0)
    title = f'<tr><th class="block" colspan="{width}">published</th></tr>'
    return f"<tbody>{title}{''.join(lines)}</tbody>"


def _published_cell(row: PublishedRow, cohort: str) -> str:
    if cohort not in row.values:
        return '<td class="none">not given</td>'
    value, sd = row.values[cohort]
    spread = "" if sd is None else f"<small>±{sd:.3f}</small>"
    return f"<td>{value:.3f}{spread}</td>"


def _published_mean(row: PublishedRow, cohorts: set[str], kind: str, first: bool) -> str:
    border = " mean" if first else ""
    if kind != "official":
        return f'<td class="none{border}">–</td>'
    if not cohorts <= set(row.values):
        return f'<td class="none{border}">not given</td>'
    mean = sum(row.values[cohort][0] for cohort in cohorts) / len(cohorts)
    return f'<td class="{border.strip()}">{mean:.3f}</td>'
