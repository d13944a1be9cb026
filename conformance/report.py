"""What a run found: a table by section of the standard, JSON, and JUnit."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from conformance.case import Result
from conformance.verdicts import Verdict

_NOT_PRINTABLE = re.compile(r"[^ -~]")
_LONGEST = 300
_NOT_ASKED = (Verdict.SKIPPED, Verdict.NOT_APPLICABLE)


def line(result: Result) -> str:
    """One result on one line."""
    said = plain(_said(result))
    return f"{result.verdict:<16}{result.case.id:<44}{said}".rstrip()


def table(results: Sequence[Result]) -> str:
    """All results by part and section of the standard, with what was found where one failed."""
    lines = []
    for section in sorted({r.case.section for r in results}, key=_in_order):
        here = [r for r in results if r.case.section == section]
        lines.append(f"\n{section}  ({counts(here)})")
        for result in here:
            lines.append(f"  {result.verdict:<16}{result.case.id:<42}{result.case.sentence}")
            if _said(result):
                lines.append(f"{'':<18}{plain(_said(result))}")
    return "\n".join([*lines, "", f"{len(results)} cases: {counts(results)}"])


def counts(results: Sequence[Result]) -> str:
    """How many ended how."""
    found = Counter(r.verdict for r in results)
    return ", ".join(f"{found[v]} {v}" for v in Verdict if found[v]) or "none"


def as_json(results: Sequence[Result], about: dict[str, Any]) -> str:
    """Everything, for programs."""
    cases = [
        {
            "id": r.case.id,
            "section": r.case.section,
            "sentence": r.case.sentence,
            "needs": sorted(r.case.needs),
            "verdict": r.verdict,
            "seconds": r.seconds,
            "found": plain(r.found),
            "expected": plain(r.expected),
            "why": plain(r.why),
        }
        for r in results
    ]
    found = Counter(r.verdict for r in results)
    totals = {v.value: found[v] for v in Verdict}
    return json.dumps({**about, "totals": totals, "cases": cases}, indent=2) + "\n"


def as_junit(results: Sequence[Result]) -> str:
    """A test suite for each part of the standard, a test case for each case."""
    root = ElementTree.Element("testsuites", name="conformance")
    for part in sorted({r.case.part for r in results}):
        here = [r for r in results if r.case.part == part]
        found = Counter(r.verdict for r in here)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=part,
            tests=str(len(here)),
            failures=str(found[Verdict.FAILED]),
            skipped=str(sum(found[v] for v in _NOT_ASKED)),
            time=f"{sum(r.seconds for r in here):.3f}",
        )
        for result in here:
            _junit_case(suite, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _junit_case(suite: ElementTree.Element, result: Result) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=result.case.section,
        name=f"{result.case.id}: {result.case.sentence}",
        time=f"{result.seconds:.3f}",
    )
    if result.verdict is Verdict.FAILED:
        ElementTree.SubElement(case, "failure", message=plain(_said(result)))
    elif result.verdict in _NOT_ASKED:
        ElementTree.SubElement(case, "skipped", message=plain(_said(result)))


def plain(text: str) -> str:
    """What a peer said, harmless for a terminal and for XML, and not too long."""
    return _NOT_PRINTABLE.sub("?", text)[:_LONGEST]


def _said(result: Result) -> str:
    if result.verdict is Verdict.FAILED:
        return f"found {result.found}, expected {result.expected}"
    return result.why


def _in_order(section: str) -> list[tuple[int, int, str]]:
    """PS3.4 before PS3.15, 9.2 before 9.10."""
    words = re.findall(r"\d+|[A-Za-z]+", section)
    return [(0, int(w), "") if w.isdigit() else (1, 0, w) for w in words]
