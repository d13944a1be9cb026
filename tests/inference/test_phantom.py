from __future__ import annotations

import numpy as np
import pytest

from inference.phantom.cells import LYMPHOCYTE, TUMOR, nucleus_bank
from inference.phantom.draw import MPP, STEP, Kind, Phantom, draw


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw(3, rows=2048, cols=3072)


def _colors(phantom: Phantom, kind: Kind) -> np.ndarray:
    """RGB [K, 3] of pixels in the middle of blocks of the kind."""
    rows, cols = np.nonzero(phantom.truth == kind)
    return phantom.pixels[rows * STEP + STEP // 2, cols * STEP + STEP // 2].astype(int)


def test_the_same_seed_draws_the_same_slide_and_another_seed_another(phantom: Phantom) -> None:
    again, other = draw(3, rows=2048, cols=3072), draw(4, rows=2048, cols=3072)

    assert np.array_equal(again.pixels, phantom.pixels)
    assert np.array_equal(again.truth, phantom.truth)
    assert (other.truth != phantom.truth).mean() > 0.05


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
def test_every_kind_is_on_the_slide_and_glass_surrounds_it(seed: int) -> None:
    truth = draw(seed, rows=1536, cols=2048).truth

    assert set(np.unique(truth)) == set(Kind)
    border = np.concatenate([truth[0], truth[-1], truth[:, 0], truth[:, -1]])
    assert np.isin(border, (Kind.GLASS, Kind.PEN)).all()


def test_the_label_map_lies_on_the_pixels(phantom: Phantom) -> None:
    assert phantom.pixels.shape == (2048, 3072, 3)
    assert phantom.truth.shape == (2048 // STEP, 3072 // STEP)
    assert _colors(phantom, Kind.GLASS).min(axis=1).mean() > 235
    red, green, _ = _colors(phantom, Kind.STROMA).mean(axis=0)
    assert red - green > 40  # eosin takes green
    tumor, lymph = _colors(phantom, Kind.TUMOR), _colors(phantom, Kind.LYMPHOCYTES)
    assert tumor.mean() < _colors(phantom, Kind.STROMA).mean() - 25
    assert np.percentile(lymph, 10) < np.percentile(tumor, 10)
    red, _, blue = _colors(phantom, Kind.PEN).mean(axis=0)
    assert blue - red > 80


def test_tumor_nuclei_are_crowded_and_as_large_as_nuclei_are(phantom: Phantom) -> None:
    for look, least_um, most_um in ((TUMOR, 9, 16), (LYMPHOCYTE, 6, 9)):
        bank = nucleus_bank(np.random.default_rng(0), look, 12)
        area_um2 = (bank > look.amount / 4).sum(axis=(1, 2)).mean() * MPP**2
        assert least_um < 2 * np.sqrt(area_um2 / np.pi) < most_um
    dark = (_colors(phantom, Kind.TUMOR).sum(axis=1) < 380).mean()
    assert 0.25 < dark < 0.8


def test_a_fold_is_darker_than_the_stroma_beside_it(phantom: Phantom) -> None:
    assert _colors(phantom, Kind.FOLD).mean() < _colors(phantom, Kind.STROMA).mean() - 30


def test_no_seams_run_through_the_drawing(phantom: Phantom) -> None:
    """Neighboring rows differ as much at the borders of drawing bands as elsewhere."""
    steps = np.abs(np.diff(phantom.pixels[..., 1].astype(int), axis=0)).mean(axis=1)
    seams = steps[255::256]
    assert np.all(seams < np.median(steps[200:-200]) * 2)


def test_a_slide_too_small_or_odd_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        draw(1, rows=1000, cols=2048)
    with pytest.raises(ValueError, match="multiples of 16"):
        draw(1, rows=2047, cols=2048)
