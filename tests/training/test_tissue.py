"""The tissue student: what its teachers say, what its views lose, and what it must never see."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from engines.manifest.reading import manifest_of
from training.default_student import data
from training.default_student.bundle import card, export, figures, held, manifest, simulate
from training.default_student.bundle.said import Said, by_student, softmax
from training.default_student.encoder import PrincipalAxes
from training.default_student.tissue import counts, densenet, gather, learn, student, tiles, views
from training.default_student.tissue.densenet import CLASSES
from training.default_student.tissue.tiles import SOURCES
from training.errors import TrainingError


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return densenet.DenseNet().eval().requires_grad_(False)


def test_a_teacher_that_is_saved_is_read_again_as_it_was(teacher, tmp_path):
    densenet.saved(teacher, tmp_path / "teacher.npz")
    again = densenet.read(tmp_path / "teacher.npz")
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 255
    for own, read in zip(teacher(pixels), again(pixels), strict=True):
        assert torch.equal(own, read)


def test_an_archive_of_another_network_is_refused_by_name(tmp_path):
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((1024, 24), np.float32)
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("model.weights.h5", buffer.getvalue())
    with pytest.raises(TrainingError, match=r"found no layers/functional.*DenseNet-121"):
        densenet.read(tmp_path / "other.keras")


def test_compression_loses_more_at_lower_quality_and_leaves_a_flat_tile_as_it_is():
    rng = torch.Generator().manual_seed(0)
    noisy = torch.rand(2, 3, 32, 32, generator=rng) * 255
    lost = (views.compressed(noisy, torch.tensor([95, 10])) - noisy).abs().mean(dim=(1, 2, 3))
    assert lost[0] < 10 < lost[1]
    flat = torch.full((1, 3, 32, 32), 128.0)
    assert torch.allclose(views.compressed(flat, torch.tensor([50])), flat, atol=1e-3)


def test_compression_loses_about_what_a_jpeg_file_loses():
    rng = np.random.default_rng(0)
    rows = np.cumsum(rng.normal(0, 4, (64, 64)), axis=1) + 128
    gray = np.repeat(rows.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "JPEG", quality=40, subsampling=0)
    real = np.asarray(Image.open(buffer)).astype(float)
    given = torch.from_numpy(gray).permute(2, 0, 1)[None].float()
    ours = views.compressed(given, torch.tensor([40]))[0].permute(1, 2, 0).numpy()
    assert np.abs(real - ours).mean() < 0.2 * np.abs(real - gray).mean()


def test_only_the_rows_that_are_given_are_blended():
    pixels = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 4, 4).clone()
    before = pixels.clone()
    changed = views.mixed(pixels, torch.arange(3, 8), torch.Generator().manual_seed(0))
    assert 0 < len(changed) < 5
    assert set(changed.tolist()) <= set(range(3, 8))
    rest = [at for at in range(8) if at not in changed.tolist()]
    assert torch.equal(pixels[rest], before[rest])


def test_macrophages_say_nothing_of_the_tissue_of_a_spot():
    types = ("B-cells", "CAFs", "Endothelial", "Epithelial", "Myeloid", "Plasma Cells", "PVL",
             "T-cells")  # fmt: skip
    shares = gather.tissues_of(
        np.array([[0, 0.1, 0, 0.3, 0.5, 0, 0, 0.1], [0, 0, 0, 0, 1, 0, 0, 0]]), types
    )
    found = dict(zip(CLASSES, shares[0].tolist(), strict=True))
    assert found["TUM"] == pytest.approx(0.6)
    assert found["STR"] == found["LYM"] == pytest.approx(0.2)
    assert np.isnan(shares[1]).all()


def test_the_teacher_of_counts_answers_without_the_asked_patient_and_without_b():
    rng = np.random.default_rng(0)
    patient = np.repeat(["A", "B", "C", "D"], 40)
    levels = rng.normal(size=(160, 5))
    share = 1 / (1 + np.exp(-2 * levels[:, 0]))
    known = counts.Counted(
        levels, np.stack([share, 1 - share], axis=1), ("x", "y"), tuple("abcde"), patient,
        patient, patient,
    )  # fmt: skip
    spoiled = replace(known, cells=np.where(np.isin(patient, ["B", "C"])[:, None], 9, known.cells))
    found, same = (counts.answers(k, "C", 1.0)[patient == "C"] for k in (known, spoiled))
    assert np.array_equal(found, same)
    assert np.corrcoef(found[:, 0], share[patient == "C"])[0, 1] > 0.9


def _some(count: int) -> tiles.Tiles:
    """Noise of every source, a third of it held."""
    rng = np.random.default_rng(0)
    jpeg = np.empty(count, object)
    for at in range(count):
        buffer = io.BytesIO()
        noise = rng.integers(0, 256, (tiles.TILE_PX, tiles.TILE_PX, 3), dtype=np.uint8)
        Image.fromarray(noise).save(buffer, "JPEG", quality=30)
        jpeg[at] = buffer.getvalue()
    source = np.arange(count) % len(SOURCES)
    spots, drawn = source == SOURCES.index("spots"), source == SOURCES.index("drawn")
    lung = source == SOURCES.index("lung")
    classes = np.full((count, 9), np.nan, np.float32)
    classes[spots | drawn] = rng.dirichlet(np.ones(9), (spots | drawn).sum())
    return tiles.Tiles(
        jpeg=jpeg,
        source=source,
        mpp=np.where(spots, 0.73, 0.5).astype(np.float32),
        held=(np.arange(count) // len(SOURCES)) % 3 == 0,
        tumor=np.where(lung | spots | drawn, rng.random(count), np.nan).astype(np.float32),
        tissue=np.where(lung, np.arange(count) % 3, -1),
        cells=np.where(spots[:, None], np.full((count, 8), 0.125), np.nan).astype(np.float32),
        classes=classes,
        taught=np.where(spots, rng.random(count), np.nan).astype(np.float32),
    )


def test_what_is_written_is_read_again(tmp_path):
    own = _some(15)
    tiles.write(own, tmp_path / "tiles.npz")
    again = tiles.read(tmp_path / "tiles.npz")
    assert list(own.jpeg) == list(again.jpeg)
    assert np.array_equal(own.classes, again.classes, equal_nan=True)


@pytest.fixture(scope="module")
def fit(teacher):
    return learn.Fit(_some(30), teacher, learn.Asked(2, None, 12, 0, "cpu"))


def test_the_null_gets_answers_of_its_own_sources_and_keeps_what_was_drawn(fit):
    batch = fit.shelf.drawn(40, torch.Generator().manual_seed(5))
    answers = fit.answers(batch)
    null = answers.exchanged(batch)
    drawn = batch.source == SOURCES.index("drawn")
    assert torch.equal(batch.source, batch.source[batch.exchanged])
    assert torch.equal(null.classes[drawn], batch.classes[drawn])
    assert not torch.equal(null.features, answers.features)
    asked = batch.source == SOURCES.index("slides")
    assert torch.equal(null.classes[asked], answers.classes[batch.exchanged][asked])


def test_a_training_gives_three_models_and_the_twin_never_hears_the_teachers(fit):
    before = {role: model.expression.bias.clone() for role, model in fit.models.items()}
    models = fit.run()
    assert set(models) == {"student", "twin", "null"}
    assert all(torch.isfinite(w).all() for m in models.values() for w in m.state_dict().values())
    assert torch.equal(models["twin"].expression.bias, before["twin"])
    assert not torch.equal(models["student"].expression.bias, before["student"])
    assert fit.log["steps"] == 2
    assert {"student", "twin", "null"} <= set(fit.log["agreement"][-1])


def _held(count: int) -> held.Held:
    """Tiles of lung and of spots by turns, whose tumor is known and whose classes are not."""
    rng = np.random.default_rng(0)
    names = np.where(np.arange(count) % 2, SOURCES.index("spots"), SOURCES.index("lung"))
    return held.Held(
        np.zeros((count, 1, 1, 3), np.uint8),
        names,
        rng.integers(0, 2, count).astype(float),
        np.full((count, 9), np.nan),
    )


def test_temperatures_undo_logits_that_are_too_large_and_every_source_weighs_the_same():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 9))
    known = replace(_held(4000), tumor=(rng.random(4000) < 1 / (1 + np.exp(-logits[:, 0]))) * 1.0)
    drawn = np.array([rng.choice(9, p=p) for p in softmax(logits)])
    known = replace(known, classes=np.eye(9)[drawn])
    said = Said(np.zeros((4000, 134)), 3 * logits[:, 0], 2 * logits)
    assert held.temperatures(known, said) == pytest.approx((3, 2), rel=0.15)


def test_the_role_with_the_highest_mean_of_its_held_figures_is_shipped():
    def figure(value: float) -> held.Figure:
        return held.Figure("x", value, value, value, "data", "lung", 1)

    by_role = {"student": [figure(0.9), figure(0.5)], "twin": [figure(1.0), figure(0.2)]}
    assert held.chosen(by_role) == "student"


def test_a_held_figure_counts_only_tiles_of_its_source_whose_class_is_known():
    known = _held(40)
    lung = known.of("lung")
    known.classes[lung[:10]] = np.eye(9)[3]
    logits = np.zeros((40, 9))
    logits[lung[:7], 3] = 1
    logits[lung[7:], 4] = 1
    found = held._same(known, logits.argmax(axis=1), "lung", "same", "lung", "data")
    assert (found.value, found.count) == (0.7, 10)
    assert found.low < 0.7 < found.high


def test_a_share_is_off_by_what_is_taken_for_it_and_never_by_nothing():
    truth = np.repeat([CLASSES.index(name) for name in figures.SHOWN], 4)
    perfect = figures.share_errors(truth, truth, 0)
    assert set(perfect) == set(figures.SHOWN)
    assert all(0.02 < error < 0.15 for error in perfect.values())
    confused = np.where(truth == CLASSES.index("STR"), CLASSES.index("MUS"), truth)
    found = figures.share_errors(truth, confused, 0)
    assert found["STR"] > 0.25 > 0.15 > found["ADI"]
    assert found["MUS"] > 0.25


def test_slides_of_one_source_are_bags_of_one_unit_and_the_limit_holds_nearly_all():
    rng = np.random.default_rng(0)

    def library(center: float) -> simulate.Library:
        features = rng.normal(center, 1, (2, 50, 5)).astype(np.float32)
        return simulate.Library(features, rng.dirichlet(np.ones(9), 50).astype(np.float32))

    slides = simulate.means([[library(0), library(100)], [library(50)]], 400, 0)
    near = np.abs(slides[:, :1] - [0, 50, 100]).min(axis=1)
    assert near.max() < 3
    reference = simulate.reference(slides)
    far = simulate.distance(slides, reference.mean, reference.std) > reference.limit
    assert far.sum() == 1
    away = simulate.distance(slides + 500, reference.mean, reference.std)
    assert away.min() > reference.limit


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return student.TissueEncoder().eval()


def test_temperatures_of_an_encoder_divide_what_it_says(encoder):
    tiles_ = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    plain = by_student(encoder, tiles_)
    encoder.temperature.fill_(2)
    encoder.class_temperature.fill_(4)
    try:
        cooled = by_student(encoder, tiles_)
    finally:
        encoder.temperature.fill_(1)
        encoder.class_temperature.fill_(1)
    expected = plain.cooled(2, 4)
    assert cooled.tumor == pytest.approx(expected.tumor, abs=1e-5)
    assert cooled.classes == pytest.approx(expected.classes, abs=1e-5)
    assert cooled.raw == pytest.approx(plain.raw, abs=1e-5)


def test_the_written_graphs_give_what_the_network_says_and_the_manifest_knows_them(
    encoder, tmp_path
):
    from training.learning.graphs import run

    raw = np.random.default_rng(0).normal(size=(200, 134)).astype(np.float32)
    axes = PrincipalAxes(torch.from_numpy(raw))
    export.write(student.DeployedTissue(encoder, axes).eval(), tmp_path)
    tiles_ = np.stack([image for image, _ in data.fields(1000)[:3]])
    found = run(tmp_path / "encoder.onnx", {"tiles": tiles_})
    said = by_student(encoder, tiles_)
    assert list(found) == list(manifest.OUTPUTS["encoder"])
    assert found["classes"] == pytest.approx(said.probabilities(), abs=1e-4)
    assert found["tumor"] == pytest.approx(figures.probability(said), abs=1e-4)
    assert found["features"].shape == (3, 64)
    content = manifest.manifest(
        digest="0", figures=[held.Figure("x", 0.5, 0.4, 0.6, "d", "lung", 3)], limits=[],
        calibration=(1, 0), spots=3, errors=dict.fromkeys(figures.SHOWN, 0.1),
        reference=simulate.Reference(np.zeros(64), np.ones(64), 2.0),
    )  # fmt: skip
    whole = manifest_of(content)
    assert whole.performance[0].count == 3
    assert [tensor.name for tensor in whole.graphs["encoder"].outputs] == list(found)


def test_the_card_says_what_each_tissue_was_taken_for():
    truth = np.repeat([CLASSES.index(name) for name in figures.SHOWN], 4)
    told = np.eye(9)[truth]
    stroma = np.flatnonzero(truth == CLASSES.index("STR"))
    told[stroma[1:]] = np.eye(9)[CLASSES.index("MUS")]
    rows = [
        held.Figure(name, 0.5, 0.4, 0.6, "d", who, 32)
        for name, who in (
            ("tissue class accuracy", "colon"), ("tumor AUC by tissue class", "colon"),
            ("tumor AUC", "breast"), ("Spearman with epithelium", "breast"),
            ("tumor AUC", "colon"), ("tumor accuracy", "colon"), ("tumor AUC", "lung"),
        )
    ]  # fmt: skip
    role = card.OfRole(rows, rows, told)
    found = card.Told(
        "student", {"student": role, "twin": role}, card.OfRole([], rows[:2], told), truth,
        (1.0, 1.0), (1.0, 0.0), 3, dict.fromkeys(figures.SHOWN, 0.1), 2.0, 0.1,
        {"steps": 1, "batch": 2, "seconds": 3.0, "device": "cpu", "seed": 0},
    )  # fmt: skip
    text = card.card(found)
    assert "| stroma | 1 of 4 | 1 of 4 | 1 of 4 | smooth muscle (3) | 0.100 |" in text
    assert "| all | 29 of 32 | 29 of 32 | 29 of 32 | | |" in text
    limits = " ".join(card.limits(found))
    assert "29 were right. Of 4 tiles of stroma 1 was told as such" in limits
    assert "wrong on 16 of 32" in limits


def test_a_slide_is_held_on_its_right_side_alone(shared):
    images, kept = gather.real_slide(shared / "data", "cmu-1-small-region")
    assert len(images) == len(kept)
    assert 0.1 < kept.mean() < 0.4
