"""Tables as people write them: every id stays the word it is, and what cannot be meant is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch", reason="needs the training extra (torch)")

from drawn_cohorts import origin_of

from training import cli
from training.cohorts.outcome import read_outcome, read_table
from training.errors import TrainingError
from training.tiles.feature_files import write_h5

PATIENTS = 40


class Tables:
    """Tables of forty patients, each with a slide, to be spoiled and built."""

    def __init__(self, folder: Path, ids: list[str] | None = None) -> None:
        self.folder, draw = folder, np.random.default_rng(0)
        ids = ids or [f"P{at}" for at in range(PATIENTS)]
        (folder / "bags").mkdir(exist_ok=True)
        names = [f"S{at:02}" for at in range(PATIENTS)]
        for name in names:
            with h5py.File(self.bag(name), "w") as file:
                file["feats"] = draw.normal(size=(5, 6)).astype(np.float32)
        event = np.arange(PATIENTS) % 2
        self.outcome = pd.DataFrame({
            "patient": ids, "time_months": np.where(event, 1.5, 30) + np.arange(PATIENTS),
            "event": event, "age": 70 - np.arange(PATIENTS) / 2,
            "site": [f"{at % 8:02}" for at in range(PATIENTS)],
        })  # fmt: skip
        self.slides = pd.DataFrame({"patient": ids, "slide": names,
                                    "file": [f"bags/{name}.h5" for name in names]})  # fmt: skip
        self.genes = pd.DataFrame(draw.gamma(2, 100, (PATIENTS, 3)), index=ids,
                                  columns=["MYC", "KRAS", "ERBB2"])  # fmt: skip

    def bag(self, name: str) -> Path:
        return self.folder / f"bags/{name}.h5"

    def build(self, *more: object, **written: object) -> int:
        """The command's exit status; `written` is how the outcome is."""
        self.outcome.to_csv(self.folder / "outcome.csv", **({"index": False} | written))
        self.slides.to_csv(self.folder / "slides.csv", index=False)
        shutil.rmtree(self.folder / "cohort", ignore_errors=True)
        words = ["cohort", "build", "--name", "ours", "--outcome", self.folder / "outcome.csv",
                 "--slides", self.folder / "slides.csv",
                 "--out", self.folder / "cohort"]  # fmt: skip
        return cli.main([str(word) for word in (*words, *more)])

    def with_genes(self, genes: pd.DataFrame, *more: object) -> int:
        genes.to_csv(self.folder / "rna.csv")
        return self.build("--expression", self.folder / "rna.csv", *more)

    def with_clinic(self, table: pd.DataFrame) -> int:
        table.to_csv(self.folder / "clinic.csv", index=False)
        return self.build("--clinical", self.folder / "clinic.csv")

    def with_folds(self, table: pd.DataFrame) -> int:
        table.to_csv(self.folder / "folds.csv", index=False)
        return self.build("--splits", self.folder / "folds.csv")

    @property
    def folds(self) -> pd.DataFrame:
        return pd.DataFrame({"patient": self.outcome.patient, "fold": np.arange(PATIENTS) % 5})


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def ids_of(folder: Path) -> list[str]:
    return [
        line.split(",")[0] for line in (folder / "cohort/patients.csv").read_text().splitlines()
    ]


# ---- ids


def test_ids_with_leading_zeros_stay_as_they_are_and_apart(tmp_path: Path) -> None:
    ids = [f"{at:03}" for at in range(PATIENTS - 2)] + ["7", "07"]
    tables = Tables(tmp_path, ids)
    assert tables.with_genes(tables.genes) == 0
    assert sorted(ids) == ids_of(tmp_path)[1:]
    assert cli.main(["cohort", "show", str(tmp_path / "cohort")]) == 0


@pytest.mark.parametrize("name", ["NA", "None", "null", "1E5", "TRUE", "2020-01-02"])
def test_a_patient_may_be_called_by_any_word(tmp_path: Path, name: str, capsys) -> None:
    tables = Tables(tmp_path, [name, *(str(at) for at in range(PATIENTS - 1))])
    assert tables.build() == 0
    assert name in ids_of(tmp_path)
    assert f"{PATIENTS} patients" in capsys.readouterr().out
    assert cli.main(["cohort", "show", str(tmp_path / "cohort")]) == 0


def test_slides_called_by_numbers_keep_their_zeros(tables: Tables) -> None:
    tables.slides["slide"] = [f"{at:03}" for at in range(PATIENTS)]
    np.savez(tables.folder / "all.npz", offsets=np.arange(PATIENTS + 1),
             feats=np.random.default_rng(1).normal(size=(PATIENTS, 6)).astype(np.float32),
             slide_id=tables.slides["slide"].to_numpy(str))  # fmt: skip
    assert tables.build() == 0
    tables.slides["file"] = "all.npz"
    assert tables.build() == 0


def test_an_empty_line_and_blanks_around_an_id_change_no_id(tmp_path: Path) -> None:
    tables = Tables(tmp_path, [str(1000 + at) for at in range(PATIENTS)])
    tables.outcome.loc[3, "patient"] += " "
    tables.outcome.loc[PATIENTS] = None
    assert tables.build() == 0
    assert ids_of(tmp_path)[1:] == tables.slides.patient.tolist()


# ---- what spreadsheets do


@pytest.mark.parametrize(
    "written",
    [{"sep": ";"}, {"sep": "\t"}, {"encoding": "utf-8-sig"}, {"encoding": "utf-16"},
     {"lineterminator": "\r\n"}],
)  # fmt: skip
def test_a_table_is_read_as_spreadsheets_write_it(tables: Tables, written, capsys) -> None:
    assert tables.build(**written) == 0
    assert f"{PATIENTS} patients" in capsys.readouterr().out


def test_a_table_of_another_encoding_is_a_sentence(tables: Tables, capsys) -> None:
    tables.outcome["site"] = "Zürich"
    assert tables.build(encoding="latin-1") == 3
    assert "expected text in UTF-8: save the table again so" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "found no header"),
        ("patient,event,event\na,1,0\n", "found column event twice"),
        ("patient,event\na,1,0\n", "found rows of unlike length"),
    ],
)
def test_a_table_that_is_none_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TrainingError, match=sentence):
        read_table(tmp_path / "t.csv")


def test_lines_of_comment_above_a_header_are_left_out(tmp_path: Path) -> None:
    text = "#Patient\tMonths\n#STRING\tNUMBER\nPATIENT_ID\tOS_MONTHS\tOS_STATUS\na\t3\t1:DECEASED\n"
    (tmp_path / "data_clinical_patient.txt").write_text(text)
    assert read_outcome(tmp_path / "data_clinical_patient.txt")["event"].tolist() == [1]


# ---- outcomes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("patient,time_months,event\na,3652,1\n", "3652 months for a .304 years., expected months"),
        ("patient,time_months,event,OS.time\na,3,1,400\n", "found time_months 3 and OS.time 13.1"),
        ("patient,time_months,event,OS\na,3,1,0\n", "found event 1 and OS 0 for a"),
        ("patient,vital_status,days_to_death\na,dead of disease,9\n", "'dead of disease' for a"),
        ("patient,vital_status,days_to_death\na,1,9\n", "found vital_status '1' for a"),
        ("patient,OS_MONTHS,OS_STATUS\na,3,1\n", "found OS_STATUS '1' for a"),
        ("patient,time_months,event,site\na,3,1,\nb,3,1,X\n", "found no site for 1 rows"),
        ("patient,time_months,event,site\na,3,1,Y\na,3,1,X\n", "found site X and Y for patient a"),
    ],
)  # fmt: skip
def test_an_outcome_that_cannot_be_meant_is_refused(tmp_path: Path, text, sentence) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TrainingError, match=sentence):
        read_outcome(tmp_path / "t.csv")


def test_two_columns_that_agree_on_the_outcome_are_taken(tmp_path: Path) -> None:
    text = "patient,vital_status,days_to_death,OS.time,OS\na,Dead ,609,610,1\nb,alive,,100,0\n"
    (tmp_path / "t.csv").write_text(text)
    found = read_outcome(tmp_path / "t.csv")
    assert found["event"].tolist() == [1, 0]
    assert found["time_months"].iloc[0] == pytest.approx(20.008, abs=1e-3)


# ---- what a model is shown


def test_the_outcome_is_no_gene_and_no_clinic(tables: Tables, capsys) -> None:
    table = tables.outcome.drop(columns="site")
    assert tables.with_clinic(table) == 3
    assert "found column time_months in" in capsys.readouterr().err
    assert tables.with_genes(tables.genes.assign(event=table["event"].to_numpy())) == 3
    assert "found column event in" in capsys.readouterr().err
    tables.outcome["grade"] = np.arange(PATIENTS) % 2
    task = ("--task", "grade", "--classes", "low", "high", "--clinical")
    tables.outcome[["patient", "grade"]].to_csv(tables.folder / "clinic.csv", index=False)
    assert tables.build(*task, tables.folder / "clinic.csv") == 3
    assert "found column grade in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.assign(patient="X" + t.patient), "and none of the patients, such as P0"),
        (lambda t: pd.concat([t, t[:1].assign(age=9)]), "found age 70.0 and 9.0 for patient P0"),
        (lambda t: t.assign(age=np.inf), "found an infinite age for P0"),
        (lambda t: t.assign(age="old"), "found words in column age"),
    ],
)
def test_a_table_of_the_clinic_that_cannot_be_used_is_a_sentence(
    tables: Tables, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str, capsys
) -> None:
    clinic = tables.outcome[["patient", "age"]]
    assert tables.with_clinic(clinic.rename(columns={"patient": "case_id"})) == 0
    assert tables.with_clinic(change(clinic)) == 3
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.set_axis(["MYC", "MYC", "ERBB2"], axis=1), "found column MYC twice"),
        (lambda t: pd.concat([t, -t[:1]]), "found P0 twice"),
        (lambda t: pd.concat([t, -t[:1]]).T, "found column P0 twice"),
        (lambda t: t.replace(t.iloc[2, 1], np.inf), "found inf of gene KRAS for P2"),
        (lambda t: t.replace(t.iloc[2, 1], 1e300), "found 1e+300 of gene KRAS for P2"),
    ],
)
def test_genes_that_cannot_be_meant_are_refused(
    tables: Tables, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str, capsys
) -> None:
    assert tables.with_genes(change(tables.genes)) == 3
    assert sentence in capsys.readouterr().err


def test_genes_that_a_spreadsheet_made_dates_of_and_a_second_logarithm_are_told(
    tables: Tables, capsys
) -> None:
    dated = tables.genes.set_axis(["1-Mar", "Sep-02", "ERBB2"], axis=1)
    assert tables.with_genes(dated, "--log-expression") == 0
    said = capsys.readouterr().out
    assert "2 genes are called by a date (1-Mar)" in said
    assert "as of logarithms" not in said
    assert tables.with_genes(np.log2(tables.genes + 1), "--log-expression") == 0
    assert "as of logarithms" in capsys.readouterr().out


def test_ids_with_many_hyphens_find_their_genes_and_samples_of_a_patient_still_do(
    tmp_path: Path,
) -> None:
    tables = Tables(tmp_path, [f"HOSP-2020-01-x{at}" for at in range(PATIENTS)])
    assert tables.with_genes(tables.genes) == 0
    tables = Tables(tmp_path, [f"TCGA-AA-{at:04}" for at in range(PATIENTS)])
    assert tables.with_genes(tables.genes.rename(lambda patient: f"{patient}-01A-11R")) == 0
    with np.load(tmp_path / "cohort/genes.npz") as kept:
        np.testing.assert_allclose(kept["values"], tables.genes.to_numpy(), rtol=1e-6)


# ---- slides


def test_one_file_for_two_patients_is_refused_also_where_it_was_copied(
    tables: Tables, capsys
) -> None:
    tables.slides.loc[1, "file"] = "bags/S00.h5"
    assert tables.build() == 3
    assert "S00.h5 for slides S00 of P0 and S01 of P1" in capsys.readouterr().err
    tables.slides.loc[1, "file"] = "bags/S01.h5"
    shutil.copy(tables.bag("S00"), tables.bag("S01"))
    assert tables.build() == 3
    assert "the same features for slide S00 of P0 and slide S01 of P1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"slide": "S00"}, "found the features of slide S00 in the file of slide S01"),
        ({"slide_digest": "S00"}, "found the same pixels"),
        ({"encoder_digest": "other"}, "found features of encoder_digest"),
        ({"mpp": 1.0}, "found features of mpp 0.5 for slide S00 and 1.0 for slide S01"),
    ],
)
def test_files_that_say_another_slide_or_encoder_are_refused(
    tables: Tables, said: dict[str, object], sentence: str, capsys
) -> None:
    draw = np.random.default_rng(2)
    for name in tables.slides.slide[:3]:
        feats = draw.normal(size=(2, 6)).astype(np.float32)
        of = {"slide": name, "slide_digest": name} | (said if name == "S01" else {})
        write_h5(tables.bag(name), feats, np.zeros((2, 2), np.int64), origin_of("default", **of))
    assert tables.build() == 3
    assert sentence in capsys.readouterr().err


def test_features_of_width_0_are_refused(tables: Tables, capsys) -> None:
    with h5py.File(tables.bag("S00"), "w") as file:
        file["feats"] = np.zeros((3, 0), np.float32)
    assert tables.build() == 3
    assert "found features of width 0" in capsys.readouterr().err


# ---- folds


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.assign(fold="fold" + t.fold.astype(str)), "found fold 'fold0' for P0"),
        (lambda t: t.assign(patient="X" + t.patient), "and of none of the patients, such as P0"),
    ],
)
def test_folds_that_cannot_be_used_are_refused_and_not_made_anew(
    tables: Tables, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str, capsys
) -> None:
    assert tables.with_folds(tables.folds) == 0
    assert tables.with_folds(change(tables.folds)) == 3
    assert sentence in capsys.readouterr().err


def test_a_fold_of_nobody_is_told_and_the_others_can_be_scored(tables: Tables, capsys) -> None:
    assert tables.with_folds(tables.folds.assign(fold=tables.folds.fold % 4)) == 0
    told = capsys.readouterr()
    assert "nobody in fold 4: not to be scored" in told.out + told.err


# ---- classes


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (["low", "low", "high"], "found classes low, low, high, expected two or more of different"),
        (["low"], "found classes low, expected two or more"),
        (["low", "high", "middle"], "found nobody of class middle among 40 patients"),
    ],
)
def test_classes_that_tell_nothing_apart_are_refused(
    tables: Tables, classes: list[str], sentence: str, capsys
) -> None:
    tables.outcome["grade"] = ["low", " high"] * (PATIENTS // 2)
    assert tables.build("--task", "grade", "--classes", "low", "high") == 0
    assert tables.build("--task", "grade", "--classes", *classes) == 3
    assert sentence in capsys.readouterr().err


def test_a_few_patients_are_too_few_for_folds(tables: Tables, capsys) -> None:
    tables.outcome, tables.slides = tables.outcome[:6], tables.slides[:6]
    assert tables.build("--flag-confirmed") == 3
    assert "found 6 patients, fewer than 5 of each outcome" in capsys.readouterr().err
