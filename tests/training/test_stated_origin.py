"""Whose data a student learned from, which hospitals measured it, and what its map is worth."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command, draw_cohort  # noqa: E402

from training.bundle.export import Request, student_of  # noqa: E402
from training.bundle.origin import limits, training_data  # noqa: E402


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("origin")
    cohort = draw_cohort(work, "default")
    command("fit", "meanpool", "--epochs", 1, "--cohort", cohort, "--out", work / "run",
            "--fold", 1)  # fmt: skip
    return work


@pytest.fixture(scope="module")
def student(work):
    return student_of(Request(work / "run", "default", work / "none", "x", fold=1))


def test_the_patients_whom_a_student_learned_from_are_those_outside_its_fold(student):
    (said,) = training_data(student)
    assert said == (
        "cohort drawn, 60 patients, official folds; the student of fold 1 learned from 41, its "
        "epoch was chosen on 7 others"
    )
    unit = student.unit | {"epoch_is_chosen": False}
    assert training_data(replace(student, unit=unit))[0].endswith("fold 1 learned from 48")


def test_patients_beside_the_cohort_are_named_among_the_training_data(student):
    (said,) = training_data(replace(student, run=student.run | {"patients_beside": 7}))
    assert said.startswith("cohort drawn, 60 patients and 7 beside it in training, official folds;")


def test_every_cohort_of_a_student_of_several_is_among_the_training_data(student):
    settings = student.run["settings"] | {"pan": "drawn 0123456789ab, three abcdef012345"}
    of_two = replace(student, run=student.run | {"settings": settings})
    assert limits(of_two)[0] == (
        "Trained on cohorts drawn, three; measured on drawn; nothing is known of slides of others."
    )
    own, other = training_data(of_two)
    assert own.startswith("cohort drawn, 60 patients, ")
    assert other.startswith("cohort three, digest abcdef012345; ")
    one = "Trained and measured on one cohort; nothing is known of slides of another."
    assert limits(student)[0] == one
