"""A student exported compiled: the plans that come with a bundle, and who takes them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training extra")
pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed (extra `test`)")

from bundles import add_precisions, precision, write_bundle

from engines.bundle import open_bundle
from engines.errors import EngineMissing
from engines.runtime import prepare
from engines.tensorrt.libraries import TENSORRT_RTX
from engines.tensorrt.plans import plan_path, read_plan, write_plan
from training.bundle.plans import add_plans, require_compilers
from training.commands import export
from training.errors import TrainingError
from training.learning.graphs import write_sums

ADA = (8, 9)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "tiny")


def test_the_plans_of_an_export_leave_the_students_digest_as_it_was(root: Path) -> None:
    before = open_bundle(root).digest
    plans = add_plans(root, ["tensorrt-rtx"], [ADA])
    assert [p.name.partition("-")[0] for p in plans] == ["encoder", "aggregator"]
    write_sums(root)  # as `precisions` and others do later
    assert "plan" not in (root / "SHA256SUMS").read_text()
    assert open_bundle(root).digest == before


def test_a_plan_that_came_with_the_bundle_is_taken_and_none_is_built(root: Path) -> None:
    for path in add_plans(root, ["tensorrt-rtx"], [ADA]):
        write_plan(path, b"compiled elsewhere")
    prepare(open_bundle(root), "tensorrt-rtx", "fp32", lambda *_: None, (12, 0))
    release = TENSORRT_RTX.load().__version__
    here = TENSORRT_RTX.target(release, (12, 0))
    assert read_plan(open_bundle(root), "encoder", None, here) == b"compiled elsewhere"


@pytest.mark.parametrize(("release", "capability"), [("1.7.2.1", ADA), (None, (7, 5))])
def test_a_plan_of_another_release_or_family_is_not_taken(
    root: Path, release: str | None, capability: tuple[int, int]
) -> None:
    add_plans(root, ["tensorrt-rtx"], [ADA])
    release = release or TENSORRT_RTX.load().__version__
    with pytest.raises(EngineMissing, match=r"found encoder-fp32-rtx.*expected encoder-fp32-rtx"):
        read_plan(open_bundle(root), "encoder", None, TENSORRT_RTX.target(release, capability))


def test_a_damaged_plan_is_not_taken_but_built_again(root: Path) -> None:
    plan, _ = add_plans(root, ["tensorrt-rtx"], [ADA])
    sound = plan.read_bytes()
    plan.write_bytes(sound[:-1])
    prepare(open_bundle(root), "tensorrt-rtx", "fp32", lambda *_: None, ADA)
    release = TENSORRT_RTX.load().__version__
    target = TENSORRT_RTX.target(release, ADA)
    assert plan == plan_path(open_bundle(root), "encoder", None, target)
    assert len(read_plan(open_bundle(root), "encoder", None, target)) > 1000


def test_every_precision_that_the_node_would_run_is_compiled_and_no_other(tmp_path: Path) -> None:
    outside = precision("bf16", score_shift=1.0, file="encoder.fp16.onnx")
    inside = precision("fp16")
    root = add_precisions(write_bundle(tmp_path / "tiny"), inside, outside)
    plans = add_plans(root, ["tensorrt-rtx"], [ADA, (7, 5)])
    kinds = [p.name.rpartition("-rtx")[0] for p in plans]
    assert sorted(kinds) == sorted(2 * ["encoder-fp32", "encoder-fp16", "aggregator-fp32"])
    assert not list(root.glob("plans/*.partial"))


def test_an_order_that_cannot_be_had_is_refused_before_anything_is_written() -> None:
    with pytest.raises(TrainingError, match=r"9\.0, TensorRT for RTX takes .*nothing was exported"):
        require_compilers(["tensorrt-rtx"], [(9, 0)])
    try:
        import tensorrt  # noqa: F401  # only whether it can be
    except ImportError:
        with pytest.raises(TrainingError, match=r"TensorRT cannot be loaded.*nothing was"):
            require_compilers(["tensorrt"], [ADA])


def test_the_command_takes_engines_and_targets() -> None:
    parser = argparse.ArgumentParser()
    export.add(parser)
    run = ["run", "--encoder", "default", "--out", "o", "--name", "n"]
    said = parser.parse_args([*run, "--engines", "tensorrt-rtx", "--targets", "8.9", "7.5"])
    assert (said.engines, said.targets) == (["tensorrt-rtx"], [ADA, (7, 5)])
    assert parser.parse_args(run).engines == []
