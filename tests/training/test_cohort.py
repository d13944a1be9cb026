from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch", reason="needs the training extra (torch)")

import torch

from training.cli import main
from training.cohorts import describe as cohort_report
from training.cohorts.build import BuildInputs, build, gather
from training.cohorts.checks import inversion_signs, refuse_inverted_flag
from training.cohorts.cohort import Cohort, assemble, load
from training.cohorts.folds import complete, read_splits, refuse_overlap, site_folds
from training.cohorts.genes import fit_genes, gene_of
from training.cohorts.material import TASKS, Task
from training.cohorts.outcome import read_outcome
from training.cohorts.privileged import clinical_block
from training.cohorts.tables import published, refuse_other_events
from training.errors import TrainingError
from training.learning.split import prepare

# patients with features and events; patients per class
SURVIVAL = {
    "blca": (371, 169),
    "brca": (897, 128),
    "gbmlgg": (492, 157),
    "luad": (430, 154),
    "ucec": (478, 75),
}
LABELED = {
    ("gbmlgg", "diagnosis"): (316, 213, 152),
    ("gbmlgg", "grading"): (155, 156, 349),
    ("brca", "er"): (215, 725),
    ("brca", "pr"): (315, 623),
    ("brca", "her2"): (686, 168),
}
SUFFIXES = {  # expression, copy number, mutation
    "blca": (1554, 256, 371),
    "brca": (1558, 1333, 21),
    "gbmlgg": (1544, 30, 16),
    "luad": (1555, 517, 864),
    "ucec": (0, 935, 1406),
}


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="module")
def real(data: Path) -> Callable[..., Cohort]:
    """The cohorts as shipped, each read once."""
    return cache(lambda name, task="os": load(name, data, task))


# ---- the five published cohorts


@pytest.mark.parametrize("name", SURVIVAL)
def test_a_published_cohort_has_its_patients_events_and_gene_columns(real, name: str) -> None:
    cohort = real(name)
    assert (len(cohort.patients), cohort.patients["event"].sum()) == SURVIVAL[name]
    assert cohort.width == 192
    found = cohort_report.facts(cohort)["gene_columns"]
    assert tuple(found.values()) == SUFFIXES[name]
    assert all(gene_of(column) for column in cohort.genes)
    assert cohort.patients.index.is_monotonic_increasing
    assert cohort.patients.index.equals(cohort.genes.index)
    assert list(cohort.bags) == list(cohort.patients.index)


@pytest.mark.parametrize(("name", "task"), LABELED)
def test_a_label_task_has_the_published_number_of_each_class(real, name: str, task: str) -> None:
    cohort = real(name, task)
    count = Counter(cohort.patients["label"])
    assert tuple(count[at] for at in range(len(cohort.task.classes))) == LABELED[name, task]


@pytest.mark.parametrize("name", SURVIVAL)
def test_time_and_event_agree_with_the_curated_outcomes_for_every_patient(
    real, data: Path, name: str
) -> None:
    curated = pd.read_csv(
        data / "tcga_cdr/tcga_cdr.csv.gz",
        index_col="bcr_patient_barcode",
        usecols=["bcr_patient_barcode", "OS", "OS.time"],
    )
    patients = real(name).patients
    curated = curated.loc[patients.index]
    assert (patients["event"] == curated["OS"]).all()
    months = curated["OS.time"] / 30.4375
    np.testing.assert_allclose(patients["time_months"], months, rtol=0.001, atol=0.006)


@pytest.mark.parametrize("name", SURVIVAL)
def test_official_folds_are_the_shipped_validation_sets(real, data: Path, name: str) -> None:
    patients = real(name).patients
    for fold in range(5):
        split = pd.read_csv(data / f"porpoise/splits/tcga_{name}/splits_{fold}.csv")
        members = patients.index[patients["fold_official"] == fold]
        assert set(members) == set(split["val"].dropna()) & set(patients.index)


@pytest.mark.parametrize(("name", "task"), [*((name, "os") for name in SURVIVAL), *LABELED])
def test_site_folds_share_no_site_and_each_holds_every_class(real, name: str, task: str) -> None:
    cohort = real(name, task)
    patients = cohort.patients
    assert set(patients["site"].str.len()) == {2}
    assert (patients["site"] == patients.index.str[5:7]).all()
    assert (patients.groupby("site")["fold_site"].nunique() == 1).all()
    target = "event" if task == "os" else "label"
    table = pd.crosstab(patients["fold_site"], patients[target])
    assert table.shape == (5, max(2, len(cohort.task.classes)))
    assert table.to_numpy().min() >= 8
    assert table.sum(axis=1).min() >= 0.15 * len(patients)


def test_a_bag_is_all_slides_of_the_patient_in_the_order_of_their_id(real, data: Path) -> None:
    cohort = real("gbmlgg")
    with np.load(data / "hipt_vit4k/gbmlgg.npz") as file:
        feats, offsets, names = file["feats"], file["offsets"], file["slide_id"].tolist()
    patient = cohort.slides["patient"].value_counts().index[0]
    slides = sorted(cohort.slides["slide"][cohort.slides["patient"] == patient])
    assert len(slides) > 3
    parts = [feats[offsets[at] : offsets[at + 1]] for at in map(names.index, slides)]
    np.testing.assert_array_equal(cohort.bags[patient], np.concatenate(parts).astype(np.float32))
    assert cohort.bags[patient].dtype == np.float32


@pytest.mark.parametrize("name", SURVIVAL)
def test_every_patient_of_the_table_is_kept_or_dropped_with_a_reason(
    real, data: Path, name: str
) -> None:
    cohort = real(name)
    shipped = set(read_splits(data / f"porpoise/splits/tcga_{name}").index)
    without = {drop.patient for drop in cohort.dropped if drop.reason == "no features"}
    assert shipped == set(cohort.patients.index) | without
    assert not without & set(cohort.patients.index)


def test_every_glioma_of_the_labels_table_is_kept_or_dropped_with_a_reason(
    real, data: Path
) -> None:
    table = pd.read_csv(data / "glioma_labels/tcga_glioma_labels.csv")
    cohort = real("gbmlgg", "diagnosis")
    dropped = {drop.patient for drop in cohort.dropped}
    assert len(dropped) == len(cohort.dropped)
    assert set(table["case_id"]) == set(cohort.patients.index) | dropped
    reasons = Counter(drop.reason for drop in cohort.dropped)
    assert reasons == {"no features": 290, "no label for diagnosis": 140}


def test_her2_is_read_from_hybridization_and_from_staining_only_without_it(
    real, data: Path
) -> None:
    table = pd.read_csv(data / "brca_receptors/tcga_brca_receptors.csv", index_col=0)
    label = real("brca", "her2").patients["label"]
    table = table.reindex(label.index)
    fish = table["her2_fish"].isin(["Positive", "Negative"])
    assert (label[fish] == (table["her2_fish"][fish] == "Positive")).all()
    assert (label[~fish] == (table["her2_ihc_status"][~fish] == "Positive")).all()
    overruled = fish & (table["her2_ihc_status"] == "Positive") & (label == 0)
    assert overruled.sum() == 9


def test_patients_outside_the_official_folds_are_spread_evenly_over_them(real, data: Path) -> None:
    cohort = real("gbmlgg", "diagnosis")
    shipped = read_splits(data / "porpoise/splits/tcga_gbmlgg")
    patients = cohort.patients
    known = patients.index.intersection(shipped.index)
    assert len(known) == 476
    assert (patients.loc[known, "fold_official"] == shipped[known]).all()
    table = pd.crosstab(patients["fold_official"], patients["label"])
    assert (table.max() - table.min()).max() <= 16
    assert any("205 of 681 patients are in no given fold" in note for note in cohort.notes)


def test_patients_without_genes_keep_blanks_that_become_the_training_mean(real) -> None:
    cohort = real("gbmlgg", "diagnosis")
    without = cohort.patients.index[~cohort.patients["has_genes"]]
    assert len(without) == 205
    assert cohort.genes.loc[without].isna().all(axis=None)
    train = cohort.genes[cohort.patients["fold_official"] != 0]
    scaled = fit_genes(train, cohort.signatures).transform(cohort.genes.loc[without])
    assert not scaled.any()


def test_a_cohort_read_twice_has_the_same_digest_and_another_task_another(real, data: Path) -> None:
    assert load("ucec", data).digest == real("ucec").digest
    digests = {real("gbmlgg", task).digest for task in ("os", "diagnosis", "grading")}
    assert len(digests) == 3


def test_the_digest_covers_every_feature_and_gene(data: Path) -> None:
    material = published("blca", data, TASKS["os"])
    before = assemble(material).digest
    slide = next(iter(material.bags))
    bag = material.bags[slide].copy()
    bag[-1, -1] += 0.001
    assert assemble(replace(material, bags=material.bags | {slide: bag})).digest != before
    genes = material.genes.copy()
    genes.iloc[0, 0] += 1
    assert assemble(replace(material, genes=genes)).digest != before


def test_unknown_cohorts_tasks_and_folds_are_sentences(real, data: Path) -> None:
    with pytest.raises(TrainingError, match="found cohort 'prad', expected one of blca"):
        load("prad", data)
    with pytest.raises(TrainingError, match="found task er for luad, expected one of os"):
        load("luad", data, "er")
    with pytest.raises(TrainingError, match="found task 'grade', expected one of os"):
        load("luad", data, "grade")
    with pytest.raises(TrainingError, match="expected official or site"):
        real("blca").folds("random")


def test_the_report_says_who_was_left_out_and_how_the_folds_came_out(real) -> None:
    text = cohort_report.text(real("blca"))
    assert "371 patients, 434 slides, 33 sites" in text
    assert "169 events, 202 censored" in text
    assert "2 patients, no features: TCGA-" in text
    assert "3 of 437 slides of the table have no features" in text
    facts = cohort_report.facts(real("blca"))
    assert sum(fold["patients"] for fold in facts["folds"]["site"]) == 371
    assert {fold["shared_sites"] for fold in facts["folds"]["site"]} == {0}
    assert min(fold["shared_sites"] for fold in facts["folds"]["official"]) > 10


@pytest.mark.parametrize(
    ("name", "patients", "events"), [("skcm", None, None), ("paad", 162, 87), ("kirp", 257, 40)]
)
def test_every_published_cohort_has_folds_that_share_no_tissue_source_site(
    real, name: str, patients: int | None, events: int | None
) -> None:
    cohort = real(name)
    if patients is not None:
        assert (len(cohort.patients), cohort.patients["event"].sum()) == (patients, events)
    for column in ("fold_official", "fold_site"):
        assert set(cohort.patients[column]) == {0, 1, 2, 3, 4}
        deaths = cohort.patients.groupby(column)["event"].sum()
        assert deaths.min() >= 3
    sites = cohort.patients.groupby("site")["fold_site"].nunique()
    assert (sites == 1).all()


def test_a_rare_histology_is_judged_by_the_training_patients_alone(real) -> None:
    cohort = real("paad")
    names = [column for column in cohort.privileged["clinical"] if column.startswith("histology")]
    assert len(names) > 2
    for fold in (0, 1):
        split = prepare(cohort, "site", fold)
        block = cohort.privileged["clinical"].loc[list(split.train.ids)]
        kept = [column for column in block if column not in names or block[column].mean() > 0.02]
        assert 0 < len(kept) < block.shape[1]
        for part in (split.train, split.valid, split.test):
            assert part.privileged["clinical"].shape[1] == len(kept)
        assert torch.equal(
            split.train.privileged["clinical"].nan_to_num(-1),
            torch.from_numpy(block[kept].to_numpy(np.float32, copy=True)).nan_to_num(-1),
        )


def test_a_grade_of_four_and_a_stage_of_four_c_are_known() -> None:
    curated = pd.DataFrame(
        {
            "age_at_initial_pathologic_diagnosis": [60.0, 61.0],
            "ajcc_pathologic_tumor_stage": ["Stage IVC", "Stage 0"],
            "clinical_stage": ["[Not Available]"] * 2,
            "histological_grade": ["G4", "GX"],
            "histological_type": ["Hepatocellular Carcinoma"] * 2,
            "type": ["LIHC"] * 2,
            "gender": ["MALE", "FEMALE"],
        },
        index=["A", "B"],
    )
    block = clinical_block(curated)
    assert block["stage"].tolist() == [4.0, 0.0]
    assert block["grade"].iloc[0] == 4.0
    assert np.isnan(block["grade"].iloc[1])


# ---- the event flag


def test_the_flag_of_a_published_cohort_is_that_of_the_curated_table(real, data: Path) -> None:
    """Melanoma is right though its deaths come late; turned, no published cohort is taken."""
    patients = real("skcm").patients
    with pytest.raises(TrainingError, match="--flag-confirmed"):
        refuse_inverted_flag(patients)
    refuse_other_events(patients, data)
    with pytest.raises(TrainingError, match="another event than in"):
        refuse_other_events(patients.assign(event=1 - patients["event"]), data)


@pytest.mark.parametrize("name", SURVIVAL)
def test_an_inverted_flag_is_found_in_every_published_cohort(real, name: str) -> None:
    patients = real(name).patients
    refuse_inverted_flag(patients)
    with pytest.raises(TrainingError, match="found events that outlive the censored"):
        refuse_inverted_flag(patients.assign(event=1 - patients["event"]))


def test_most_inverted_tcga_cohorts_are_found_and_few_right_ones_suspected(data: Path) -> None:
    table = pd.read_csv(data / "tcga_cdr/tcga_cdr.csv.gz", low_memory=False)
    table = table[table["OS.time"] > 0].dropna(subset=["OS"])
    caught, suspected, tried = 0, [], 0
    for kind, group in table.groupby("type"):
        event = group["OS"].to_numpy() == 1
        if min(event.sum(), (~event).sum()) < 20:
            continue
        tried += 1
        time = group["OS.time"].to_numpy()
        age = group["age_at_initial_pathologic_diagnosis"].to_numpy()
        caught += len(inversion_signs(time, ~event, age)) >= 2
        suspected += [kind] if len(inversion_signs(time, event, age)) >= 2 else []
    assert (tried, caught, suspected) == (25, 24, ["GBM"])


# ---- folds


def test_folds_made_from_nothing_are_stratified_and_do_not_depend_on_the_order() -> None:
    ids = [f"p{at:03}" for at in range(103)]
    strata = pd.Series(np.arange(103) % 7 == 0, index=ids).astype(int)
    blank = pd.Series(np.nan, index=ids)
    folds = complete(blank, strata)
    table = pd.crosstab(folds, strata)
    assert (table.max() - table.min()).max() <= 1
    assert (folds.value_counts().max() - folds.value_counts().min()) <= 1
    shuffled = np.random.default_rng(0).permutation(ids)
    assert complete(blank[shuffled], strata[shuffled]).equals(folds)


def test_given_folds_are_never_moved() -> None:
    known = pd.Series([4.0, np.nan, 4.0, np.nan], index=list("abcd"))
    folds = complete(known, pd.Series(0, index=list("abcd")))
    assert folds.tolist() == [4, 0, 4, 1]


def test_fewer_than_five_sites_make_no_site_folds() -> None:
    ids = [f"p{at}" for at in range(20)]
    site = pd.Series([f"s{at % 4}" for at in range(20)], index=ids)
    assert set(site_folds(site, pd.Series(0, index=ids))) == {-1}


def test_a_patient_on_both_sides_of_a_split_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="found b on both sides of fold 0"):
        refuse_overlap(["a", "b"], ["b", "c"], "fold 0")
    shutil.copytree(data / "porpoise/splits/tcga_blca", tmp_path / "splits")
    path = tmp_path / "splits/splits_3.csv"
    path.chmod(0o644)
    split = pd.read_csv(path)
    split.loc[0, "train"] = split.loc[0, "val"]
    split.to_csv(path)
    with pytest.raises(TrainingError, match=f"found {split.loc[0, 'val']} on both sides of fold 3"):
        read_splits(tmp_path / "splits")


def test_a_patient_in_two_validation_sets_or_none_is_refused(tmp_path: Path) -> None:
    def write(vals: str) -> None:
        for fold, val in enumerate(vals):
            train = "".join(sorted(set("abcdef") - {val}))
            rows = [f"{at},{name},{val if at == 0 else ''}" for at, name in enumerate(train)]
            text = "\n".join([",train,val", *rows])
            (tmp_path / f"splits_{fold}.csv").write_text(text)

    write("abcda")
    with pytest.raises(TrainingError, match="found a in val of two folds"):
        read_splits(tmp_path)
    write("abcde")
    with pytest.raises(TrainingError, match="found f in val of no fold"):
        read_splits(tmp_path)


# ---- cohort build


@pytest.fixture
def inputs(tmp_path: Path) -> BuildInputs:
    """Forty patients of eight sites with two slides each, the deaths before the censored."""
    rng = np.random.default_rng(0)
    ids = [f"TCGA-{chr(65 + at % 8)}1-{at:04}" for at in range(40)]
    event = np.arange(40) % 2
    outcome = pd.DataFrame(
        {
            "patient": ids,
            "time_months": np.where(event, 1 + np.arange(40), 30 + np.arange(40)),
            "event": event,
            "age": 70 - np.arange(40) / 2,
            "er": np.where(np.arange(40) % 4 == 0, "positive", "negative"),
        }
    )
    outcome.to_csv(tmp_path / "outcome.csv", index=False)
    slides = [(patient, f"{patient}-01Z-00-DX{n}", "feats.npz") for patient in ids for n in (1, 2)]
    pd.DataFrame(slides, columns=["patient", "slide", "file"]).to_csv(
        tmp_path / "slides.csv", index=False
    )
    write_features(tmp_path / "feats.npz", [slide for _, slide, _ in slides], rng)
    genes = pd.DataFrame(
        rng.gamma(2.0, 100.0, size=(40, 3)), index=ids, columns=["MYC", "KRAS", "ERBB2"]
    )
    genes.index.name = "patient"
    genes.to_csv(tmp_path / "expression.csv")
    return BuildInputs(
        "ours",
        tmp_path / "outcome.csv",
        tmp_path / "slides.csv",
        expression=tmp_path / "expression.csv",
    )


def write_features(path: Path, slides: list[str], rng: np.random.Generator, width: int = 6) -> None:
    counts = rng.integers(1, 9, size=len(slides))
    np.savez(
        path,
        feats=rng.normal(size=(counts.sum(), width)).astype(np.float16),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        slide_id=np.array(slides),
    )


def edit(path: Path, change: Callable[[pd.DataFrame], Any]) -> None:
    """Change a table in place; what `change` returns replaces it where it is a table."""
    table = pd.read_csv(path)
    changed = change(table)
    (changed if isinstance(changed, pd.DataFrame) else table).to_csv(path, index=False)


def test_a_built_cohort_is_loaded_as_it_was_built(inputs: BuildInputs, tmp_path: Path) -> None:
    built = build(inputs, tmp_path / "cohort")
    loaded = load(str(tmp_path / "cohort"), tmp_path)
    assert loaded.digest == built.digest
    assert loaded.task == built.task
    pd.testing.assert_frame_equal(loaded.patients, built.patients, check_names=False)
    pd.testing.assert_frame_equal(loaded.genes, built.genes, check_names=False)
    pd.testing.assert_frame_equal(loaded.slides, built.slides)
    assert loaded.notes == built.notes
    assert loaded.dropped == built.dropped
    assert len(built.patients) == 40
    assert built.width == 6
    assert (built.patients["fold_site"] >= 0).all()


def test_the_same_inputs_give_the_same_files(inputs: BuildInputs, tmp_path: Path) -> None:
    build(inputs, tmp_path / "one")
    build(inputs, tmp_path / "two")
    for name in ("cohort.json", "patients.csv", "slides.csv", "report.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["one", "two"]


def test_features_that_changed_after_the_build_are_found(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    build(inputs, tmp_path / "cohort")
    slides = pd.read_csv(inputs.slides)["slide"].tolist()
    write_features(tmp_path / "feats.npz", slides, np.random.default_rng(1))
    with pytest.raises(TrainingError, match="found other content in"):
        load(str(tmp_path / "cohort"), tmp_path)


def test_folds_that_were_edited_to_share_a_site_are_refused(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    build(inputs, tmp_path / "cohort")
    edit(
        tmp_path / "cohort/patients.csv",
        lambda table: table.assign(fold_site=np.arange(40) % 5),
    )
    with pytest.raises(TrainingError, match=r"found site A1 in \d site folds"):
        load(str(tmp_path / "cohort"), tmp_path)


def test_a_folder_that_is_no_cohort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected a folder made by `cohort build`"):
        load(str(tmp_path), tmp_path)


def test_a_cohort_is_never_written_over_another(inputs: BuildInputs, tmp_path: Path) -> None:
    build(inputs, tmp_path / "cohort")
    with pytest.raises(TrainingError, match="expected a new folder"):
        build(inputs, tmp_path / "cohort")


def test_a_refused_build_leaves_nothing_behind(inputs: BuildInputs, tmp_path: Path) -> None:
    edit(inputs.outcome, lambda table: table.assign(event=1 - table["event"]))
    with pytest.raises(TrainingError):
        build(inputs, tmp_path / "cohort")
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_built_cohort_answers_for_its_own_task_only(inputs: BuildInputs, tmp_path: Path) -> None:
    build(replace(inputs, task=TASKS["er"]), tmp_path / "cohort")
    with pytest.raises(TrainingError, match=r"found a cohort for task er .* expected os"):
        load(str(tmp_path / "cohort"), tmp_path)
    patients = load(str(tmp_path / "cohort"), tmp_path, "er").patients
    assert patients["label"].sum() == 10
    assert (patients.groupby("fold_official")["label"].sum() == 2).all()


def test_a_task_of_ones_own_takes_class_numbers_and_blanks(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    def number(table: pd.DataFrame) -> None:
        table["msi"] = [1.0, 0.0] * 19 + [np.nan, np.nan]

    edit(inputs.outcome, number)
    task = Task("msi", "classification", ("stable", "unstable"))
    cohort = build(replace(inputs, task=task), tmp_path / "cohort")
    assert Counter(cohort.patients["label"]) == {0: 19, 1: 19}
    assert [drop.reason for drop in cohort.dropped] == ["no label for msi"] * 2


def test_an_inverted_flag_is_refused_and_may_be_confirmed_by_a_person(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    edit(inputs.outcome, lambda table: table.assign(event=1 - table["event"]))
    with pytest.raises(TrainingError, match="turn the flag"):
        build(inputs, tmp_path / "cohort")
    build(replace(inputs, flag_confirmed=True), tmp_path / "cohort")
    assert load(str(tmp_path / "cohort"), tmp_path).patients["event"].sum() == 20


def test_patients_without_features_outcome_or_time_are_dropped_and_counted(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    ids = pd.read_csv(inputs.outcome)["patient"]

    def blank(table: pd.DataFrame) -> None:
        table.loc[1, "time_months"] = np.nan
        table.loc[2, "time_months"] = 0
        table.loc[3, "event"] = np.nan

    edit(inputs.outcome, blank)
    edit(inputs.slides, lambda table: table[table["patient"] != ids[0]])
    edit(inputs.outcome, lambda table: table[table["patient"] != ids[4]])

    def lose(table: pd.DataFrame) -> None:
        table.loc[table["patient"] == ids[5], "file"] = "gone.h5"
        table.loc[table["slide"] == f"{ids[6]}-01Z-00-DX1", "file"] = "gone.h5"

    edit(inputs.slides, lose)
    cohort = build(inputs, tmp_path / "cohort")
    assert {drop.patient: drop.reason for drop in cohort.dropped} == {
        ids[0]: "no features",
        ids[1]: "no outcome",
        ids[2]: "time is zero or negative",
        ids[3]: "no outcome",
        ids[4]: "no outcome: not in the outcome table",
        ids[5]: "no features",
    }
    assert len(cohort.patients) == 34
    assert "3 of 78 slides have no feature file" in cohort.notes
    assert ids[6] in cohort.bags
    report = (tmp_path / "cohort/report.txt").read_text()
    assert "1 patients, time is zero or negative: TCGA-C1-0002" in report


def test_a_cohort_that_keeps_nobody_is_refused_with_the_reasons(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    edit(inputs.slides, lambda table: table.assign(patient="X" + table["patient"]))
    with pytest.raises(TrainingError, match=r"no usable patient .*'no features': 40"):
        build(inputs, tmp_path / "cohort")


def spoil_nan(inputs: BuildInputs) -> None:
    path = inputs.slides.parent / "feats.npz"
    arrays = dict(np.load(path))
    arrays["feats"][3, 2] = np.nan
    np.savez(path, **arrays)


def spoil_width(inputs: BuildInputs) -> None:
    slides = pd.read_csv(inputs.slides)
    other = inputs.slides.parent / "other.npz"
    write_features(other, [slides["slide"].iloc[-1]], np.random.default_rng(0), width=7)
    edit(inputs.slides, lambda t: t.assign(file=[*t["file"][:-1], "other.npz"]))


def spoil_outcome(inputs: BuildInputs) -> None:
    def repeat(table: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([table, table.iloc[[7]].assign(event=1 - table["event"].iloc[7])])

    edit(inputs.outcome, repeat)


def spoil_event(inputs: BuildInputs) -> None:
    edit(inputs.outcome, lambda table: table.assign(event=table["event"] + 1))


def spoil_time(inputs: BuildInputs) -> None:
    edit(inputs.outcome, lambda t: t.assign(time_months=["soon", *t["time_months"][1:]]))


def spoil_folds(inputs: BuildInputs) -> None:
    edit(inputs.slides, lambda table: table.assign(fold=np.arange(80) % 5))


def spoil_owner(inputs: BuildInputs) -> None:
    edit(inputs.slides, lambda t: t.assign(slide=[t["slide"].iloc[-1], *t["slide"][1:]]))


def spoil_slide(inputs: BuildInputs) -> None:
    edit(inputs.slides, lambda table: table.assign(slide=["unheard-of", *table["slide"][1:]]))


def spoil_ids(inputs: BuildInputs) -> None:
    assert inputs.expression
    edit(inputs.expression, lambda table: table.assign(patient="X" + table["patient"]))


def spoil_values(inputs: BuildInputs) -> None:
    assert inputs.expression
    edit(inputs.expression, lambda table: table.assign(MYC="high"))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_nan, "DX1: found NaN or infinity in 1 of 7 instances"),
        (spoil_width, r"features of width 7 .* expected 6"),
        (spoil_outcome, "found event 0.0 and 1.0 for patient TCGA-H1-0007"),
        (spoil_event, "found event 2 for TCGA-B1-0001"),
        (spoil_time, "found 'soon' in column time_months for TCGA-A1-0000"),
        (spoil_folds, r"found patient TCGA-A1-0000 in folds \[0, 1\]"),
        (spoil_owner, "more than once .of TCGA-A1-0000 and TCGA-H1-0039"),
        (spoil_slide, "found no slide unheard-of"),
        (spoil_ids, "found none of the patients among the rows or columns"),
        (spoil_values, "found a gene value that is no number"),
    ],
)
def test_bad_input_is_refused_with_a_sentence_that_names_it(
    inputs: BuildInputs, tmp_path: Path, spoil: Callable[[BuildInputs], None], sentence: str
) -> None:
    spoil(inputs)
    with pytest.raises(TrainingError, match=sentence):
        build(inputs, tmp_path / "cohort")


def test_a_gene_that_was_asked_for_and_is_not_there_is_named(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    wanted = replace(inputs, expected_genes=("ERBB2_rnaseq", "ESR1_rnaseq"))
    with pytest.raises(TrainingError, match="found no gene column ESR1_rnaseq"):
        build(wanted, tmp_path / "cohort")


def test_labels_may_come_in_a_table_of_their_own(
    inputs: BuildInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patients = pd.read_csv(inputs.outcome)["patient"].astype(str)
    labels = tmp_path / "labels.csv"
    words = np.where(np.arange(len(patients)) % 2, "few", "many")
    pd.DataFrame({"patient": patients, "kind": words}).to_csv(labels, index=False)
    assert inputs.expression is not None
    arguments = [
        *("cohort", "build", "--name", "own", "--task", "kind", "--classes", "few", "many"),
        *("--outcome", str(inputs.outcome), "--slides", str(inputs.slides)),
        *("--expression", str(inputs.expression), "--labels", str(labels)),
    ]
    assert main([*arguments, "--out", str(tmp_path / "own")]) == 0
    assert set(load(str(tmp_path / "own"), tmp_path, "kind").patients["label"]) == {0, 1}
    refused = [*arguments, "--require-genes", "NOSUCH_rnaseq", "--out", str(tmp_path / "none")]
    assert main(refused) != 0
    assert "NOSUCH_rnaseq" in capsys.readouterr().err


def test_inner_parts_without_a_death_are_refused(real) -> None:
    cohort = real("ucec")
    patients = cohort.patients.copy()
    patients["event"] = 0
    patients.iloc[:3, patients.columns.get_loc("event")] = 1
    few = replace(cohort, patients=patients)
    with pytest.raises(TrainingError, match=r"found no death among the .* of inner validation"):
        prepare(few, "official", 0)


def test_gene_tables_are_read_in_either_orientation_and_primary_tumors_first(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    assert inputs.expression
    upright = gather(inputs).genes
    table = pd.read_csv(inputs.expression, index_col=0).T
    normal = table.iloc[:, :1] + 1000
    normal.columns = normal.columns + "-11A"
    table.columns = table.columns + "-01A"
    pd.concat([normal, table], axis=1).to_csv(tmp_path / "turned.tsv", sep="\t")
    material = gather(replace(inputs, expression=tmp_path / "turned.tsv"))
    pd.testing.assert_frame_equal(material.genes, upright, check_names=False)
    assert "turned.tsv: 1 further samples of a patient left out" in material.notes


def test_the_logarithm_is_taken_of_expression_only_where_asked(
    inputs: BuildInputs, tmp_path: Path
) -> None:
    assert inputs.expression
    plain = gather(inputs).genes
    both = replace(inputs, cnv=inputs.expression, log_expression=True)
    logged = gather(both).genes
    np.testing.assert_allclose(logged["MYC_rnaseq"], np.log2(plain["MYC_rnaseq"] + 1), rtol=1e-6)
    np.testing.assert_allclose(logged["MYC_cnv"], plain["MYC_rnaseq"], rtol=1e-6)
    edit(inputs.expression, lambda table: table.assign(MYC=-1.0))
    with pytest.raises(TrainingError, match="found negative expression"):
        gather(both)


def test_the_portals_clinical_table_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "clinical.tsv"
    rows = [
        "cases.case_id\tcases.submitter_id\tdemographic.vital_status\tdemographic.days_to_death"
        "\tdiagnoses.days_to_last_follow_up\tdiagnoses.age_at_diagnosis",
        "7f3\tTCGA-AA-0001\tDead\t609\t'--\t21915",
        "7f3\tTCGA-AA-0001\tDead\t609\t100\t'--",
        "8f3\tTCGA-AA-0002\tAlive\t'--\t304\t18263",
        "9f3\tTCGA-AA-0003\tNot Reported\t'--\t304\t'--",
    ]
    path.write_text("\n".join(rows))
    found = read_outcome(path)
    assert found.index.tolist() == ["TCGA-AA-0001", "TCGA-AA-0002", "TCGA-AA-0003"]
    assert found["event"].tolist()[:2] == [1, 0]
    assert np.isnan(found["event"].iloc[2])
    np.testing.assert_allclose(found["time_months"].iloc[:2], [20.008, 9.988], atol=1e-3)
    np.testing.assert_allclose(found["age"].iloc[:2], [60.0, 50.0], atol=0.01)


def test_censorship_is_turned_into_event(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("case_id,survival_months,censorship\na,3,1\nb,2,0\n")
    assert read_outcome(path)["event"].tolist() == [0, 1]
    path.write_text("PATIENT_ID,OS_MONTHS,OS_STATUS\na,3,0:LIVING\nb,2,1:DECEASED\n")
    assert read_outcome(path)["event"].tolist() == [0, 1]
    path.write_text("case_id,survival_months,censorship,event\na,3,1,0\n")
    with pytest.raises(TrainingError, match="found both event and censorship"):
        read_outcome(path)
    path.write_text("case_id,survival_months\na,3\n")
    with pytest.raises(TrainingError, match="found no event in"):
        read_outcome(path)


def test_building_luad_from_the_curated_outcomes_gives_the_published_cohort(
    real, data: Path, tmp_path: Path
) -> None:
    shipped = real("luad")
    manifest = shipped.slides.assign(file=str(data / "hipt_vit4k/luad.npz"))
    manifest.drop(columns="instances").to_csv(tmp_path / "slides.csv", index=False)
    genes = shipped.genes.iloc[:, :40]
    genes.to_csv(tmp_path / "expression.csv.gz")
    inputs = BuildInputs(
        "luad",
        data / "tcga_cdr/tcga_cdr.csv.gz",
        tmp_path / "slides.csv",
        expression=tmp_path / "expression.csv.gz",
        signatures=data / "porpoise/datasets_csv/signatures.csv",
        splits=data / "porpoise/splits/tcga_luad",
    )
    built = build(inputs, tmp_path / "cohort")
    assert built.patients.index.equals(shipped.patients.index)
    for column in ("event", "site", "fold_official", "fold_site"):
        assert (built.patients[column] == shipped.patients[column]).all(), column
    np.testing.assert_allclose(
        built.patients["time_months"], shipped.patients["time_months"], rtol=0.001, atol=0.006
    )
    np.testing.assert_array_equal(built.genes.to_numpy(), genes.to_numpy())
    assert all(np.array_equal(built.bags[p], shipped.bags[p]) for p in shipped.bags)
    assert load(str(tmp_path / "cohort"), data).digest == built.digest


def test_real_tile_features_in_hdf5_become_bags_and_do_not_mix_with_another_encoder(
    data: Path, tmp_path: Path
) -> None:
    names = ("TCGA-3X-AAVA-01Z-00-DX1", "TCGA-AD-6964-01Z-00-DX1")
    rows = [(name[:12], name, data / f"mopadi_example/{name}/features.h5") for name in names]
    outcome = "patient,time_months,event\nTCGA-3X-AAVA,10,1\nTCGA-AD-6964,20,0\nTCGA-05-4244,5,0\n"
    (tmp_path / "outcome.csv").write_text(outcome)
    manifest = pd.DataFrame(rows, columns=["patient", "slide", "file"])
    manifest.to_csv(tmp_path / "slides.csv", index=False)
    inputs = BuildInputs("tiles", tmp_path / "outcome.csv", tmp_path / "slides.csv")
    cohort = build(inputs, tmp_path / "cohort")
    assert {patient: bag.shape for patient, bag in cohort.bags.items()} == {
        "TCGA-3X-AAVA": (180, 512),
        "TCGA-AD-6964": (777, 512),
    }
    with pytest.raises(TrainingError, match="found 2 sites in tiles, expected at least 5"):
        cohort.folds("site")
    slide = "TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf-40ea-8213-45c2b100ac01"
    manifest.loc[2] = ["TCGA-05-4244", slide, data / "hipt_vit4k/luad.npz"]
    manifest.to_csv(tmp_path / "slides.csv", index=False)
    with pytest.raises(TrainingError, match=r"features of width \d+ .* expected \d+"):
        build(inputs, tmp_path / "other")


def test_a_cohort_nobody_named_is_read_where_its_published_files_are_there(
    shared: Path, tmp_path: Path
) -> None:
    files = (
        ("hipt_vit4k/lihc.npz", "hipt_vit4k/other.npz"),
        ("porpoise/datasets_csv_mutsig/tcga_lihc_all_clean.csv.zip",
         "porpoise/datasets_csv_mutsig/tcga_other_all_clean.csv.zip"),
        ("porpoise/splits/tcga_lihc", "porpoise/splits/tcga_other"),
        ("porpoise/datasets_csv", "porpoise/datasets_csv"),
        ("tcga_cdr", "tcga_cdr"),
        ("kather_cbio", "kather_cbio"),
    )  # fmt: skip
    for source, name in files:
        link = tmp_path / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shared / "data" / source)
    cohort, same = load("other", tmp_path), load("lihc", shared / "data")
    assert cohort.name == "other"
    assert list(cohort.patients.index) == list(same.patients.index)
    pd.testing.assert_frame_equal(cohort.patients, same.patients)
    pd.testing.assert_frame_equal(cohort.privileged["clinical"], same.privileged["clinical"])
    (tmp_path / "kather_cbio").unlink()
    with pytest.raises(TrainingError, match=r"found no .*, expected copy number .* check --data"):
        load("other", tmp_path)
    (tmp_path / "hipt_vit4k/other.npz").unlink()
    with pytest.raises(TrainingError, match=r"found cohort 'other', expected .*other\.npz"):
        load("other", tmp_path)
