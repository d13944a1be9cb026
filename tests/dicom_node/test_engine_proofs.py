"""`dicom-node engine compare --config`: what it keeps, and what `check` and `serve` make of it."""

from __future__ import annotations

import json
from functools import partial

import pytest
from bundles import add_precisions, manifest, precision, write_bundle, write_sums

from dicom_node.cli import main
from dicom_node.config.loading import load_config
from dicom_node.processes.losses import Losses
from dicom_node.processes.worker import _runtime
from dicom_node.work.students.opened import Students
from engines import known, onnx
from engines.here import devices
from engines.here.devices import Device
from engines.known import ENGINES
from engines.manifest.reading import newest

CUDA = "onnxruntime-cuda"


@pytest.fixture
def bundle_dir(tmp_path):
    return add_precisions(write_bundle(tmp_path / "tiny"), precision("int8"))


@pytest.fixture
def config(tmp_path, bundle_dir):
    return written(tmp_path, bundle_dir, 'precision = "fastest"')


def written(folder, bundle_dir, more=""):
    path = folder / "node.toml"
    path.write_text(
        '[node]\nae_title = "NODE"\ndata_dir = "data"\n'
        '[[senders]]\nae_title = "PACS"\nnetworks = ["127.0.0.0/8"]\n'
        '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 1\n'
        f'[model]\nbundle = "{bundle_dir}"\nthreads = 1\n{more}\n'
    )
    return path


def compare(bundle_dir, config, *more):
    return main(["engine", "compare", str(bundle_dir), "--threads", "1", "--config", str(config),
                 *more])  # fmt: skip


def engine_lines(config, capsys):
    capsys.readouterr()
    main(["check", "--config", str(config), "--json"])
    return [f["says"] for f in json.loads(capsys.readouterr().out) if f["what"] == "engine"]


def test_what_was_compared_is_kept_with_date_release_and_device(bundle_dir, config, capsys):
    assert compare(bundle_dir, config) == 0
    folder = config.parent / "data" / "engines"
    assert f"kept in {folder}" in capsys.readouterr().err
    kept = {json.loads(p.read_text())["records"][0]["engine"]: p for p in folder.iterdir()}
    assert set(kept) == {"openvino", "onnxruntime"}
    (record,) = json.loads(kept["openvino"].read_text())["records"]
    assert record["library"].startswith("20")
    assert record["device"] == devices.cpu().name
    assert record["compared_on"].startswith("20")
    assert {(r["precision"], r["verdict"]) for r in record["rows"]} == {
        ("fp32", "ok"), ("int8", "ok")}  # fmt: skip


def test_a_model_that_was_closed_is_opened_as_it_was_whatever_was_compared_since(
    bundle_dir, tmp_path
):
    path = written(tmp_path, bundle_dir)
    text, _, _ = path.read_text().partition("[model]")
    blocks = "".join(
        f'[[models]]\nname = "{name}"\nbundle = "{bundle_dir}"\nthreads = 1\n'
        'precision = "fastest"\nallow_fixture = true\n'
        for name in ("a", "b")
    )
    path.write_text(f"{text}[analysis]\nopen_models = 1\n{blocks}")
    config = load_config(path)
    students = Students(config, partial(_runtime, config, Losses(tmp_path)), lambda: None)
    try:
        known = students.roster.known[0]
        assert compare(bundle_dir, path) == 0
        (kept,) = config.comparisons_dir.glob("*-openvino.json")
        content = json.loads(kept.read_text())
        for row in content["records"][0]["rows"]:
            row["tiles_per_s"] = 99.0 if row["precision"] == "int8" else 1.0
        kept.write_text(json.dumps(content))
        with students.use(known) as runtime:
            assert (runtime.engine, runtime.precision) == (known.engine, "fp32")
    finally:
        students.close()


def test_nothing_is_kept_where_no_node_is_named(bundle_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["engine", "compare", str(bundle_dir), "--threads", "1"]) == 0
    assert "kept nowhere: no node.toml here" in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_told_before_anything_is_compared(bundle_dir, capsys):
    assert compare(bundle_dir, "no.toml") == 3
    assert "no.toml: cannot be read" in capsys.readouterr().err


def test_check_says_why_auto_took_no_other_and_what_fastest_is(bundle_dir, config, capsys):
    first, *others = engine_lines(config, capsys)
    assert "auto chose openvino" in first
    assert "nothing was timed yet" in first
    assert sorted(line.split(":")[0] for line in others) == [
        "not onnxruntime-cuda", "not tensorrt", "not tensorrt-rtx"]  # fmt: skip
    compare(bundle_dir, config)
    first, *_ = engine_lines(config, capsys)
    assert "fastest here; probe passed" in first
    assert "is the fastest here, timed on" in first


def test_a_second_comparison_says_that_speeds_stay_as_they_are(bundle_dir, config, capsys):
    compare(bundle_dir, config)
    (path,) = (config.parent / "data" / "engines").glob("*-openvino.json")
    content = json.loads(path.read_text())
    for row in content["records"][0]["rows"]:
        row["timed_on"] = "2020-02-02"
    path.write_text(json.dumps(content))
    capsys.readouterr()
    compare(bundle_dir, config)
    assert "speeds stay as of 2020-02-02, see --retime" in capsys.readouterr().err
    compare(bundle_dir, config, "--retime")
    assert "speeds stay" not in capsys.readouterr().err


@pytest.fixture
def card(monkeypatch):
    """A GPU that is told of, and the CPU provider under the name of the CUDA provider."""
    monkeypatch.setattr(devices, "gpu", lambda: Device("NVIDIA Test 0000", "580.65.06", (8, 9)))
    stand_in = known.Engine(
        CUDA, onnx.cpu_lacks, onnx.open_cpu, onnx.release, lambda *_: None, None
    )
    monkeypatch.setitem(ENGINES, CUDA, stand_in)


def test_a_drawn_control_slide_lets_auto_take_a_gpu_that_agrees(card, tmp_path, capsys):
    root = write_bundle(tmp_path / "tiny")
    content = newest(manifest())
    content["precisions"] = [precision("fp32", file=None, hardware="8.9") | {"engines": [CUDA]}]
    content["outputs"] = [o for o in content["outputs"] if o["kind"] != "survival"]
    (root / "manifest.json").write_text(json.dumps(content))
    write_sums(root)
    config = written(tmp_path, root)
    assert "auto chose openvino" in engine_lines(config, capsys)[0]
    assert compare(root, config, "--json") == 0
    rows = {(r["engine"], r["precision"]): r for r in json.loads(capsys.readouterr().out)}
    control = rows[CUDA, "fp32"]["control"]
    assert control["slide"].startswith("a drawn slide of ")
    assert control["heatmap_spearman"] > 0.999
    assert rows["openvino", "fp32"]["control"] is None
    first, *others = engine_lines(config, capsys)
    assert "auto chose onnxruntime" in first
    assert len(others) == 2


def test_a_control_slide_that_is_none_is_told_and_proves_nothing(card, tmp_path, capsys):
    root = write_bundle(tmp_path / "tiny")
    config = written(tmp_path, root)
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert compare(root, config, "--slide", str(nothing)) == 0
    assert "control slide: it cannot be read" in capsys.readouterr().out
