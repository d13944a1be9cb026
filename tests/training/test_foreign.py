"""The bench of foreign slides, on pictures painted here and the tiny student of mean colors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from students import tiny_bundle

from engines.manifest.tensors import TileInput
from training.cli import REFUSED, main
from training.errors import TrainingError
from training.foreign.figures import area, flagged
from training.foreign.scores import SCORES, Bag, Reference, far_share, shares
from training.foreign.sources import SHIPPED, read_table, tiles_of

PINK, BLUE = (190, 120, 160), (40, 60, 200)


def painted(path: Path, color: tuple[int, int, int], seed: int, tiles: int = 4) -> None:
    """A picture of tiles x tiles tiles around a color."""
    rng = np.random.default_rng(seed)
    side = 32 * tiles
    shades = np.repeat(np.repeat(rng.normal(0, 8, (tiles, tiles, 3)), 32, 0), 32, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (np.array(color) + shades).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels.reshape(side, side, 3)).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for n in range(4):
        painted(folder / f"known-{n}.png", PINK, n)
    for n in range(20):
        painted(folder / f"usual-{n}.png", PINK, 50 + n)
        painted(folder / f"other-{n}.png", BLUE, 100 + n)
    painted(folder / "small.png", BLUE, 200, tiles=1)
    return folder


def table(folder: Path, mpp: float) -> Path:
    """A source a picture, the reference by a table."""
    known = "".join(f"known-{n}.png,{'abcd'[n]},yes\n" for n in range(4))
    (folder / "known.csv").write_text("file,slide,use\n" + known + "usual-0.png,e,no\n")
    entries = [
        f'[[source]]\nname = "known"\nkind = "reference"\nwhat = ""\nfiles = "*.png"\nmpp = {mpp}\n'
        'table = "known.csv"\neach = "slide"\nwhere = { use = "yes" }\n'
    ]
    names = [(f"{kind}-{n}", kind) for kind in ("usual", "other") for n in range(20)]
    for name, kind in [*names, ("small", "other"), ("absent", "other")]:
        told = "ordinary" if kind == "usual" else "foreign"
        entries.append(
            f'[[source]]\nname = "{name}"\nkind = "{told}"\nwhat = ""\n'
            f'files = "{name}.png"\nmpp = {mpp}\n'
        )
    path = folder / "sources.toml"
    path.write_text("\n".join(entries))
    return path


def student_of(tmp_path: Path) -> tuple[Path, float]:
    def compares(values):
        mean = [level / 255 for level in PINK]
        values["out_of_distribution"] = {"mean": mean, "std": [0.05] * 3, "limit": 1.0}

    bundle = tiny_bundle(tmp_path / "bundle", compares)
    return bundle, json.loads((bundle / "manifest.json").read_text())["input"]["mpp"]


def test_blue_slides_are_told_from_pink_ones_by_every_score_and_the_report_says_what_of(
    tmp_path, data, capsys
):
    bundle, mpp = student_of(tmp_path)
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    words = ["ood", str(bundle), "--data", str(tmp_path), str(data)]
    assert main([*words, "--sources", str(table(data, mpp)), "--out", str(tmp_path / "out")]) == 0
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before
    told = json.loads((tmp_path / "out" / "ood.json").read_text())
    assert (tmp_path / "out" / "ood.md").read_text() == capsys.readouterr().out
    assert len(told["scores"]) == len(SCORES)  # one needs an attention, one is the bundle's own
    for score in told["scores"].values():
        assert score["auroc"]["value"] == 1
        assert score["hits"]["some"] == score["hits"]["all"] == 20
        assert score["false_alarms"]["all"] == 20
        assert score["synthetic"]["inverted"]["some"] == 20
    own = told["scores"]["the bundle's own distance and limit"]
    assert own["meets_the_bar"]
    assert own["measured"]["foreign_count"] == 20
    kinds = [source["name"] for source in told["sources"] if source["kind"] == "reference"]
    assert kinds == ["known a", "known b", "known c", "known d"]
    assert [sentence.split(":")[0] for sentence in told["left_out"]] == ["small", "absent"]


def test_without_foreign_sources_there_is_no_figure(tmp_path, data, capsys):
    bundle, mpp = student_of(tmp_path)
    path = table(data, mpp)
    path.write_text(path.read_text().replace('kind = "foreign"', 'kind = "ordinary"'))
    words = ["ood", str(bundle), "--data", str(data), "--sources", str(path)]
    assert main([*words, "--out", str(tmp_path / "out")]) == REFUSED
    assert "found 0 foreign sources" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('each = "slide"', 'each = "section"', "no column section"),
        ("known.csv", "unknown.csv", "no table"),
        ('use = "yes"', 'use = "maybe"', "no picture that"),
        ('files = "*.png"', 'files = "/*.png"', "relative path"),
        ('files = "*.png"', 'files = "*.csv"', "no picture that"),
    ],
)
def test_what_a_table_names_and_the_folder_lacks_is_told(tmp_path, data, capsys, old, new, why):
    bundle, mpp = student_of(tmp_path)
    path = table(data, mpp)
    path.write_text(path.read_text().replace(old, new, 1))
    words = ["ood", str(bundle), "--data", str(data), "--sources", str(path)]
    assert main([*words, "--out", str(tmp_path / "out")]) == REFUSED
    assert why in capsys.readouterr().err


def test_an_unreadable_picture_is_left_out_by_name(data):
    (data / "usual-3.png").write_bytes(b"no picture")
    entry = read_table(table(data, 0.5))[4]
    with pytest.raises(TrainingError, match="usual-3"):
        list(tiles_of(entry, [data], TileInput(tile_px=32, mpp=0.5, mpp_tolerance=0.05), 9))


@pytest.mark.parametrize(
    "text",
    ["", "source = 3", "[[source]]\nname = 'a'", "[[source", "[[source]]\nkind = 'synthetic'"],
)
def test_a_table_that_is_none_is_refused_in_one_sentence(tmp_path, data, capsys, text):
    bundle, _ = student_of(tmp_path)
    (tmp_path / "sources.toml").write_text(text)
    words = ["ood", str(bundle), "--data", str(data), "--sources", str(tmp_path / "sources.toml")]
    assert main([*words, "--out", str(tmp_path / "out")]) == REFUSED
    assert "sources.toml" in capsys.readouterr().err


def test_the_table_of_the_shipped_student_is_read():
    entries = read_table(SHIPPED)
    assert {entry.kind for entry in entries} == {"reference", "ordinary", "foreign"}


def test_intervals_of_counts_are_those_of_clopper_and_pearson():
    none, some = flagged(np.zeros(20)), flagged(np.array([2.0] + [0.5] * 19))
    assert (none.some, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert (some.low, some.high) == (pytest.approx(0.00127, abs=1e-5), pytest.approx(0.24873, 1e-4))
    assert flagged(np.full(3, 2.0)).high == 1


def test_ties_count_half_in_the_auroc_and_the_interval_holds_the_value():
    found = area(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]))
    assert found.value == pytest.approx((1.5 + 3) / 6)
    assert found.low <= found.value <= found.high


def test_a_bag_of_reference_tiles_is_near_and_one_far_away_is_far():
    rng = np.random.default_rng(0)
    bags = [Bag(rng.normal(0, 1, (60, 8)), np.full(60, 1 / 60)) for _ in range(4)]
    reference = Reference(bags[:3])
    near, far = reference.seen(bags[3]), reference.seen(Bag(bags[3].features + 9, None))
    assert far_share(near) < 0.3
    assert far_share(far) == 1


def test_attention_relative_to_uniform_is_turned_into_weights():
    weights = np.array([0.1, 0.2, 0.7])
    relative = weights * 3 / (1 + weights * 3)
    assert shares(relative) == pytest.approx(weights)
    assert shares(weights) == pytest.approx(weights)
