"""The pixel path: shared graph writing, the aggregator, and the figures of probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from training.default_student import (  # noqa: E402
    aggregator,
    data,
    measure,
)
from training.errors import TrainingError  # noqa: E402
from training.learning.graphs import run, write_graph, write_probe, write_sums  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Out(NamedTuple):
    total: torch.Tensor
    each: torch.Tensor


class Sums(torch.nn.Module):
    def forward(self, features):
        return Out(features.sum(dim=0), torch.sigmoid(features.mean(dim=1)))


class Frozen(torch.nn.Module):
    """Holds the number of its example: what an exported Python size does."""

    def forward(self, features):
        return features.sum(dim=0) / len(features)


def written(module, out, name="aggregator", outputs=("total", "each")):
    return write_graph(
        name,
        module,
        (torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),),
        out,
        inputs=("features",),
        outputs=outputs,
        dynamic={"features": {0: "N"}, "each": {0: "N"}},
    )


def test_a_graph_of_named_outputs_runs_at_sizes_it_was_not_exported_at(tmp_path):
    path = written(Sums(), tmp_path)
    features = np.arange(21, dtype=np.float32).reshape(7, 3)
    found = run(path, {"features": features})
    assert list(found) == ["total", "each"]
    assert found["total"] == pytest.approx(features.sum(axis=0))
    assert found["each"].shape == (7,)
    assert not any(node.doc_string for node in onnx.load(path).graph.node)


def test_a_graph_that_froze_the_size_of_its_example_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="difference of"):
        written(Frozen(), tmp_path, outputs=("total",))


def test_a_graph_with_an_output_too_many_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="found 1 inputs and 2 outputs"):
        written(Sums(), tmp_path, outputs=("total",))


def test_the_probe_feeds_one_graph_with_the_outputs_of_the_one_before(tmp_path):
    written(torch.nn.Linear(3, 3), tmp_path, name="first", outputs=("hidden",))
    write_graph(
        "second",
        Sums(),
        (torch.ones(2, 3),),
        tmp_path,
        inputs=("hidden",),
        outputs=("total", "each"),
        dynamic={"hidden": {0: "N"}, "each": {0: "N"}},
    )
    write_probe(("first", "second"), {"features": np.ones((4, 3), np.float32)}, tmp_path)
    with np.load(tmp_path / "probe.npz", allow_pickle=False) as probe:
        assert np.array_equal(probe["second/in/hidden"], probe["first/out/hidden"])
        assert set(probe.files) == {
            "first/in/features",
            "first/out/hidden",
            "second/in/hidden",
            "second/out/total",
            "second/out/each",
        }
    with pytest.raises(TrainingError, match="no values for"):
        write_probe(("second",), {"features": np.ones((4, 3), np.float32)}, tmp_path)
    write_sums(tmp_path)
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 3


def test_the_aggregator_gives_the_mean_feature_of_a_slide_and_nothing_else():
    features = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    assert aggregator.Center()(features).tolist() == [4.5, 5.5, 6.5]


def test_calibration_is_one_and_nought_where_probabilities_are_right_and_lower_where_too_high():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20_000)
    truth = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(float)
    right = 1 / (1 + np.exp(-logit))
    assert measure.calibration(truth, right) == pytest.approx((1, 0), abs=0.06)
    too_high = 1 / (1 + np.exp(-(logit + 1)))
    assert measure.calibration(truth, too_high) == pytest.approx((1, -1), abs=0.06)


def test_a_digest_is_of_names_and_bytes_wherever_the_files_lie(tmp_path):
    found = {}
    for folder, name, content in (
        ("a", "tiles.npz", b"x"), ("b", "tiles.npz", b"x"), ("c", "tiles.npz", b"y"),
        ("d", "other.npz", b"x"),
    ):  # fmt: skip
        path = tmp_path / folder / name
        path.parent.mkdir()
        path.write_bytes(content)
        found[folder] = data.digest([path])
    assert found["a"] == found["b"]
    assert len({found[folder] for folder in "acd"}) == 3
