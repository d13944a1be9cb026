"""What a bundle must prove before it runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bundles import TILE_PX, manifest, precision, write_bundle, write_probe, write_sums

from engines.bundle import open_bundle
from engines.errors import BundleRejected, EngineMissing
from engines.manifest.foreign import ForeignSlidesTold
from engines.runtime import open_runtime

ENGINES = ["openvino", "onnxruntime"]


@pytest.fixture
def bundle_dir(tmp_path):
    return write_bundle(tmp_path / "tiny")


def rewrite_manifest(bundle_dir, change):
    values = manifest()
    change(values)
    (bundle_dir / "manifest.json").write_text(json.dumps(values))
    write_sums(bundle_dir)


def test_a_sound_bundle_opens_and_its_digest_names_its_content(bundle_dir, tmp_path):
    again = write_bundle(tmp_path / "copy")
    assert open_bundle(bundle_dir).digest == open_bundle(again).digest
    rewrite_manifest(again, lambda m: m.update(title="Another"))
    assert open_bundle(bundle_dir).digest != open_bundle(again).digest


@pytest.mark.parametrize("name", ["encoder.onnx", "manifest.json", "probe.npz", "card.md"])
def test_one_changed_byte_in_any_file_is_refused_by_name(bundle_dir, name):
    content = bytearray((bundle_dir / name).read_bytes())
    content[-1] ^= 1
    (bundle_dir / name).write_bytes(content)
    with pytest.raises(BundleRejected, match=f"{name}.*was changed"):
        open_bundle(bundle_dir)


def test_a_file_that_is_not_listed_is_refused(bundle_dir):
    (bundle_dir / "extra.onnx").write_bytes(b"")
    with pytest.raises(BundleRejected, match=r"extra\.onnx: not listed"):
        open_bundle(bundle_dir)


def test_a_missing_file_is_refused(bundle_dir):
    (bundle_dir / "card.md").unlink()
    with pytest.raises(BundleRejected, match=r"card\.md: listed .* but missing"):
        open_bundle(bundle_dir)


def test_an_unknown_manifest_key_is_refused_by_name(bundle_dir):
    rewrite_manifest(bundle_dir, lambda m: m["input"].update(stride=7))
    with pytest.raises(BundleRejected, match=r"manifest\.json: input\.stride"):
        open_bundle(bundle_dir)


def test_a_manifest_whose_output_names_no_tensor_is_refused(bundle_dir):
    rewrite_manifest(bundle_dir, lambda m: m["outputs"][0].update(tensor="hazard"))
    with pytest.raises(BundleRejected, match="no tensor hazard"):
        open_bundle(bundle_dir)


def test_a_coarse_magnification_is_a_whole_multiple_of_the_fine_one(bundle_dir):
    rewrite_manifest(bundle_dir, lambda m: m["input"].update(coarse_mpp=2.0))
    assert open_bundle(bundle_dir).manifest.input.coarse_mpp == 2.0
    for coarse_mpp in (0.5, 0.75, 0.25):
        rewrite_manifest(bundle_dir, lambda m, mpp=coarse_mpp: m["input"].update(coarse_mpp=mpp))
        with pytest.raises(BundleRejected, match=r"coarse_mpp: found .*times mpp 0\.5"):
            open_bundle(bundle_dir)


def aggregator_takes(manifest, **tensors):
    manifest["graphs"]["aggregator"]["inputs"] += [
        {"name": name, "dtype": dtype, "shape": shape} for name, (dtype, shape) in tensors.items()
    ]


def test_the_aggregator_may_take_positions_and_with_a_coarse_grid_its_features(bundle_dir):
    def change(m):
        m["input"]["coarse_mpp"] = 1.0
        aggregator_takes(
            m,
            positions=("int64", ["N", 2]),
            features_coarse=("float32", ["M", 3]),
            positions_coarse=("int64", ["M", 2]),
        )

    rewrite_manifest(bundle_dir, change)
    assert len(open_bundle(bundle_dir).manifest.graphs["aggregator"].inputs) == 4


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        ({"genes": ("float32", ["N", 3])}, "input genes: expected one of features, positions"),
        ({"features_coarse": ("float32", ["M", 3])}, "coarse ones only with input.coarse_mpp"),
        ({"positions": ("float32", ["N", 2])}, r"positions: found float32 .*expected int64"),
        ({"tumor": ("float32", ["N", 9])}, r"tumor: found float32 .*expected float32 \['N'\]"),
    ],
)
def test_an_aggregator_input_that_nobody_fills_is_refused(bundle_dir, tensor, sentence):
    rewrite_manifest(bundle_dir, lambda m: aggregator_takes(m, **tensor))
    with pytest.raises(BundleRejected, match=sentence):
        open_bundle(bundle_dir)


def test_an_encoder_that_does_not_work_tile_by_tile_is_refused(bundle_dir):
    rewrite_manifest(
        bundle_dir, lambda m: m["graphs"]["encoder"]["outputs"][0].update(shape=[8, 3])
    )
    with pytest.raises(BundleRejected, match=r"features: found shape .*named axis of tiles first"):
        open_bundle(bundle_dir)


@pytest.mark.parametrize(
    ("precisions", "sentence"),
    [
        ([precision("int8"), precision("int8")], "precisions: expected one row for a name"),
        ([precision("int8", file=None)], "precision int8: expected a file, found none"),
        ([precision("int8", tolerance={"encoder/tumor": 1})], "tolerance must name"),
        ([precision("fp16", file="../encoder.onnx")], "the manifest names it, but it is not"),
        ([precision("fp8")], r"precisions\.0\.name"),
    ],
)
def test_a_precision_that_is_not_whole_is_refused(bundle_dir, precisions, sentence):
    rewrite_manifest(bundle_dir, lambda m: m.update(precisions=precisions))
    with pytest.raises(BundleRejected, match=sentence):
        open_bundle(bundle_dir)


def test_a_shipped_precision_that_the_bundle_lacks_is_refused(bundle_dir):
    rewrite_manifest(bundle_dir, lambda m: m.update(shipped_precision="int8"))
    with pytest.raises(BundleRejected, match="found int8, expected fp32 or one of"):
        open_bundle(bundle_dir)


def test_a_name_that_is_neither_shipped_nor_a_directory_is_refused():
    with pytest.raises(BundleRejected, match="neither a shipped bundle"):
        open_bundle("no-such-bundle")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_probe_off_by_more_than_its_tolerance_is_refused(bundle_dir, engine):
    write_probe(bundle_dir, off_by=1e-3)
    write_sums(bundle_dir)
    with (
        pytest.raises(BundleRejected, match=r"probe\.npz: encoder/features is off by 0\.001"),
        open_runtime(open_bundle(bundle_dir), engine=engine),
    ):
        pass


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_numbers_of_the_graph(bundle_dir, engine):
    tiles = np.full((2, TILE_PX, TILE_PX, 3), (51, 102, 204), np.uint8)
    with open_runtime(open_bundle(bundle_dir), engine=engine) as runtime:
        out = runtime.run("encoder", {"tiles": tiles})
        assert engine in runtime.engine
    np.testing.assert_allclose(out["features"], [[0.2, 0.4, 0.8]] * 2, atol=1e-6)
    np.testing.assert_allclose(out["tumor"], [0.2, 0.2], atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_that_a_run_returned_do_not_change_in_the_next_run(bundle_dir, engine):
    dark = np.zeros((1, TILE_PX, TILE_PX, 3), np.uint8)
    with open_runtime(open_bundle(bundle_dir), engine=engine) as runtime:
        first = runtime.run("encoder", {"tiles": dark})["features"]
        runtime.run("encoder", {"tiles": dark + 255})
    assert first.max() == 0


@pytest.mark.parametrize(
    "arrays",
    [
        {"tiles": np.zeros((1, TILE_PX, TILE_PX, 3), np.float32)},
        {"tiles": np.zeros((1, TILE_PX, TILE_PX + 1, 3), np.uint8)},
        {"images": np.zeros((1, TILE_PX, TILE_PX, 3), np.uint8)},
    ],
)
def test_inputs_that_differ_from_the_manifest_are_refused_at_the_door(bundle_dir, arrays):
    with (
        open_runtime(open_bundle(bundle_dir)) as runtime,
        pytest.raises(ValueError, match=r"encoder input.*expected"),
    ):
        runtime.run("encoder", arrays)


def test_auto_says_what_it_chose(bundle_dir):
    with open_runtime(open_bundle(bundle_dir), engine="auto") as runtime:
        assert runtime.engine.startswith("openvino")


def test_an_engine_that_is_not_there_is_an_error_and_not_a_fallback(bundle_dir):
    with (
        pytest.raises(EngineMissing, match="tensorrt"),
        open_runtime(open_bundle(bundle_dir), engine="tensorrt"),
    ):
        pass


def test_no_engine_calls_out_when_it_is_imported_and_run(bundle_dir, run_python):
    """Every attempt to resolve a name or open a connection is recorded by an audit hook."""
    calls = run_python(
        f"""
import sys
calls = []
watched = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
sys.addaudithook(lambda event, args: calls.append(event) if event in watched else None)
import numpy as np
from engines.bundle import open_bundle
from engines.runtime import open_runtime
for engine in ("openvino", "onnxruntime"):
    with open_runtime(open_bundle({str(bundle_dir)!r}), engine=engine) as runtime:
        runtime.run("encoder", {{"tiles": np.zeros((1, 32, 32, 3), np.uint8)}})
assert sys.modules["openvino_telemetry"] is None
import socket, time
time.sleep(0.5)
before = len(calls)
try:
    socket.create_connection(("127.0.0.1", 9), 0.1)
except OSError:
    pass
assert len(calls) > before  # the hook sees what it has to see
print(calls[:before])
"""
    )
    assert calls.strip() == "[]"


def test_more_false_alarms_than_ordinary_sources_are_refused(bundle_dir):
    measured = {"auroc": 1.0, "false_alarms": 3, "ordinary_count": 2, "hits": 1, "foreign_count": 1}
    reference = {"mean": [0.5] * 3, "std": [0.1] * 3, "limit": 1.0, "measured": measured}
    rewrite_manifest(bundle_dir, lambda m: m.update(out_of_distribution=reference))
    with pytest.raises(BundleRejected, match="false_alarms"):
        open_bundle(bundle_dir)


def test_the_bar_of_the_comparison_is_met_at_its_bounds():
    bounds = ForeignSlidesTold(
        auroc=0.95, false_alarms=1, ordinary_count=20, hits=0, foreign_count=20
    )
    assert bounds.is_enough
    for change in ({"auroc": 0.949}, {"false_alarms": 2}, {"ordinary_count": 19}):
        assert not bounds.model_copy(update=change).is_enough
