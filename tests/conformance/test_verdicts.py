"""The suite by itself: what it runs, what it says of a case, and in which shapes."""

from __future__ import annotations

import json
import socket
from collections import Counter
from functools import partial
from xml.etree import ElementTree

import pytest

from conformance import cli, report, runner
from conformance.case import Case, Need, Result
from conformance.index import ALL
from conformance.session import Session, Target
from conformance.slides import syntaxes
from conformance.verdicts import Failed, NotApplicable, Skipped, Verdict
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY

NOBODY = Session(Target("127.0.0.1", 1, "NODE", "TESTS"), patience_s=0.2)


def ends(how: Exception | None, session: Session) -> None:
    if how is not None:
        raise how


def case(name: str, how: Exception | None = None, *needs: Need) -> Case:
    return Case(f"test.{name}", "PS3.4 B.2", "It is so", partial(ends, how), frozenset(needs))


@pytest.fixture
def results() -> list[Result]:
    cases = [
        case("right"),
        case("wrong", Failed("<2>\x1b[31m", "1")),
        case("absent", Skipped("no program")),
        case("asked", None, Need.STORE),
        case("broken", RuntimeError("of a library")),
        case("foreign", NotApplicable("no such service")),
    ]
    return runner.run(cases, NOBODY, frozenset())


def test_there_are_many_cases_each_with_its_own_name_and_its_place_in_the_standard():
    assert len(ALL) >= 300
    assert [n for n, count in Counter(c.id for c in ALL).items() if count > 1] == []
    assert all(c.section.startswith("PS3.") and c.sentence for c in ALL)
    assert all(c.id == c.id.strip() and " " not in c.id for c in ALL)


def test_without_permission_nothing_is_stored_and_nobody_is_harmed():
    allowed = [c for c in ALL if not c.needs]
    assert len(allowed) >= 110
    subjects = {c.id.partition(".")[0] for c in allowed}
    assert not subjects & {"storage", "refusals", "hostile", "results", "completeness", "large"}


def test_the_suite_asks_for_every_transfer_syntax_that_the_node_negotiates():
    ours = {t.uid: t.keyword for t in VL_WHOLE_SLIDE_MICROSCOPY.transfer_syntaxes}
    assert ours == syntaxes.TAKEN
    assert VL_WHOLE_SLIDE_MICROSCOPY.uid == syntaxes.WSM


def test_the_suite_runs_without_anything_of_the_node(run_python):
    code = "import sys, conformance.cli; print(*{n.partition('.')[0] for n in sys.modules})"
    loaded = set(run_python(code).split())
    assert "conformance" in loaded
    assert not loaded & {"dicom_node", "inference", "engines", "training"}


def test_each_end_of_a_case_is_its_own_verdict(results):
    assert [r.verdict for r in results] == [
        Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED, Verdict.SKIPPED, Verdict.FAILED,
        Verdict.NOT_APPLICABLE,
    ]  # fmt: skip
    assert (results[1].found, results[1].expected) == ("<2>\x1b[31m", "1")
    assert "--store" in results[3].why
    assert "RuntimeError" in results[4].found
    assert results[5].why == "no such service"


def test_a_hostile_case_fails_when_the_node_answers_nobody_afterwards():
    judged = runner.judge(case("hostile", None, Need.HOSTILE), NOBODY)
    assert judged.verdict is Verdict.FAILED


def test_the_table_is_by_section_and_says_what_was_found(results):
    table = report.table(results)
    assert "PS3.4 B.2  (1 passed, 2 failed, 2 skipped, 1 not applicable)" in table
    assert "found <2>?[31m, expected 1" in table
    assert table.endswith("6 cases: 1 passed, 2 failed, 2 skipped, 1 not applicable")


def test_sections_are_in_the_order_of_the_standard():
    sections = ["PS3.15 B.12", "PS3.8 9.10", "PS3.8 9.2", "PS3.4 A"]
    made = [Result(Case(f"t.{n}", s, "", lambda _: None), Verdict.PASSED, 0.0)
            for n, s in enumerate(sections)]  # fmt: skip
    table = report.table(made)
    assert sorted(sections, key=table.index) == [
        "PS3.4 A",
        "PS3.8 9.2",
        "PS3.8 9.10",
        "PS3.15 B.12",
    ]


def test_json_and_junit_say_the_same(results):
    found = json.loads(report.as_json(results, {"host": "h"}))
    assert found["totals"] == {"passed": 1, "failed": 2, "skipped": 2, "not applicable": 1}
    assert found["cases"][1]["found"] == "<2>?[31m"
    (suite,) = ElementTree.fromstring(report.as_junit(results))
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("PS3.4", "6", "2")
    assert len(suite.findall("testcase/failure")) == 2
    assert len(suite.findall("testcase/skipped")) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        ["127.0.0.1"],
        ["127.0.0.1", "104", "--ae", "A"],
        ["127.0.0.1", "104", "--ae", "A", "--calling", "B", "--hostile", "other"],
        ["127.0.0.1", "104", "--ae", "A", "--calling", "B", "--results-port", "1"],
        ["127.0.0.1", "104", "--ae", "A", "--calling", "B", "--large"],
    ],
)
def test_what_does_not_fit_together_is_a_usage_message(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(wrong)
    assert end.value.code == 2
    assert "conformance: error:" in capsys.readouterr().err


def test_where_nobody_listens_no_case_is_asked(capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        assert cli.main(["127.0.0.1", port, "--ae", "A", "--calling", "B"]) == 1
    said = capsys.readouterr()
    assert "nobody listens there" in said.err
    assert said.out == ""


def test_the_states_of_a_node_ask_only_their_own_cases():
    given = frozenset({Need.STORE, Need.FULL})
    assert [c.id for c in runner.chosen(ALL, given, [])] == ["refusals.full"]
    assert [c.id for c in runner.chosen(ALL, frozenset({Need.DRAINING}), [])] == [
        "admission.draining"
    ]
