"""Tables of the HTML report. A cell without a run says so; nothing is blank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from training.page.published import published_block
from training.scoring.cells import Cell
from training.scoring.comparisons import Difference, Row
from training.scoring.evaluate import Facts, TaskReport
from training.scoring.naming import ROLES, RowName
from training.scoring.places import Column
from training.scoring.resample import Interval

NOT_RUN = '<td class="none">not run</td>'
FOLD_WORDS = {"official": "as published", "site": "by site"}
LONG = 40
"""Words in a cell that may break over lines."""
KIND_NAMES = {"official": "official", "site": "by site"}


def main_table(report: TaskReport, rule: str, caption: str) -> str:
    """Rows by role, columns by cohort and kind of folds, then the means, then published rows."""
    columns = display_order(report.columns)
    kinds = kinds_of(columns)
    most = {at: _most_folds(report.rows, at) for at in columns}
    body = "".join(
        f"<tbody>{''.join(_main_row(row, rule, most, kinds) for row in block)}</tbody>"
        for block in _blocks(report.rows)
    )
    if rule == "inner":
        body += published_block(report.published, columns, kinds)
    return table(_head(columns, kinds), body, caption)


def figure_table(report: TaskReport, figure: str, caption: str) -> str:
    """Another figure by the inner rule: mean over folds, its sd and, of classes, its interval."""
    columns = display_order(report.columns)
    rows = [
        _line(row, [_figure_cell(row.cells.get(("inner", at)), figure) for at in columns])
        for row in report.rows
    ]
    if figure == "brier":
        floor = [_plus_minus(*report.training_curve_brier[at]) for at in columns]
        rows.append(f'<tr><th scope="row">Kaplan-Meier of the training patients</th>'
                    f'<td class="word">nothing</td>{"".join(floor)}</tr>')  # fmt: skip
    return table(_head(columns, ()), f"<tbody>{''.join(rows)}</tbody>", caption)


def seed_table(report: TaskReport, columns: Sequence[Column], caption: str) -> str:
    """Mean over folds of every seed, and the figure of all patients pooled."""
    rows = []
    for row in report.rows:
        cells = [row.cells.get(("inner", at)) for at in columns]
        if any(cells):
            rows.append(_line(row, [_seeds(cell) for cell in cells]))
    return table(_head(columns, ()), f"<tbody>{''.join(rows)}</tbody>", caption)


def difference_table(
    differences: Sequence[Difference], columns: Sequence[Column], caption: str
) -> str:
    """Student minus each other row under one kind of folds, per cohort and on the mean."""
    pairs: dict[tuple[RowName, RowName], dict[Column | None, Interval]] = {}
    for found in differences:
        pairs.setdefault((found.first, found.second), {})[found.column] = found.interval
    rows = []
    for (first, second), values in pairs.items():
        cells = [_signed_cell(values.get(at)) for at in columns]
        if len(columns) > 1:
            cells.append(_signed_cell(values.get(None), "mean"))
        other = ROLES[second.role] if second.method == first.method else second.text
        name = f"{escape(first.text)} − {escape(other)}"
        rows.append(
            f'<tr><th scope="row">{name}</th><td class="word">{second.needs}</td>'
            f"{''.join(cells)}</tr>"
        )
    return table(_head(columns, kinds_of(columns)), f"<tbody>{''.join(rows)}</tbody>", caption)


def facts_table(facts: Sequence[Facts], columns: Sequence[Column], caption: str) -> str:
    """Numbers the methods reported themselves."""
    columns = display_order(columns)
    rows: dict[tuple[str, str], dict[Column, Facts]] = {}
    for fact in facts:
        rows.setdefault((fact.method, fact.name), {})[fact.column] = fact
    body = ""
    for (method, name), found in rows.items():
        cells = [
            _plus_minus(found[at].mean, found[at].sd) if at in found else NOT_RUN for at in columns
        ]
        word = name.replace("_", " ")
        body += (
            f'<tr><th scope="row">{escape(method)}</th><td class="word">{escape(word)}</td>'
            f"{''.join(cells)}</tr>"
        )
    return table(_head(columns, (), "correlation"), f"<tbody>{body}</tbody>", caption)


def list_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Plain words; the caller has escaped what is not its own."""
    top = "".join(f'<th class="word">{word}</th>' for word in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(
            f'<td class="word{" wrap" if len(word) > LONG else ""}">{word}</td>' for word in rest
        )
        + "</tr>"
        for first, *rest in rows
    )
    return table(f"<tr>{top}</tr>", f"<tbody>{body}</tbody>", caption)


def display_order(columns: Sequence[Column]) -> list[Column]:
    """Official and site folds of a cohort side by side."""
    return sorted(columns, key=lambda at: (at.cohort, at.kind))


def kinds_of(columns: Sequence[Column]) -> list[str]:
    """Kinds of folds, official first."""
    return sorted({at.kind for at in columns})


def number(value: float) -> str:
    """Three digits, or the word for none."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def signed(found: Interval) -> str:
    """A difference with its sign and interval; what is undefined says so."""
    if math.isnan(found.value):
        return "undefined"
    around = "" if math.isnan(found.low) else f" ({found.low:+.3f} to {found.high:+.3f})"
    return f"{found.value:+.3f}{around}"


def _head(columns: Sequence[Column], kinds: Sequence[str], second: str = "needs") -> str:
    several = len(kinds_of(columns)) > 1
    names = '<th class="word">{}</th>'
    with_mean = kinds if len(columns) > len(kinds) else ()
    if not several:
        cells = "".join(f'<th scope="col">{escape(at.cohort.upper())}</th>' for at in columns)
        cells += "".join('<th scope="col" class="mean">mean</th>' for _ in with_mean)
        return f"<tr>{names.format('')}{names.format(second)}{cells}</tr>"
    cohorts = list(dict.fromkeys(at.cohort for at in columns))
    top = "".join(
        f'<th colspan="{sum(at.cohort == cohort for at in columns)}">{escape(cohort.upper())}</th>'
        for cohort in cohorts
    )
    top += f'<th colspan="{len(with_mean)}" class="mean">mean</th>' if with_mean else ""
    low = "".join(f'<th scope="col">{KIND_NAMES[at.kind]}</th>' for at in columns)
    low += "".join(
        f'<th scope="col"{"" if at else " class=mean"}>{KIND_NAMES[kind]}, '
        f"{sum(column.kind == kind for column in columns)} cohorts</th>"
        for at, kind in enumerate(with_mean)
    )
    both = '<th class="word" rowspan="2">{}</th>'
    return f"<tr>{both.format('')}{both.format(second)}{top}</tr><tr>{low}</tr>"


def _blocks(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one distilled method together, floors together, baselines together."""
    methods = list(dict.fromkeys(row.name.method for row in rows if row.name.role == "student"))
    found: dict[str, list[Row]] = {}
    for row in rows:
        method = row.name.method
        key = method if method in methods else "other" if method else "floors"
        found.setdefault(key, []).append(row)
    return list(found.values())


def _most_folds(rows: Sequence[Row], column: Column) -> int:
    return max(
        len(cell.folds) for row in rows for (_, at), cell in row.cells.items() if at == column
    )


def _main_row(row: Row, rule: str, most: Mapping[Column, int], kinds: Sequence[str]) -> str:
    columns = list(most)
    cells = [_cell(row.cells.get((rule, at)), most[at]) for at in columns]
    if len(columns) > len(kinds):
        for at, kind in enumerate(kinds):
            mean = row.means.get((rule, kind))
            border = "" if at else ' class="mean"'
            if mean is None:
                some = sum((rule, column) in row.cells for column in columns if column.kind == kind)
                total = sum(column.kind == kind for column in columns)
                words = f"{some} of {total} run" if some else "not run"
                cells.append(f'<td class="none{"" if at else " mean"}">{words}</td>')
            else:
                found = mean.interval
                cells.append(
                    f"<td{border}>{number(found.value)}<small>{_range(found)}</small></td>"
                )
    return _line(row, cells)


def _line(row: Row, cells: Sequence[str]) -> str:
    main = ' class="main"' if row.name.role == "student" else ""
    return (
        f'<tr{main}><th scope="row">{escape(row.name.text)}</th>'
        f'<td class="word">{row.name.needs}</td>{"".join(cells)}</tr>'
    )


def _cell(cell: Cell | None, folds: int) -> str:
    """`folds`: how many the fullest row of this column has."""
    if cell is None:
        return NOT_RUN
    said = (
        f"95 % {_range(Interval(cell.value, cell.low, cell.high))}; pooled {number(cell.pooled)}; "
        f"{cell.patients} patients, {len(cell.folds)} folds"
    )
    part = "" if len(cell.folds) == folds else f"<small>{len(cell.folds)} of {folds} folds</small>"
    spread = "" if len(cell.folds) == 1 else f"<small>±{cell.sd:.3f}</small>"
    return f'<td title="{said}">{number(cell.value)}{spread}{part or _one_fold(cell)}</td>'


def _figure_cell(cell: Cell | None, figure: str) -> str:
    if cell is None:
        return NOT_RUN
    mean, sd = cell.figures[figure]
    if math.isnan(mean) and figure == "brier":
        return '<td class="none">no curve</td>'
    ends = cell.intervals.get(figure)
    around = "" if ends is None else f"<small>{_range(Interval(mean, *ends))}</small>"
    return _plus_minus(mean, sd if len(cell.folds) > 1 else None, around)


def _one_fold(cell: Cell) -> str:
    return "<small>one fold</small>" if len(cell.folds) == 1 else ""


def _plus_minus(mean: float, sd: float | None, around: str = "") -> str:
    if math.isnan(mean):
        return '<td class="none">undefined</td>'
    if abs(mean) >= 1000:
        return f"<td>{mean:,.0f}</td>"
    spread = "" if sd is None else f"<small>±{sd:.3f}</small>"
    return f"<td>{mean:.3f}{spread}{around}</td>"


def _seeds(cell: Cell | None) -> str:
    if cell is None:
        return NOT_RUN
    words = " · ".join(number(value).removeprefix("0") for value in cell.seeds.values())
    return f"<td>{words}<small>pooled {number(cell.pooled)}</small></td>"


def _signed_cell(found: Interval | None, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    if found is None:
        return f'<td class="none {kind}">no pair</td>'
    ends = f"{found.low:+.3f} to {found.high:+.3f}".replace("0.", ".")
    words = f"{found.value:+.3f}<small>{ends}</small>"
    return f"<td{name}>{words.replace('-', '−').replace('nan', '?')}</td>"


def _range(found: Interval) -> str:
    if math.isnan(found.low):
        return "no interval"
    return f"{found.low:.3f} to {found.high:.3f}"


def table(head: str, body: str, caption: str) -> str:
    """A table that scrolls sideways on a narrow page, its caption below."""
    said = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="scroll"><table>{said}<thead>{head}</thead>{body}</table></div>'


def own_twins(differences: Sequence[Difference], role: str = "twin") -> list[Difference]:
    """Student minus its own twin, inner rule, official folds first, means last of their kind.

    `role` "self" is the twin of equal capacity.
    """
    own = [
        found
        for found in differences
        if found.rule == "inner" and found.second == RowName(found.first.method, role)
    ]
    return sorted(
        own,
        key=lambda at: (
            at.first,
            at.kind,
            at.column is None,
            at.column.cohort if at.column else "",
        ),
    )


def column_name(column: Column, columns: Sequence[Column]) -> str:
    """The cohort, and its kind of folds where there are two."""
    name = column.cohort.upper()
    return name if len(kinds_of(columns)) == 1 else f"{name} {KIND_NAMES[column.kind]}"
