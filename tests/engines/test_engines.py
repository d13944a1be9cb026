"""What the engines promise: the same numbers however they are called, and clear refusals."""

from __future__ import annotations

import json
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bundles import (
    TILE_PX,
    add_precisions,
    manifest,
    precision,
    write_bundle,
    write_probe,
    write_sums,
)
from onnx import helper, load, numpy_helper, save

from engines import openvino as openvino_cpu
from engines.bundle import open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.machine import available_memory, cores, require_memory
from engines.names import ENGINE_NAMES
from engines.runtime import ENGINES, open_runtime

CPU_ENGINES = ["openvino", "onnxruntime"]


@pytest.fixture
def bundle_dir(tmp_path):
    return write_bundle(tmp_path / "tiny")


def random_tiles(count, side=TILE_PX):
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def tiny(runtime, tiles):
    return runtime.run("encoder", {"tiles": tiles})["features"]


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_a_tile_has_the_same_bits_in_any_company_order_and_number_of_lanes(engine):
    bundle = open_bundle("default")
    tiles = random_tiles(37, bundle.manifest.input.tile_px)  # batch is 16: two blocks and a part
    shuffled = np.random.default_rng(0).permutation(len(tiles))
    found = []
    for threads in (1, 2, 3):
        with open_runtime(bundle, engine=engine, precision="fp32", threads=threads) as runtime:
            assert runtime.lanes == threads
            whole = runtime.run("encoder", {"tiles": tiles})
            found += [whole]
            for size in (1, 5, 16):
                parts = [
                    runtime.run("encoder", {"tiles": tiles[at : at + size]})
                    for at in range(0, len(tiles), size)
                ]
                found.append({n: np.concatenate([p[n] for p in parts]) for n in whole})
            other = runtime.run("encoder", {"tiles": tiles[shuffled]})
            found.append({n: a[np.argsort(shuffled)] for n, a in other.items()})
    for outputs in found[1:]:
        for name, expected in found[0].items():
            np.testing.assert_array_equal(outputs[name], expected)


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_a_slide_has_the_same_bits_for_any_number_of_threads(engine):
    bundle = open_bundle("default")
    features = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        with open_runtime(bundle, engine=engine, threads=threads) as runtime:
            found.append(runtime.run("aggregator", {"features": features}))
    for outputs in found[1:]:
        for name, expected in found[0].items():
            np.testing.assert_array_equal(outputs[name], expected)


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_threads_that_share_a_runtime_each_get_their_own_tiles(bundle_dir, engine):
    batches = [np.full((3, TILE_PX, TILE_PX, 3), value, np.uint8) for value in range(100)]
    with (
        open_runtime(open_bundle(bundle_dir), engine=engine, threads=2) as runtime,
        ThreadPoolExecutor(6) as callers,
    ):
        found = list(callers.map(lambda tiles: tiny(runtime, tiles), batches))
    for value, features in enumerate(found):
        np.testing.assert_allclose(features, np.full((3, 3), value / 255), atol=1e-6)


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_tiles_are_let_go_when_the_call_returns(bundle_dir, engine):
    with open_runtime(open_bundle(bundle_dir), engine=engine, threads=1) as runtime:
        tiles = random_tiles(8)
        gone = weakref.ref(tiles)
        tiny(runtime, tiles)
        del tiles
        assert gone() is None


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_tiles_may_be_a_view_or_read_only_or_none_at_all(bundle_dir, engine):
    tiles = random_tiles(16)
    locked = tiles[::2].copy()
    locked.flags.writeable = False
    with open_runtime(open_bundle(bundle_dir), engine=engine) as runtime:
        expected = tiny(runtime, tiles[::2].copy())
        np.testing.assert_array_equal(tiny(runtime, tiles[::2]), expected)
        np.testing.assert_array_equal(tiny(runtime, locked), expected)
        assert tiny(runtime, tiles[:0]).shape == (0, 3)


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_int8_is_the_bundles_own_graph(bundle_dir, engine):
    bundle = open_bundle(add_precisions(bundle_dir, precision("int8")))
    tiles = np.full((2, TILE_PX, TILE_PX, 3), 100, np.uint8)
    with open_runtime(bundle, engine=engine, precision="int8") as runtime:
        np.testing.assert_allclose(tiny(runtime, tiles), np.full((2, 3), 6 / 16), atol=1e-6)
        assert runtime.precision == "int8"
        assert " int8 CPU" in runtime.engine


def test_the_shipped_precision_is_used_where_the_engine_has_it(bundle_dir):
    bundle = open_bundle(add_precisions(bundle_dir, precision("int8"), shipped_precision="int8"))
    with open_runtime(bundle) as runtime:
        assert (runtime.precision, runtime.note) == ("int8", "")
    with open_runtime(bundle, precision="fp32") as runtime:
        assert runtime.precision == "fp32"


def test_where_the_engine_lacks_the_shipped_precision_fp32_is_used_and_said(bundle_dir):
    bundle = open_bundle(add_precisions(bundle_dir, precision("bf16"), shipped_precision="bf16"))
    with open_runtime(bundle, engine="onnxruntime") as runtime:
        assert runtime.precision == "fp32"
        assert " fp32 CPU" in runtime.engine
        assert "bf16 is shipped, but onnxruntime computes bf16 from a graph file" in runtime.note


def test_bf16_is_computed_where_the_cpu_has_it(bundle_dir):
    if "BF16" not in openvino_cpu.capabilities():
        pytest.skip("this CPU has no bf16")
    form = precision("bf16", tolerance={"encoder/features": 0.01, "encoder/tumor": 0.01})
    with open_runtime(open_bundle(add_precisions(bundle_dir, form)), precision="bf16") as runtime:
        assert " bf16 CPU" in runtime.engine
        assert max(runtime.sit_probe().values()) < 0.01


def test_bf16_on_a_cpu_without_it_is_refused_and_as_shipped_precision_becomes_fp32(
    bundle_dir, monkeypatch
):
    monkeypatch.setattr(openvino_cpu, "capabilities", lambda: ["FP32", "INT8"])
    bundle = open_bundle(add_precisions(bundle_dir, precision("bf16"), shipped_precision="bf16"))
    with (
        pytest.raises(EngineMissing, match=r"precision bf16: this CPU has no bf16.*use fp32"),
        open_runtime(bundle, precision="bf16"),
    ):
        pass
    with open_runtime(bundle) as runtime:
        assert runtime.precision == "fp32"
        assert "this CPU has no bf16" in runtime.note


def test_a_precision_that_the_bundle_lacks_is_refused_with_those_it_has(bundle_dir):
    bundle = open_bundle(add_precisions(bundle_dir, precision("int8")))
    with (
        pytest.raises(BundleRejected, match="fp32, int8 for openvino, asked for fp16"),
        open_runtime(bundle, precision="fp16"),
    ):
        pass


@pytest.mark.parametrize(
    ("figure", "value", "sentence"),
    [
        ("feature_cosine", 0.98, r"feature cosine 0\.98 is below .* limit 0\.99"),
        ("score_shift", 0.006, r"score shift 0\.006 is above .* limit 0\.005"),
        ("heatmap_spearman", 0.99, r"heatmap rank correlation 0\.99 is below .* 0\.999"),
        ("class_changes", 2, r"class of 2 slide\(s\) changed"),
    ],
)
def test_a_precision_outside_of_the_limits_is_refused_by_its_figure(
    bundle_dir, figure, value, sentence
):
    form = precision("int8", **{figure: value})
    bundle = open_bundle(add_precisions(bundle_dir, form))
    with pytest.raises(BundleRejected, match=sentence), open_runtime(bundle, precision="int8"):
        pass
    add_precisions(bundle_dir, form, shipped_precision="int8")
    with pytest.raises(BundleRejected, match=f"shipped_precision: .*{sentence}"):
        open_bundle(bundle_dir)


def test_the_probe_of_a_cheaper_precision_has_the_tolerance_of_that_precision(bundle_dir):
    tight = precision("int8", tolerance={"encoder/features": 1e-5, "encoder/tumor": 1e-5})
    bundle = open_bundle(add_precisions(bundle_dir, tight))
    with (
        pytest.raises(BundleRejected, match=r"encoder/features is off by .* int8 CPU.*use fp32"),
        open_runtime(bundle, precision="int8"),
    ):
        pass


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_a_graph_that_is_none_is_refused_by_its_file(bundle_dir, engine):
    (bundle_dir / "encoder.onnx").write_bytes(b"no graph")
    write_sums(bundle_dir)
    with (
        pytest.raises(BundleRejected, match=rf"encoder\.onnx: {engine} cannot"),
        open_runtime(open_bundle(bundle_dir), engine=engine),
    ):
        pass


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_an_engine_that_breaks_is_a_failed_device_and_its_lane_works_on(bundle_dir, engine):
    """The door lets no wrong shape in; behind it, a wrong shape is what breaks an engine."""
    with ENGINES[engine].open(open_bundle(bundle_dir), None, 1) as executor:
        for _ in range(3):
            with pytest.raises(DeviceFailed, match=f"{engine} .* fp32 CPU: "):
                executor.run("encoder", {"tiles": random_tiles(8, side=TILE_PX // 2)})
        assert len(executor.run("encoder", {"tiles": random_tiles(20)})["features"]) == 20


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_a_graph_that_fits_one_number_of_tiles_only_fails_at_another(bundle_dir, engine):
    only_four_tiles(bundle_dir / "aggregator.onnx")
    write_probe(bundle_dir)
    write_sums(bundle_dir)
    features = np.ones((5, 3), np.float32)
    with open_runtime(open_bundle(bundle_dir), engine=engine) as runtime:
        for tiles in (3, 5):
            with pytest.raises(DeviceFailed, match=f"{engine} .* fp32 CPU: "):
                runtime.run("aggregator", {"features": features[:tiles]})
        assert runtime.run("aggregator", {"features": features[:4]})["risk"] == pytest.approx(5.5)


def only_four_tiles(path):
    """Add the mean of the features plus a constant for four tiles, which no other number fits."""
    model = load(path)
    model.graph.node[1].output[0] = "sum"
    model.graph.node.extend(
        [
            helper.make_node("Add", ["features", "four"], ["shifted"]),
            helper.make_node("ReduceMean", ["shifted"], ["mean of all"], keepdims=0),
            helper.make_node("Add", ["sum", "mean of all"], ["risk"]),
        ]
    )
    four = np.arange(4, dtype=np.float32)[:, np.newaxis]
    model.graph.initializer.append(numpy_helper.from_array(four, "four"))
    save(model, path)


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_too_little_memory_is_told_before_anything_is_compiled(bundle_dir, engine):
    values = manifest()
    values["input"] |= {"tile_px": 1024, "batch": 1024}
    values["graphs"]["encoder"]["inputs"][0]["shape"] = ["N", 1024, 1024, 3]
    (bundle_dir / "manifest.json").write_text(json.dumps(values))
    write_sums(bundle_dir)
    with (
        pytest.raises(EngineMissing, match=r"too little memory: .* needs about \d+ MB, \d+ MB"),
        open_runtime(open_bundle(bundle_dir), engine=engine, threads=64),
    ):
        pass


def test_the_memory_of_a_container_is_what_its_limit_leaves(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert available_memory(meminfo, tmp_path) == 8000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_memory(meminfo, tmp_path) == 8000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    assert available_memory(meminfo, tmp_path) == 4300
    with pytest.raises(EngineMissing, match="too little memory"):
        require_memory(4301, 4300)
    require_memory(4301, None)
    assert available_memory(tmp_path / "none", tmp_path / "none") is None


def test_the_cores_of_a_container_are_what_its_quota_gives(tmp_path):
    everything = cores(tmp_path)
    assert everything >= 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores(tmp_path) == everything
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cores(tmp_path) == 1


def test_the_cuda_provider_is_an_error_where_it_is_not_and_never_the_cpu(bundle_dir):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    with (
        pytest.raises(EngineMissing, match=r"no CUDA provider; .*pip install 'dicom-node\[cuda\]'"),
        open_runtime(open_bundle(bundle_dir), engine="onnxruntime-cuda"),
    ):
        pass


@pytest.mark.gpu
def test_the_cuda_provider_passes_the_probe_of_the_default_student():
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu and an NVIDIA GPU are needed")
    with open_runtime(open_bundle("default"), engine="onnxruntime-cuda") as runtime:
        assert "CUDA" in runtime.engine


def test_every_engine_that_can_be_named_can_be_opened():
    assert ["auto", *ENGINES] == list(ENGINE_NAMES)


@pytest.mark.parametrize("engine", CPU_ENGINES)
@pytest.mark.parametrize(("graph", "at"), [("encoder", 1), ("aggregator", 0)])
def test_a_tensor_that_the_graph_does_not_have_is_named_before_anything_runs(
    bundle_dir, engine, graph, at
):
    values = json.loads((bundle_dir / "manifest.json").read_text())
    tensor = values["graphs"][graph]["outputs"][at]
    (output,) = (o for o in values["outputs"] if o["tensor"] == tensor["name"])
    tolerance = values["probe"]["tolerance"]
    tolerance[f"{graph}/other"] = tolerance.pop(f"{graph}/{tensor['name']}")
    tensor["name"] = output["tensor"] = "other"
    (bundle_dir / "manifest.json").write_text(json.dumps(values))
    write_sums(bundle_dir)
    expected = f"{graph}.onnx: found tensors .*, expected other as the manifest says"
    with (
        pytest.raises(BundleRejected, match=expected),
        open_runtime(open_bundle(bundle_dir), engine=engine),
    ):
        pass
