"""`dicom-node engine`: the table of engines, the building of plans, and the exit statuses."""

from __future__ import annotations

import json

import pytest
from bundles import add_precisions, precision, write_bundle, write_probe, write_sums

from dicom_node.cli import main


@pytest.fixture
def bundle_dir(tmp_path):
    return add_precisions(write_bundle(tmp_path / "tiny"), precision("int8"))


def rows_of(capsys):
    return {(r["engine"], r["precision"]): r for r in json.loads(capsys.readouterr().out)}


def test_compare_tells_error_cosine_and_speed_of_every_engine_that_is_there(bundle_dir, capsys):
    assert main(["engine", "compare", str(bundle_dir), "--json", "--threads", "1"]) == 0
    rows = rows_of(capsys)
    assert len(rows) == 10  # five engines in fp32 and int8
    exact = rows["onnxruntime", "fp32"]
    assert (exact["verdict"], exact["max_error"], exact["cosine"]) == ("ok", 0.0, 1.0)
    coarse = rows["openvino", "int8"]
    assert coarse["verdict"] == "ok"
    assert 0 < coarse["max_error"] < 0.04
    assert 0.99 < coarse["cosine"] < 1
    for row in (exact, coarse):
        assert row["lanes"] == 1
        assert row["tiles_per_s"] == pytest.approx(1000 / row["ms_per_tile"])


def test_compare_names_absent_engines_with_their_reason(bundle_dir, capsys):
    assert main(["engine", "compare", str(bundle_dir), "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "engine 'tensorrt': TensorRT cannot be loaded" in out
    assert "pip install 'dicom-node[tensorrt]'" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["tensorrt", "fp32", "absent"] in lines
    assert any(line[:2] == ["openvino", "fp32"] and line[-1] == "ok" for line in lines)


def test_compare_fails_when_an_engine_that_is_there_gives_other_numbers(bundle_dir, capsys):
    write_probe(bundle_dir, off_by=0.01)
    write_sums(bundle_dir)
    assert main(["engine", "compare", str(bundle_dir), "--json"]) == 1
    row = rows_of(capsys)["openvino", "fp32"]
    assert row["verdict"] == "outside"
    assert "encoder/features" in row["reason"]
    assert row["share_of_tolerance"] == pytest.approx(100, rel=0.01)


def test_compare_fails_when_an_engine_that_is_there_cannot_take_the_graph(bundle_dir, capsys):
    (bundle_dir / "encoder.onnx").write_bytes(b"no graph")
    write_sums(bundle_dir)
    assert main(["engine", "compare", str(bundle_dir), "--json"]) == 1
    row = rows_of(capsys)["onnxruntime", "fp32"]
    assert row["verdict"] == "failed"
    assert "encoder.onnx: onnxruntime cannot load this graph" in row["reason"]


def test_a_precision_outside_of_its_limits_is_shown_as_refused_and_is_no_failure(tmp_path, capsys):
    form = precision("int8", score_shift=0.01)
    bundle_dir = add_precisions(write_bundle(tmp_path / "shifted"), form)
    assert main(["engine", "compare", str(bundle_dir), "--json"]) == 0
    row = rows_of(capsys)["openvino", "int8"]
    assert row["verdict"] == "refused"
    assert "score shift 0.01 is above" in row["reason"]


def test_compare_of_what_is_no_bundle_is_refused(tmp_path, capsys):
    assert main(["engine", "compare", str(tmp_path)]) == 3
    assert "neither a shipped bundle" in capsys.readouterr().err


def test_build_without_tensorrt_is_refused_with_what_to_install(bundle_dir, capsys):
    assert main(["engine", "build", str(bundle_dir)]) == 3
    assert "pip install 'dicom-node[tensorrt]'" in capsys.readouterr().err


def test_build_of_a_precision_that_the_bundle_lacks_is_refused(bundle_dir, capsys):
    assert main(["engine", "build", str(bundle_dir), "--precision", "fp16"]) == 3
    assert "found precisions fp32, int8 for tensorrt, asked for fp16" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["compare"], ["build", "default", "--engine", "openvino"]])
def test_a_command_line_that_is_not_one_is_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["engine", *words])
    assert "usage: dicom-node engine" in capsys.readouterr().err


def test_plans_for_a_card_that_is_elsewhere_are_built_and_named_on_a_machine_without_one(
    bundle_dir, capsys
):
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed")
    build = ["engine", "build", str(bundle_dir), "--engine", "tensorrt-rtx"]
    assert main([*build, "--target", "8.9"]) == 0
    out = "".join(capsys.readouterr().out.split())
    for graph in ("encoder", "aggregator"):
        (path,) = (bundle_dir / "plans").glob(f"{graph}-fp32-rtx*.plan")
        assert path.name in out
    assert main([*build, "--target", "9.0"]) == 3
    assert "TensorRT for RTX takes 7.5, 8.0, 8.6" in capsys.readouterr().err


def test_a_target_that_is_no_compute_capability_is_told(bundle_dir, capsys):
    with pytest.raises(SystemExit):
        main(["engine", "build", str(bundle_dir), "--engine", "tensorrt-rtx", "--target", "ada"])
    assert "expected a compute capability such as 8.9" in capsys.readouterr().err
