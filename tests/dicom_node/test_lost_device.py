"""A device that is lost: the worker ends, the supervisor starts it again, and nothing else changes.

No GPU was at hand: a real engine raises what ONNX Runtime says when CUDA fails; processes, exit
statuses, ledger and kept tiles are real (tests/support/losing.py).
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import several
from bundles import add_precisions, precision, write_bundle
from nodes import ROOT, node, storescp, storescu, study_of, wait_for
from students import tiny_bundle

from dicom_node.config.loading import load_config
from dicom_node.demo.wsm import write_slide
from dicom_node.exit_status import DEVICE_LOST, REFUSED
from dicom_node.ledger.states import State
from dicom_node.processes.losses import Loss, Losses, Tally, missing_after, opened_after
from dicom_node.processes.worker import _runtime
from engines.bundle import open_bundle
from engines.errors import DeviceFailed, DeviceLost, EngineMissing, TooLittleMemory, device_failed
from engines.lost import is_lost, lost_by_text
from engines.names import Opened
from inference.phantom.draw import draw

LOSING = str(ROOT / "tests" / "support" / "losing.py")
LOSS = Loss(Opened("tensorrt-rtx", "fp16", is_fastest=True), "fell off", "lung", "d1")
NODE = """[node]
ae_title = "NODE"
data_dir = "{data}"
[[senders]]
ae_title = "PACS"
networks = ["127.0.0.0/8"]
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 1
"""
TILES = 4
"""The encoder's first calls are the probe's, in the shipped precision twice; then come tiles."""


def lines(n, event):
    found = [json.loads(line) for line in n.log.splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def test_a_lost_device_ends_the_worker_with_a_status_of_its_own(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        assert storescu(n.port, phantom_study.folder).returncode == 0
        worker = n.launch("worker", LOSING, "1", str(TILES))
        assert worker.wait(120) == DEVICE_LOST, n.log
        (lost,) = lines(n, "device_lost")
        assert lost["engine"] == "openvino"
        assert lost["reason"].endswith("the GPU is lost to this process (CUDA error 700)")
        assert n.ledger.queries.revision(study).state is State.ANALYZING
        n.work()
        assert n.finished(study).state is State.DONE
        (was,) = lines(n, "device_was_lost")
        assert was["engine"] == "openvino"


def test_the_supervisor_starts_the_worker_again_and_the_study_goes_on_from_its_tiles(tmp_path):
    slide = tmp_path / "slide"
    write_slide(draw(3, rows=6144, cols=4096).pixels, slide, mpp=0.5, seed="several bands")
    study = study_of(slide)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("serve", LOSING, "2", str(TILES + 6))
        assert storescu(n.port, slide).returncode == 0
        assert n.finished(study, within_s=200).state is State.DONE
        died = [line["status"] for line in lines(n, "child_died")]
        assert died == [DEVICE_LOST, DEVICE_LOST]
        assert lines(n, "slide_resumed")[-1]["tiles_kept"] > 0
        assert {line["engine"] for line in lines(n, "model_ready")} == {
            lines(n, "model_ready")[0]["engine"]
        }
        wait_for(lambda: len(pacs.digests()) == len(n.ledger.queries.results(study, 1)))


def test_a_study_that_takes_the_device_down_is_parked_and_the_reason_names_the_device(
    phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, extra="most_crashes = 1") as n,
    ):
        n.start("serve", LOSING, "2", str(TILES))
        assert storescu(n.port, phantom_study.folder).returncode == 0
        parked = n.finished(study, within_s=200)
        assert parked.state is State.PARKED
        assert "the worker died 2 times while analyzing it, last because openvino was lost" in (
            parked.reason
        )


def test_a_device_that_is_lost_at_every_start_ends_the_node_with_the_reason(tmp_path):
    with node(tmp_path / "node", 1, extra="most_crashes = 1") as n:
        process = n.launch("serve", LOSING, "99", "1")
        assert process.wait(200) == REFUSED
        (said,) = lines(n, "device_lost_too_often")
        assert "the device was lost 4 times within an hour, last: openvino: " in said["reason"]
        assert len(lines(n, "device_lost")) == 4
        assert not lines(n, "model_ready")


def test_a_start_of_the_node_forgets_what_was_lost_and_a_worker_does_not(tmp_path):
    losses = Losses(tmp_path)
    assert losses.last() is None
    losses.keep(LOSS)
    assert Losses(tmp_path).last() == LOSS
    before = json.dumps({"engine": "tensorrt-rtx", "reason": "of an earlier version"})
    newer = (tmp_path / "device-lost").read_text().replace("fp16", "fp4")
    for torn in ("torn", "[]", '{"losses": [{}]}', before, newer):
        (tmp_path / "device-lost").write_text(torn)
        assert losses.last() is None
    losses.forget()
    losses.forget()


def test_after_a_loss_auto_is_the_engine_that_was_lost_or_nothing():
    assert opened_after("auto", LOSS) == Opened("tensorrt-rtx", "fp16", is_fastest=True)
    assert opened_after("openvino", LOSS) is None
    assert opened_after("auto", None) is None
    told = str(missing_after(EngineMissing("no CUDA device found"), "auto", LOSS))
    assert "no CUDA device found; engine tensorrt-rtx was lost (fell off), and no other" in told
    assert "name another engine" in told


def test_a_loss_is_of_the_model_that_had_it_and_every_model_keeps_its_own(tmp_path):
    losses = Losses(tmp_path)
    other = replace(LOSS, model="breast", opened=Opened("tensorrt", "fp32"))
    for loss in (LOSS, other, replace(LOSS, reason="again")):
        losses.keep(loss)
    assert losses.of("lung", "d1").reason == "again"
    assert losses.of("breast", "d1") == other
    assert losses.of("colon", "d1") is None
    assert losses.of("lung", "d2") is None  # another bundle under the same name
    assert losses.last().model == "lung"


def test_a_loss_is_laid_to_the_death_that_it_was_and_to_no_later_one(tmp_path):
    losses = Losses(tmp_path)
    losses.keep(replace(LOSS, during="1.2.3/1/1", at=1.0))
    assert losses.settle().during == "1.2.3/1/1"
    assert losses.settle().during == ""
    assert losses.of("lung", "d1") == replace(LOSS, at=1.0)  # the engine stays pinned


def opens(folder, config_text, model=0):
    """The engine that a worker opens for a model of a configuration."""
    path = folder / "node.toml"
    path.write_text(NODE.format(data=folder / "data") + config_text)
    config = load_config(path)
    entry = config.students[model]
    with _runtime(config, Losses(folder / "data"), open_bundle(entry.bundle), entry) as runtime:
        return runtime


def test_a_lost_device_moves_no_other_model_to_its_engine(tmp_path):
    bundles = {name: tiny_bundle(tmp_path / name) for name in ("a", "b")}
    (tmp_path / "data").mkdir()
    of_b = open_bundle(bundles["b"]).digest
    Losses(tmp_path / "data").keep(Loss(Opened("tensorrt", "fp32"), "fell off", "b", of_b))
    models = several.model("a", bundles["a"]) + several.model("b", bundles["b"])
    runtime = opens(tmp_path, models)
    assert runtime.engine.startswith("openvino")
    assert {o.engine for o in runtime.passed_over} == {
        "tensorrt", "tensorrt-rtx", "onnxruntime-cuda"}  # fmt: skip
    with pytest.raises(EngineMissing, match="engine tensorrt was lost"):
        opens(tmp_path, models, model=1)


def test_the_next_worker_opens_the_very_precision_that_was_lost(tmp_path):
    bundle = add_precisions(
        write_bundle(tmp_path / "tiny"), precision("int8"), shipped_precision="fp32"
    )
    (tmp_path / "data").mkdir()
    loss = Loss(Opened("onnxruntime", "int8", is_fastest=True), "fell off", "model",
                open_bundle(bundle).digest)  # fmt: skip
    Losses(tmp_path / "data").keep(loss)
    runtime = opens(tmp_path, f'[model]\nbundle = "{bundle}"\nprecision = "fastest"\n')
    assert (runtime.engine.split()[0], runtime.precision) == ("onnxruntime", "int8")
    assert runtime.engine.endswith(", fastest here")
    assert runtime.opened == loss.opened


def test_a_want_of_memory_after_a_loss_is_still_one(tmp_path):
    little = TooLittleMemory("engine 'openvino': too little memory")
    assert missing_after(little, "auto", LOSS) is little
    other = EngineMissing("engine 'openvino': not installed")
    assert missing_after(other, "openvino", LOSS) is other
    assert missing_after(other, "auto", None) is other
    assert "was lost" in str(missing_after(other, "tensorrt-rtx", LOSS))


def test_a_node_bears_so_many_losses_within_an_hour_and_more_over_a_day():
    now = [0.0]
    tally = Tally(1, clock=lambda: now[0])
    for _ in range(20):
        assert not tally.is_over()
        now[0] += 1500
    tally = Tally(1, clock=lambda: now[0])
    assert [tally.is_over() for _ in range(4)] == [False, False, False, True]


def test_the_errors_that_end_a_process_are_those_that_cuda_says_end_it():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    said = {
        int(error)
        for error in runtime.cudaError_t
        if "terminated and relaunched" in " ".join((error.__doc__ or "").split())
    }
    assert len(said) > 10
    assert all(map(is_lost, said))
    names = ("cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorECCUncorrectable",
             "cudaErrorNoDevice", "cudaErrorDevicesUnavailable")  # fmt: skip
    assert all(is_lost(int(getattr(runtime.cudaError_t, name))) for name in names)
    for passing in ("cudaErrorMemoryAllocation", "cudaErrorInvalidValue", "cudaErrorNotReady"):
        assert not is_lost(int(getattr(runtime.cudaError_t, passing)))


def test_a_cuda_call_says_that_the_device_is_lost():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    from engines.tensorrt import cuda

    def launch():
        return (runtime.cudaError_t.cudaErrorIllegalAddress,)

    with pytest.raises(DeviceLost, match="cudaErrorIllegalAddress: an illegal memory access"):
        cuda.call(runtime, launch)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", 700),
        ("[E:onnxruntime:, cuda_call.cc:119 CudaCall] CUDA failure 719: unspecified", 719),
        ("CUDA error 214: uncorrectable ECC error encountered", 214),
        ("CUDA failure 2: out of memory ; GPU=0", None),
        ("CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED", None),
        ("line 700: shape mismatch", None),
    ],
)
def test_a_librarys_words_say_whether_the_device_is_lost(text, number):
    assert lost_by_text(text) == number
    failed = device_failed("onnxruntime 1.31.1 fp32 CUDA", RuntimeError(text))
    assert isinstance(failed, DeviceLost) is (number is not None)
    assert isinstance(failed, DeviceFailed)
