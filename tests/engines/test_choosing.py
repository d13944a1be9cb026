"""What `auto` and `fastest` are on a host: proven, kept, and asked again when something changed.

No GPU was at hand. In its place stands a device that is told of, and the CPU provider under the
name of the CUDA provider: what is decided is real, what computes is not the GPU.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from bundles import add_precisions, manifest, precision, write_bundle, write_sums

from engines import known, onnx
from engines.bundle import open_bundle
from engines.compare import Comparison, compare, keep
from engines.errors import BundleRejected, EngineMissing
from engines.here import devices
from engines.here.choosing import choose
from engines.here.control import ControlUnusable, SlideAnswer, cost, outside
from engines.here.devices import Device, is_of_family
from engines.here.records import Records
from engines.known import ENGINES
from engines.manifest.reading import newest
from engines.runtime import open_runtime

CARD = Device("NVIDIA Test 0000", "580.65.06", (8, 9))
CUDA = "onnxruntime-cuda"


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "node" / "engines")


def bundle_with(root, *rows):
    """The tiny student in manifest 2, with rows of costs."""
    content = newest(manifest())
    content["precisions"] = [{"engines": [CUDA], "hardware": "8.9", **row} for row in rows]
    write_bundle(root)
    (root / "manifest.json").write_text(json.dumps(content))
    write_sums(root)
    return open_bundle(root)


@pytest.fixture
def bundle(tmp_path):
    return bundle_with(tmp_path / "tiny", precision("fp32", file=None))


@pytest.fixture
def card(monkeypatch):
    """A GPU that is told of, and an engine of that name that computes on the CPU."""
    monkeypatch.setattr(devices, "gpu", lambda: CARD)
    stand_in = known.Engine(
        CUDA, onnx.cpu_lacks, onnx.open_cpu, onnx.release, lambda *_: None, None
    )
    monkeypatch.setitem(ENGINES, CUDA, stand_in)
    return monkeypatch


def slide(runtime):
    """A control slide: nine tiles, without a scanner."""
    side = runtime.manifest.input.tile_px
    tiles = np.random.default_rng(5).integers(0, 256, (9, side, side, 3), np.uint8)
    encoded = runtime.run("encoder", {"tiles": tiles})
    said = runtime.run("aggregator", {"features": encoded["features"]})
    return SlideAnswer(
        "a slide of 9 tiles",
        {"risk": float(said["risk"][0])},
        {"survival": tuple(map(float, said["survival"]))},
        maps={"tumor": encoded["tumor"].reshape(3, 3)},
    )


def compared(bundle, records, control=slide, *, retime=False):
    return keep(bundle, list(compare(bundle, 1, control)), records, retime=retime)


def reasons(choice):
    return {other.engine: other.reason for other in choice.passed_over}


def test_auto_without_a_driver_is_openvino_with_a_line_for_every_other(bundle, records):
    with open_runtime(bundle, threads=1, records=records) as runtime:
        assert runtime.engine.startswith("openvino")
        told = {str(other) for other in runtime.passed_over}
    assert told == {
        f"not {name}: no NVIDIA driver is installed here"
        for name in ("tensorrt", "tensorrt-rtx", CUDA)
    }


def test_auto_takes_a_gpu_only_once_it_was_compared_on_this_host(bundle, records, card):
    before = choose(bundle, "auto", "shipped", records)
    assert before.engine.name == "openvino"
    assert "not compared on this host; run: dicom-node engine compare" in reasons(before)[CUDA]
    assert "cannot be loaded" in reasons(before)["tensorrt"]
    compared(bundle, records)
    after = choose(bundle, "auto", "shipped", records)
    assert after.engine.name == CUDA
    assert set(reasons(after)) == {"tensorrt", "tensorrt-rtx"}
    with open_runtime(bundle, threads=1, records=records) as runtime:
        assert "onnxruntime" in runtime.engine


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.setattr(devices, "gpu", lambda: replace(CARD, driver="590.1")), "590.1"),
        (lambda m: m.setattr(devices, "gpu", lambda: replace(CARD, name="Other")), "on Other"),
        (
            lambda m: m.setitem(ENGINES, CUDA, replace(ENGINES[CUDA], library=lambda: "9.9")),
            "now it is 9.9",
        ),
    ],
)
def test_another_driver_card_or_library_asks_again(change, says, bundle, records, card):
    compared(bundle, records)
    change(card)
    choice = choose(bundle, "auto", "shipped", records)
    assert choice.engine.name == "openvino"
    assert says in reasons(choice)[CUDA]
    assert "it was compared on 20" in reasons(choice)[CUDA]
    compared(bundle, records)
    assert choose(bundle, "auto", "shipped", records).engine.name == CUDA


def test_another_bundle_asks_again(bundle, records, card, tmp_path):
    compared(bundle, records)
    other = bundle_with(tmp_path / "other", precision("fp32", file=None, data="more"))
    choice = choose(other, "auto", "shipped", records)
    assert "not compared on this host" in reasons(choice)[CUDA]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "states no cost of fp32"),
        ([precision("fp32", file=None, hardware="")], "states no cost of fp32"),
        ([precision("fp32", file=None, hardware="12.0")], r"on 12.0, this is compute capability 8"),
        ([precision("fp32", file=None, engines=["tensorrt"])], "states no cost of fp32"),
        ([precision("fp32", file=None, score_shift=0.1)], "score shift 0.1 is above"),
    ],
)
def test_auto_takes_no_gpu_whose_cost_the_bundle_does_not_state(
    rows, says, records, card, tmp_path
):
    bundle = bundle_with(tmp_path / "tiny", *rows)
    compared(bundle, records)
    choice = choose(bundle, "auto", "shipped", records)
    assert choice.engine.name == "openvino"
    assert says in reasons(choice)[CUDA]


def test_fp32_of_an_engine_keeps_to_what_the_bundle_states_of_it_there(card, tmp_path):
    outside = bundle_with(tmp_path / "out", precision("fp32", file=None, score_shift=0.1))
    with (
        pytest.raises(BundleRejected, match=r"on onnxruntime-cuda fp32: score shift 0\.1 is above"),
        open_runtime(outside, engine=CUDA, threads=1),
    ):
        pass
    with open_runtime(outside, engine="openvino", threads=1) as runtime:
        assert runtime.tolerance("encoder/tumor") == 1e-4
    own = precision("fp32", file=None)
    with open_runtime(bundle_with(tmp_path / "in", own), engine=CUDA, threads=1) as runtime:
        assert runtime.precision == "fp32"
        assert runtime.tolerance("encoder/tumor") == own["tolerance"]["encoder/tumor"]


def test_auto_runs_no_fp32_on_a_gpu_where_only_the_shipped_form_was_proven(records, card, tmp_path):
    root = add_precisions(
        write_bundle(tmp_path / "tiny"), precision("int8"), shipped_precision="int8"
    )
    content = newest(json.loads((root / "manifest.json").read_text()))
    for row in content["precisions"]:
        row |= {"engines": [CUDA], "hardware": "compute capability 8.9"}
    (root / "manifest.json").write_text(json.dumps(content))
    write_sums(root)
    bundle = open_bundle(root)
    said = SlideAnswer("a slide", {"risk": 0.1})
    rows = [row for row in compare(bundle, 1, lambda _: said) if row.engine == CUDA]
    keep(bundle, rows, records, retime=False)
    assert reasons(choose(bundle, "auto", "shipped", records)).keys() == {
        "tensorrt", "tensorrt-rtx"}, rows  # fmt: skip
    with open_runtime(bundle, threads=1, records=records) as runtime:
        assert (runtime.opened.engine, runtime.precision) == (CUDA, "int8")

    @contextmanager
    def worse(bundle, form, threads):
        with onnx.open_cpu(bundle, form, threads) as executor:
            yield Off(executor) if form is not None else executor

    card.setitem(ENGINES, CUDA, replace(ENGINES[CUDA], open=worse))
    with (
        pytest.raises(EngineMissing, match=r"int8 is shipped, but .* states no cost of fp32"),
        open_runtime(bundle, threads=1, records=records),
    ):
        pass
    with open_runtime(bundle, engine=CUDA, threads=1, records=records) as runtime:
        assert runtime.precision == "fp32"  # an order is not asked why


class Off:
    """An engine whose numbers have changed since it was compared."""

    def __init__(self, executor):
        self._executor = executor

    def __getattr__(self, name):
        return getattr(self._executor, name)

    def run(self, graph_name, arrays):
        return {n: a + 1 for n, a in self._executor.run(graph_name, arrays).items()}


def test_what_was_open_is_opened_again_whatever_was_compared_since(records, tmp_path):
    root = add_precisions(write_bundle(tmp_path / "tiny"), precision("int8"))
    bundle = open_bundle(root)
    asked = {"threads": 1, "precision": "fastest", "records": records}
    with open_runtime(bundle, **asked) as runtime:
        first, opened = runtime.engine, runtime.opened
    compared(bundle, records)
    timed(records, bundle, fp32=1.0, int8=99.0)
    with open_runtime(bundle, **asked) as runtime:
        assert runtime.precision == "int8"
    with open_runtime(bundle, again=opened, **asked) as runtime:
        assert (runtime.engine, runtime.opened) == (first, opened)


def test_a_comparison_without_a_control_slide_proves_nothing(bundle, records, card):
    def none(runtime):
        raise ControlUnusable("control slide: too little tissue")

    for control in (None, none):
        compared(bundle, records, control)
        choice = choose(bundle, "auto", "shipped", records)
        assert choice.engine.name == "openvino"
        assert "had no control slide" in reasons(choice)[CUDA]
    assert "too little tissue" in reasons(choice)[CUDA]


def test_a_gpu_that_says_something_else_of_the_control_slide_is_not_taken(bundle, records, card):
    def wrong(runtime):
        said = slide(runtime)
        return said if "openvino" in runtime.engine else replace(said, scores={"risk": 9.0})

    compared(bundle, records)
    compared(bundle, records, wrong)  # what passed before counts no more
    choice = choose(bundle, "auto", "shipped", records)
    assert choice.engine.name == "openvino"
    assert "did not pass: control slide: score shift" in reasons(choice)[CUDA]


def test_a_named_engine_is_an_order_whatever_was_compared(bundle, records, card):
    choice = choose(bundle, CUDA, "shipped", records)
    assert (choice.engine.name, choice.passed_over) == (CUDA, ())
    with (
        pytest.raises(EngineMissing, match="TensorRT cannot be loaded"),
        open_runtime(bundle, engine="tensorrt", records=records),
    ):
        pass


def test_what_was_kept_and_cannot_be_read_proves_nothing_and_is_told(bundle, records, card):
    compared(bundle, records)
    for file in records.folder.iterdir():
        file.write_text('{"schema_version": 1, "records": [{}]}')
    choice = choose(bundle, "auto", "shipped", records)
    assert choice.engine.name == "openvino"
    assert "cannot be read (ValidationError); run it again" in reasons(choice)[CUDA]
    choice = choose(bundle, "openvino", "fastest", records)
    assert choice.precision == "shipped"
    assert "cannot be read" in choice.note


def test_fastest_is_shipped_with_a_sentence_until_something_was_timed(tmp_path, records):
    bundle = open_bundle(add_precisions(write_bundle(tmp_path / "tiny"), precision("int8")))
    with open_runtime(bundle, threads=1, precision="fastest", records=records) as runtime:
        assert runtime.precision == "fp32"
        assert "nothing was timed yet for this bundle, openvino 20" in runtime.note
        assert "shipped is used; run: dicom-node engine compare" in runtime.note
        assert "fastest" not in runtime.engine
    with open_runtime(bundle, threads=1, precision="fastest") as runtime:
        assert "outside of a node nothing is timed: shipped is used" in runtime.note


def timed(records, bundle, **speeds):
    """Kept speeds of OpenVINO replaced by these."""
    (path,) = records.folder.glob(f"{bundle.digest[:16]}-openvino.json")
    content = json.loads(path.read_text())
    for row in content["records"][0]["rows"]:
        row["tiles_per_s"] = speeds.get(row["precision"], row["tiles_per_s"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("fast", ["fp32", "int8"])
def test_fastest_is_what_was_timed_as_such_and_engine_note_and_number_say_it(
    fast, tmp_path, records
):
    root = add_precisions(
        write_bundle(tmp_path / "tiny"), precision("int8"), shipped_precision="int8"
    )
    bundle = open_bundle(root)
    compared(bundle, records)
    timed(records, bundle, **{"fp32": 10.0, "int8": 10.0, fast: 99.0})
    with open_runtime(bundle, threads=1, precision="fastest", records=records) as runtime:
        assert runtime.precision == fast
        assert runtime.engine.endswith(f"{fast} CPU, fastest here")
        assert f"{fast} is the fastest here, timed on 20" in runtime.note
        assert f"tiles/s: {fast} 99" in runtime.note
        assert "the bundle ships int8" in runtime.note
    with open_runtime(bundle, threads=1, records=records) as runtime:
        assert (runtime.precision, runtime.note) == ("int8", "")


def test_a_precision_outside_of_the_limits_is_never_the_fastest(tmp_path, records):
    bundle = open_bundle(
        add_precisions(write_bundle(tmp_path / "tiny"), precision("int8", score_shift=0.1))
    )
    compared(bundle, records)
    assert choose(bundle, "openvino", "fastest", records).precision == "fp32"


def test_speeds_stay_as_they_were_timed_until_they_are_asked_for_again(tmp_path, records):
    bundle = open_bundle(add_precisions(write_bundle(tmp_path / "tiny"), precision("int8")))
    compared(bundle, records)
    timed(records, bundle, fp32=1e9, int8=1.0)
    compared(bundle, records)
    assert choose(bundle, "openvino", "fastest", records).precision == "fp32"
    (row,) = (r for r in records.of(bundle.digest, "openvino")[0].rows if r.precision == "fp32")
    assert row.tiles_per_s == 1e9
    compared(bundle, records, retime=True)
    (row,) = (r for r in records.of(bundle.digest, "openvino")[0].rows if r.precision == "fp32")
    assert row.tiles_per_s != 1e9


def test_another_cpu_or_release_was_not_timed(tmp_path, records, monkeypatch):
    bundle = open_bundle(add_precisions(write_bundle(tmp_path / "tiny"), precision("int8")))
    compared(bundle, records)
    assert choose(bundle, "auto", "fastest", records).is_fastest
    monkeypatch.setattr(devices, "cpu", lambda: Device("another CPU (avx2)"))
    choice = choose(bundle, "auto", "fastest", records)
    assert not choice.is_fastest
    assert "another CPU (avx2): shipped is used" in choice.note


def test_a_cpu_is_its_model_and_the_instructions_that_count(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(
        "model name\t: Some CPU\nflags\t\t: fpu avx2 amx_int8 amx_bf16\n\nmodel name: 2\n"
    )
    assert devices.cpu(file) == Device("Some CPU (avx2 amx_bf16 amx_int8)")
    assert devices.cpu(tmp_path / "none").name == "unknown CPU (no fast instructions)"


@pytest.mark.parametrize(
    ("hardware", "is_it"),
    [("8.9", True), ("RTX 4090, compute capability 8.9", True), ("8.6, 8.9", True),
     ("compute capabilities 8.6 and 8.9", True), ("sm_89", True), ("RTX 4090 (SM 8.9)", True),
     ("NVIDIA L4, compute capability: 8.9, driver 580.65", True), ("sm_89, CUDA 13.0", True),
     ("NVIDIA H100, compute capability 9.0, CUDA 8.9", False), ("sm_90, driver 8.9", False),
     ("NVIDIA L4, TensorRT 8.9", False), ("sm_890", False), ("sm_8", False),
     ("8.90", False), ("18.9", False), ("1.8.9", False), ("AMX", False), ("", False)],
)  # fmt: skip
def test_a_card_is_of_a_family_by_its_compute_capability(hardware, is_it):
    assert is_of_family(hardware, (8, 9)) is is_it


def test_the_cost_of_a_control_slide_is_in_the_units_of_the_limits(bundle):
    m = bundle.manifest
    one = SlideAnswer("s", {"risk": 0.1}, {"survival": (0.9, 0.5)},
                      maps={"tumor": np.array([[0.1, 0.2], [0.3, np.nan]])})  # fmt: skip
    assert outside(cost(m, one, one), m.precision_limits) == ""
    shifted = replace(one, scores={"risk": 0.101})
    assert cost(m, shifted, one).score_shift == pytest.approx(0.002)  # IQR is 0.5
    nothing = replace(one, scores={"risk": float("nan")})
    assert "score shift 1e+09" in outside(cost(m, nothing, one), m.precision_limits)
    turned = replace(one, maps={"tumor": np.array([[0.3, 0.2], [0.1, np.nan]])})
    assert cost(m, turned, one).heatmap_spearman == pytest.approx(-1)
    elsewhere = replace(one, maps={"tumor": np.array([[0.1, 0.2], [np.nan, 0.3]])})
    assert "heatmap rank correlation -1" in outside(cost(m, elsewhere, one), m.precision_limits)
    mapped = np.array([0, 1, 1, 8], np.uint8)
    of_tissue = replace(one, tile_classes={"tissue": mapped})
    assert cost(m, of_tissue, of_tissue).tile_classes == 1
    other = replace(one, tile_classes={"tissue": np.array([0, 0, 1, 8], np.uint8)})
    assert cost(m, other, of_tissue).tile_classes == 0.75
    assert "keep their class 0.75 is below" in outside(
        cost(m, other, of_tissue), m.precision_limits
    )
    classes = replace(one, classes={"grade": "2"}), replace(one, classes={"grade": "3"})
    assert "class changed" in outside(cost(m, *classes), m.precision_limits)


def test_nothing_is_kept_of_an_engine_whose_library_or_device_is_not_here(bundle, records):
    """Whatever was found of it first: a bundle may be at odds with an engine that is not opened."""
    try:
        ENGINES["tensorrt"].library()
        devices.gpu()
    except EngineMissing:
        rows = [
            Comparison("tensorrt", "fp32", "failed", "not a form of this bundle"),
            *(row for row in compare(bundle, 1) if row.engine == "onnxruntime"),
        ]
        kept = keep(bundle, rows, records, retime=False)
        assert [record.engine for record in kept] == ["onnxruntime"]
        assert records.of(bundle.digest, "tensorrt") == ()
    else:
        pytest.skip("TensorRT and a GPU are here")


def test_an_engine_without_its_library_is_absent_though_the_bundle_is_at_odds_with_it(tmp_path):
    try:
        ENGINES["tensorrt"].library()
    except EngineMissing:
        bf16 = precision("bf16", engines=["openvino"], hardware="")
        rows = list(compare(bundle_with(tmp_path / "tiny", bf16), 1))
        found = {(r.precision, r.verdict) for r in rows if r.engine == "tensorrt"}
        assert found == {("fp32", "absent"), ("bf16", "absent")}
        found = {(r.precision, r.verdict) for r in rows if r.engine == "onnxruntime"}
        assert found == {("fp32", "ok"), ("bf16", "failed")}
    else:
        pytest.skip("TensorRT is here")
