"""What reproduce.sh asks of the commands, seen by a stand-in for `dicom-train`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from training.commands.fit import METHODS

SCRIPT = Path(__file__).parents[2] / "training" / "reproduce.sh"
STAND_IN = """#!/bin/sh
echo "$@" >> "$SAID"
while [ $# -gt 0 ]; do
    [ "$1" = --out ] && out=$2
    [ "$1" = --cohort ] && cohort=$2
    shift
done
[ -z "$out" ] || [ -z "$cohort" ] || {
    mkdir -p "$out"
    printf '{\\n "cohort": "%s",\\n' "$cohort" > "$out/run.json"
    printf ' "cohort_digest": "d-%s"\\n}\\n' "$cohort" >> "$out/run.json"
}
"""


@pytest.fixture
def asked(tmp_path: Path):
    for name in ("dicom-train", "python"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)

    def run(*words: str) -> tuple[int, list[list[str]], str]:
        place = os.environ["PATH"]
        found = subprocess.run(
            ["sh", str(SCRIPT), *words],
            env=os.environ | {"PATH": f"{tmp_path}:{place}", "SAID": str(tmp_path / "said")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = tmp_path / "said"
        lines = said.read_text().splitlines() if said.exists() else []
        return found.returncode, [line.split() for line in lines], found.stdout + found.stderr

    return run


def fits(lines: list[list[str]]) -> list[list[str]]:
    return [line[1:] for line in lines if line[0] == "fit"]


def test_full_asks_for_every_method_of_the_tables_and_survival_on_both_kinds(asked, tmp_path):
    status, lines, said = asked("full", "DATA", str(tmp_path / "out"))
    assert status == 0, said
    named = [line for line in fits(lines) if line[0] in METHODS]
    assert {line[0] for line in named} == {
        "crossfit", "ghanet", "disentangled", "mkd", "moments", "pooled",
        "abmil", "clam", "transmil", "mcat", "late-fusion",
    }  # fmt: skip
    pairs = {(line[2], line[4]) for line in named if line[0] == "crossfit"}
    assert len(pairs) == 22
    assert all("twin=true" in line for line in named if line[0] == "ghanet")
    assert {line[line.index("--task") + 1] for line in named if line[0] == "mkd"} == {
        "er", "pr", "her2",
    }  # fmt: skip
    assert sum(line[0] == "pan" for line in lines) == 2
    assert not [line for line in lines if "training.default_student.tissue" in line]
    extended = {line[2] for line in named if line[0] == "crossfit" and "--extended" in line}
    assert extended == {"blca", "brca", "gbmlgg", "luad", "ucec"}


def test_full_makes_the_shipped_student_where_its_teacher_is_given(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER", "teacher.whl")
    status, lines, said = asked("full", "DATA", str(tmp_path / "out"))
    assert status == 0, said
    steps = [line for line in lines if line[:2] == ["-m", "training.default_student.tissue"]]
    assert [line[2] for line in steps] == ["gather", "fit", "export"]


@pytest.mark.parametrize("kind", ["quick", "full"])
def test_no_two_runs_share_a_folder_and_the_report_is_of_all_of_them(asked, tmp_path, kind):
    out = tmp_path / "out"
    status, lines, said = asked(kind, "DATA", str(out))
    assert status == 0, said
    places = [line[line.index("--out") + 1] for line in fits(lines)]
    assert len(places) == len(set(places)) > 10
    (report,) = [line for line in lines if line[0] == "evaluate"]
    assert set(places) <= set(report)
    digests = dict(line.split() for line in (out / "digests.txt").read_text().splitlines())
    assert digests["brca"] == "d-brca"
    cohorts = [json.loads((Path(place) / "run.json").read_text())["cohort"] for place in places]
    assert set(digests) == set(cohorts)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["quick"], "expected quick or full, DATA and OUT"), (["some", "D", "O"], "found some, expe")],
)
def test_another_word_is_answered_with_what_is_expected(asked, words, sentence):
    status, lines, said = asked(*words)
    assert (status, lines) == (2, [])
    assert sentence in said
