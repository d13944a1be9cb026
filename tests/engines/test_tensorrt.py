"""Both TensorRT engines without a GPU: every name they use, their plans and their refusals.

Plans of TensorRT for RTX are built here; running one needs a card that it takes, and TensorRT's own
libraries were not at hand. What can be known without is checked: that each name is in the bindings
of both, that each CUDA call fits its signature, and what a person is told. Tests marked `gpu` run
the engines where they are.
"""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pytest
from bundles import add_precisions, precision, write_bundle, write_sums

from engines.bundle import open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.executor import AGGREGATOR, ENCODER
from engines.runtime import open_runtime, prepare
from engines.tensorrt import compiler, plans
from engines.tensorrt import cuda as cuda_module
from engines.tensorrt import runtime as tensorrt_gpu
from engines.tensorrt.libraries import TENSORRT, TENSORRT_RTX, Target
from engines.tensorrt.plans import plan_path, read_plan, write_plan

HOPPER = Target("11.4.0.106", (9, 0), TENSORRT)
ADA = Target("1.7.1.116", (8, 9), TENSORRT_RTX)
TENSORRT_OBJECTS = {
    *("trt", "builder", "network", "parser", "config", "profile", "cache", "plan", "error"),
    *("context", "engine", "runtime"),
}
SOURCES = [Path(m.__file__) for m in (compiler, plans, cuda_module, tensorrt_gpu)]
ONLY_RTX = {"num_compute_capabilities", "set_compute_capability", "ComputeCapability"}


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_bundle(tmp_path / "tiny"))


@pytest.fixture(scope="module")
def bindings():
    """Bytes of the compiled bindings: importing them would need TensorRT's libraries."""
    try:
        found = files("tensorrt-cu13-bindings") or []
    except PackageNotFoundError:
        pytest.skip("the package tensorrt-cu13-bindings is not installed (extra `test`)")
    (binary,) = (f for f in found if f.name.startswith("tensorrt.") and f.suffix in {".so", ".pyd"})
    return Path(str(binary.locate())).read_bytes()


@pytest.fixture(scope="module")
def cuda():
    return pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")


def attributes(path):
    """Dotted names read in a source, as (root, rest)."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if names and isinstance(node, ast.Name):
            yield node.id, names[::-1]


def names_of_tensorrt():
    used = set()
    for path in SOURCES:
        for root, names in attributes(path):
            if root in TENSORRT_OBJECTS:
                used.update(names)
    for node in ast.walk(ast.parse(SOURCES[0].read_text())):  # what TensorRT calls back
        if isinstance(node, ast.ClassDef) and node.name == "Monitor":
            used.update(f.name for f in node.body if isinstance(f, ast.FunctionDef))
    return used - {"__init__", "__version__", "strerror"}  # the last is an OSError's


@pytest.fixture(scope="module")
def rtx():
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed")
    return TENSORRT_RTX.load()


def test_every_name_used_of_tensorrt_is_in_its_published_bindings(bindings):
    used = names_of_tensorrt()
    assert {"execute_async_v3", "build_serialized_network", "IProgressMonitor", "TF32"} <= used
    assert len(used) > 25
    assert b"no_such_method\0" not in bindings
    absent = {name for name in used if name.encode() + b"\0" not in bindings}
    assert absent <= ONLY_RTX


def test_every_name_used_is_an_attribute_of_tensorrt_for_rtx(rtx):
    classes = [value for value in vars(rtx).values() if isinstance(value, type)]
    known = {name for one in (rtx, *classes) for name in dir(one)}
    assert "no_such_method" not in known
    assert not names_of_tensorrt() - known


def test_every_cuda_call_exists_and_takes_the_arguments_it_is_given(cuda):
    calls = 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            for function, count in _cuda_calls(node):
                parameters = inspect.signature(getattr(cuda, function)).parameters
                assert len(parameters) == count, f"{path.name}: {function}{tuple(parameters)}"
                calls += 1
    assert calls > 15
    for path in SOURCES:
        for root, names in attributes(path):
            if root == "cuda" and names[0] != "bindings":
                value = cuda
                for name in names:
                    value = getattr(value, name)


def _cuda_calls(node):
    """(function, number of arguments) of cuda.f(...), call(cuda, cuda.f, ...) and callbacks."""
    if not isinstance(node, ast.Call):
        return
    name = ast.unparse(node.func)
    if name.startswith("cuda.cuda"):
        yield name.removeprefix("cuda."), len(node.args)
    wrapped = {"call": 1, "owner.callback": 0}.get(name)
    if wrapped is not None:
        yield ast.unparse(node.args[wrapped]).rpartition(".")[2], len(node.args) - wrapped - 1


def test_every_cuda_enumeration_has_its_member(cuda):
    assert cuda.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
    assert cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    assert cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
    assert cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost


def test_a_cuda_status_that_is_not_success_is_a_failed_device(cuda):
    def out_of_memory(size):
        return cuda.cudaError_t.cudaErrorMemoryAllocation, None

    with pytest.raises(DeviceFailed, match="cudaErrorMemoryAllocation: out of memory"):
        cuda_module.call(cuda, out_of_memory, 1)


def test_a_plan_is_named_by_graph_tensorrt_device_and_precision(bundle, tmp_path):
    path = plan_path(bundle, ENCODER, None, HOPPER)
    assert path.parent == bundle.root / "plans"
    assert path.name.startswith("encoder-fp32-trt11.4.0.106-sm90-")
    int8 = open_bundle(add_precisions(write_bundle(tmp_path / "int8"), precision("int8")))
    form = int8.manifest.precision("int8", "tensorrt")
    names = {
        path.name,
        plan_path(bundle, ENCODER, None, Target("11.4.0.107", (9, 0), TENSORRT)).name,
        plan_path(bundle, ENCODER, None, Target("11.4.0.106", (8, 9), TENSORRT)).name,
        plan_path(bundle, ENCODER, None, ADA).name,
        plan_path(bundle, AGGREGATOR, None, HOPPER).name,
        plan_path(int8, ENCODER, form, HOPPER).name,
    }
    assert len(names) == 6
    assert (
        plan_path(int8, AGGREGATOR, form, HOPPER).name
        == plan_path(bundle, AGGREGATOR, None, HOPPER).name
    )


def test_cards_of_one_family_share_a_plan_of_tensorrt_for_rtx_and_others_do_not(bundle):
    def name(*capability):
        target = TENSORRT_RTX.target("1.7.1.116", capability)
        return plan_path(bundle, ENCODER, None, target).name

    assert name(8, 6) == name(8, 9) == name(12, 0) == name(12, 1)
    assert name(8, 9).startswith("encoder-fp32-rtx1.7.1.116-sm86-89-120-121-")
    assert name(7, 5) != name(8, 9)


@pytest.mark.parametrize("capability", [(9, 0), (7, 0), (10, 0)])
def test_tensorrt_for_rtx_refuses_cards_that_it_does_not_take(capability):
    with pytest.raises(EngineMissing, match=r"takes 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"):
        TENSORRT_RTX.target("1.7.1.116", capability)


def test_plans_are_built_for_a_card_that_is_not_here_and_found_by_another_of_its_family(
    rtx, bundle
):
    names = prepare(bundle, "tensorrt-rtx", "fp32", lambda *_: None, (8, 9))
    assert [name.partition("-")[0] for name in names] == ["encoder", "aggregator"]
    for graph in (ENCODER, AGGREGATOR):
        other = TENSORRT_RTX.target(rtx.__version__, (12, 0))
        assert len(read_plan(bundle, graph, None, other)) > 1000
    before = {p: p.stat().st_mtime_ns for p in (bundle.root / "plans").glob("*.plan")}
    prepare(bundle, "tensorrt-rtx", "fp32", lambda *_: None, (8, 6))
    assert before == {p: p.stat().st_mtime_ns for p in (bundle.root / "plans").glob("*.plan")}


def test_a_missing_plan_of_tensorrt_for_rtx_is_refused_with_a_command_that_runs_anywhere(bundle):
    command = rf"engine build {bundle.root} --engine tensorrt-rtx --precision fp32 --target 8\.9"
    with pytest.raises(EngineMissing, match=command):
        read_plan(bundle, ENCODER, None, ADA)


def test_int8_of_a_bundle_is_a_cpus_and_nothing_for_tensorrt(tmp_path):
    root = add_precisions(write_bundle(tmp_path / "tiny"), precision("int8"))
    assert "symmetric" in tensorrt_gpu.lacks(
        open_bundle(root).manifest.precision("int8", "tensorrt")
    )


def test_a_changed_graph_has_another_plan(bundle):
    before = plan_path(bundle, ENCODER, None, HOPPER).name
    file = bundle.file("encoder.onnx")
    file.write_bytes(file.read_bytes() + b"\0")
    assert plan_path(bundle, ENCODER, None, HOPPER).name != before


def test_a_missing_plan_is_refused_with_the_command_that_builds_it(bundle):
    command = rf"dicom-node engine build {bundle.root} --engine tensorrt --precision fp32"
    with pytest.raises(EngineMissing, match=rf"found no plan of graph encoder.*{command}"):
        read_plan(bundle, ENCODER, None, HOPPER)


def test_a_plan_of_another_device_is_refused_by_its_name(bundle):
    ada = Target("11.4.0.106", (8, 9), TENSORRT)
    write_plan(plan_path(bundle, ENCODER, None, ada), b"plan")
    with pytest.raises(EngineMissing, match=r"found encoder-fp32-.*-sm89-.*capability 9\.0"):
        read_plan(bundle, ENCODER, None, HOPPER)


def test_a_plan_is_read_as_it_was_written_and_refused_when_damaged(bundle):
    path = plan_path(bundle, ENCODER, None, HOPPER)
    write_plan(path, b"a plan")
    assert read_plan(bundle, ENCODER, None, HOPPER) == b"a plan"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    open_bundle(bundle.root)  # plans are not listed, and need not be
    for damaged in (path.read_bytes()[:-1], path.read_bytes() + b"x", b""):
        path.write_bytes(damaged)
        with pytest.raises(EngineMissing, match="the plan is damaged; build it again with: dicom"):
            read_plan(bundle, ENCODER, None, HOPPER)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails to read")
def test_a_plan_or_a_graph_that_cannot_be_read_is_an_engine_that_is_not_there(bundle):
    path = plan_path(bundle, ENCODER, None, HOPPER)
    path.parent.mkdir()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(EngineMissing, match=rf"{path.name}: the file cannot be read \("):
        read_plan(bundle, ENCODER, None, HOPPER)
    bundle.file("encoder.onnx").unlink()
    with pytest.raises(EngineMissing, match=r"encoder\.onnx: the file cannot be read \("):
        read_plan(bundle, ENCODER, None, HOPPER)


def test_a_folder_that_cannot_hold_a_plan_is_told(bundle):
    (bundle.root / "plans").write_text("in the way")
    with pytest.raises(EngineMissing, match=r"cannot be written .*copy the bundle to a folder"):
        write_plan(plan_path(bundle, ENCODER, None, HOPPER), b"plan")


def test_tensorrt_that_is_not_installed_is_told_with_what_to_install(bundle):
    try:
        import tensorrt  # noqa: F401  # only whether it can be
    except ImportError:
        pass
    else:
        pytest.skip("TensorRT is installed")
    with (
        pytest.raises(EngineMissing, match=r"cannot be loaded .*'dicom-node\[tensorrt\]'"),
        open_runtime(bundle, engine="tensorrt"),
    ):
        pass


def test_a_machine_without_a_gpu_is_told(cuda):
    status, count = cuda.cudaGetDeviceCount()
    if status == cuda.cudaError_t.cudaSuccess and count:
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineMissing, match="no CUDA device found"):
        cuda_module.load_cuda("tensorrt")


def test_bf16_without_a_graph_file_is_nothing_for_tensorrt(tmp_path):
    root = add_precisions(write_bundle(tmp_path / "tiny"), precision("bf16"), precision("fp16"))
    manifest = open_bundle(root).manifest
    assert "bf16 from a graph file only" in tensorrt_gpu.lacks(
        manifest.precision("bf16", "tensorrt")
    )
    assert tensorrt_gpu.lacks(manifest.precision("fp16", "tensorrt")) == ""


@pytest.mark.parametrize("tiles", [0, 1, 15, 16, 17, 127, 128, 129, 300])
def test_blocks_cover_every_tile_once_and_only_the_last_is_short(tiles):
    found = list(tensorrt_gpu.cut(tiles, (128, 16)))
    assert [t for first, count, _ in found for t in range(first, first + count)] == list(
        range(tiles)
    )
    assert all(count == size for _, count, size in found[:-1])
    assert all(size in (128, 16) for _, _, size in found)
    assert sum(size for _, _, size in found) - tiles < 16


def hardware():
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    try:
        cuda_module.load_cuda("tensorrt")
    except EngineMissing as error:
        pytest.skip(str(error))


@pytest.mark.gpu
def test_plans_are_built_and_the_default_student_passes_its_probe(tmp_path):
    hardware()
    import shutil

    root = shutil.copytree(open_bundle("default").root, tmp_path / "default")
    with open_runtime(open_bundle(root), engine="tensorrt", build_plans=True) as runtime:
        side = runtime.manifest.input.tile_px
        tiles = np.random.default_rng(0).integers(0, 256, (300, side, side, 3), np.uint8)
        found = runtime.run(ENCODER, {"tiles": tiles})
    with open_runtime(open_bundle(root), engine="openvino", precision="fp32") as runtime:
        expected = runtime.run(ENCODER, {"tiles": tiles})
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-3)


@pytest.mark.gpu
def test_a_graph_that_tensorrt_cannot_parse_is_refused_by_its_file(tmp_path):
    hardware()
    root = write_bundle(tmp_path / "tiny")
    (root / "encoder.onnx").write_bytes(b"no graph")
    write_sums(root)
    with (
        pytest.raises(BundleRejected, match=r"encoder\.onnx: TensorRT cannot parse"),
        open_runtime(open_bundle(root), engine="tensorrt", build_plans=True),
    ):
        pass
