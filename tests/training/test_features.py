"""Feature files, encoders, and the extraction of tile features with its queue."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from bundles import write_bundle
from letters import MPP, drawn, tiny_at_letter_scale
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from ports import free_port
from profiles import swapped_primaries
from pydicom import dcmread
from students import tiny_bundle as tiny_student

from engines.bundle import open_bundle
from engines.runtime import open_runtime
from inference.predict import predict
from slides import ROOT, base_level, changed_pixel_copy, new_study_copy, without_spacing
from training.errors import TrainingError
from training.tiles import features
from training.tiles.encoders import open_encoder
from training.tiles.feature_files import Origin, read, read_all, read_bag, read_origin, write_h5
from training.tiles.onnx_files import digest_of_onnx
from training.tiles.slide_features import feature_path, magnifications
from training.tiles.slide_files import SlideFiles, find_slides

ORIGIN = Origin("s", "0", "e", "1", "engine", 0.5, 0.05, 224, 0.25, 448, 4, 4, "2")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_bundle):
    with open_encoder(str(tiny_bundle)) as encoder:
        yield encoder


def bag(n: int = 3, width: int = 4) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, width)).astype(np.float32)


def h5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


# -- files -------------------------------------------------------------------------------------


def test_published_h5_files_are_read_with_and_without_coordinates(shared):
    folder = shared / "data" / "mopadi_example"
    stamp = read(folder / "TCGA-AD-6964-01Z-00-DX1" / "features.h5", width=512)
    assert stamp.feats.shape == (777, 512)
    assert stamp.feats.dtype == np.float32
    assert stamp.coords.tolist()[:2] == [[10240, 21504], [10240, 22016]]
    other = read(folder / "TCGA-3X-AAVA-01Z-00-DX1" / "features.h5")
    assert (other.feats.shape, other.coords) == ((180, 512), None)


def test_a_slide_of_the_hipt_archive_is_read_by_its_id_and_another_is_named(shared):
    path = shared / "data" / "hipt_vit4k" / "blca.npz"
    with np.load(path) as archive:
        ids, offsets, feats = archive["slide_id"], archive["offsets"], archive["feats"]
    wanted = feats[offsets[7] : offsets[8]].astype(np.float32)
    assert np.array_equal(read_bag(path, slide=str(ids[7]), width=192), wanted)
    bags = read_all(path, width=192)
    assert list(bags) == ids.tolist()
    assert sum(map(len, bags.values())) == len(feats)
    with pytest.raises(TrainingError, match=r"found 454 slides, expected TCGA-XX"):
        read_bag(path, slide="TCGA-XX")
    with pytest.raises(TrainingError, match=r"width 192, expected 1024"):
        read_all(path, width=1024)


def test_a_batch_dimension_is_taken_off(tmp_path):
    path = h5(tmp_path / "a.h5", features=bag()[None], coords=np.arange(6).reshape(1, 3, 2))
    found = read(path)
    assert np.array_equal(found.feats, bag())
    assert found.coords.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_pt_files_are_read_and_a_pickle_that_runs_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(bag()), tmp_path / "tensor.pt")
    torch.save({"feats": torch.from_numpy(bag())[None], "mpp": 0.5}, tmp_path / "dict.pt")
    assert np.array_equal(read_bag(tmp_path / "tensor.pt"), bag())
    assert read(tmp_path / "dict.pt").attributes == {"mpp": 0.5}
    assert np.array_equal(read_bag(tmp_path / "dict.pt"), bag())
    torch.save({"feats": Path("code")}, tmp_path / "code.pt")
    with pytest.raises(TrainingError, match="cannot be loaded as plain tensors"):
        read(tmp_path / "code.pt")


def with_nan() -> np.ndarray:
    values = bag()
    values[1, 2] = np.nan
    return values


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"feats": with_nan()}, "NaN or infinity in 1 of 3 instances"),
        ({"feats": bag(width=5)}, "width 5, expected 4"),
        ({"feats": bag(0)}, "found no instance"),
        ({"embeddings": bag()}, r"found \['embeddings'\], expected features under one of feats or"),
        ({"feats": bag()[0]}, r"found float32 \[4\]"),
        ({"feats": np.arange(8).reshape(2, 4)}, "found int64"),
        ({"feats": bag(), "coords": np.zeros((2, 2))}, r"coords \[2, 2\], expected \[3, 2\]"),
    ],
)
def test_a_bad_feature_file_gets_a_sentence(arrays, sentence, tmp_path):
    with pytest.raises(TrainingError, match=sentence):
        read(h5(tmp_path / "bad.h5", **arrays), width=4)


def test_files_that_are_cut_missing_or_of_another_type_get_a_sentence(tmp_path):
    whole = h5(tmp_path / "whole.h5", feats=bag(500, 64)).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04nothing")
    (tmp_path / "bag.csv").write_text("1,2")
    for name, sentence in [
        ("cut.h5", "no readable HDF5"),
        ("cut.npz", "no .npz"),
        ("bag.csv", "type .csv, expected"),
        ("none.h5", "found no file"),
    ]:
        with pytest.raises(TrainingError, match=sentence):
            read(tmp_path / name)


def test_a_written_file_is_read_back_and_other_tools_find_their_names(tmp_path):
    coords = np.array([[0, 448], [448, 448], [0, 896]], np.int64)
    write_h5(tmp_path / "s.h5", bag(), coords, ORIGIN)
    found = read(tmp_path / "s.h5")
    assert np.array_equal(found.feats, bag())
    assert np.array_equal(found.coords, coords)
    assert read_origin(tmp_path / "s.h5") == ORIGIN
    with h5py.File(tmp_path / "s.h5") as file:
        assert np.array_equal(file["features"], file["feats"])
        assert file["coords"].attrs["patch_size_level0"] == 448
    write_h5(tmp_path / "again.h5", bag(), coords, ORIGIN)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "s.h5").read_bytes()


def test_features_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(TrainingError, match="NaN"):
        write_h5(tmp_path / "s.h5", with_nan(), np.zeros((3, 2), np.int64), ORIGIN)
    assert not list(tmp_path.iterdir())


# -- encoders ----------------------------------------------------------------------------------


def test_the_graph_file_of_a_bundle_gives_the_features_of_the_bundle():
    tiles = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), np.uint8)
    graph = open_bundle("default").file("encoder.onnx")
    with open_encoder("default") as bundle, open_encoder(str(graph)) as file:
        assert (bundle.width, bundle.tile_px, bundle.mpp) == (64, 224, 0.5)
        assert (file.width, file.tile_px, file.mpp) == (64, 224, None)
        assert file.digest == bundle.digest
        assert np.abs(file(tiles) - bundle(tiles)).max() <= 1e-4


def test_an_encoder_that_does_not_fit_gets_a_sentence(tiny, tiny_bundle, tmp_path):
    (tmp_path / "text.onnx").write_text("no graph")
    for name, sentence in [
        ("nothing", "no such encoder"),
        (str(tmp_path / "none.onnx"), "found no file"),
        (str(tmp_path / "text.onnx"), "no ONNX graph"),
        (str(tiny_bundle / "aggregator.onnx"), r"expected one of uint8 \[N, T, T, 3\]"),
    ]:
        with pytest.raises(TrainingError, match=sentence):
            open_encoder(name)
    with pytest.raises(TrainingError, match=r"uint8 \[2, 16, 16, 3\], expected uint8"):
        tiny(np.zeros((2, 16, 16, 3), np.uint8))


def raw_graph(folder, *, held=None, factor=1.0):
    """uint8 tiles [N, 32, 32, 3] to their mean colors [N, 3], its weights in a file beside it."""
    nodes = [
        helper.make_node("Cast", ["tiles"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "factor"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes, "raw",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array([1, 2]), "axes"),
         numpy_helper.from_array(np.array([held or -1, 3]), "shape"),
         numpy_helper.from_array(np.full((32, 1, 3), factor, np.float32), "factor")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    place = {"location": "factor.bin", "size_threshold": 100, "save_as_external_data": True}
    onnx.save(model, folder / "raw.onnx", **place)
    return str(folder / "raw.onnx")


def test_the_digest_of_a_graph_covers_weights_that_lie_beside_it(tmp_path):
    found = []
    for factor in (1.0, 2.0):
        with open_encoder(raw_graph(tmp_path, factor=factor)) as encoder:
            tiles = np.full((4, 32, 32, 3), 7, np.uint8)
            assert np.allclose(encoder(tiles), 7 * factor)
            found.append(encoder.digest)
    assert found[0] != found[1]


def test_the_digest_covers_weights_of_the_functions_of_a_graph(tmp_path):
    far = numpy_helper.from_array(np.ones((32, 1, 3), np.float32), "far")
    data = far.raw_data
    set_external_data(far, "within.bin")
    far.ClearField("raw_data")
    function = helper.make_function(
        "own", "Half", [], ["y"], [helper.make_node("Constant", [], ["y"], value=far)],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    name = Path(raw_graph(tmp_path))
    model = onnx.load(name, load_external_data=False)
    model.functions.append(function)
    name.write_bytes(model.SerializeToString())
    with pytest.raises(TrainingError, match=r"found no file within\.bin beside it"):
        digest_of_onnx(name)
    found = []
    for weights in (data, bytes(len(data))):
        (tmp_path / "within.bin").write_bytes(weights)
        found.append(digest_of_onnx(name))
    assert found[0] != found[1]


def test_a_graph_of_tiles_that_cannot_be_used_is_refused_when_it_is_opened(tmp_path):
    for changes, sentence in [
        ({"held": 1}, "does not take 2 tiles"),
        ({"factor": np.nan}, "no finite numbers for 2 of 2 tiles"),
        ({"factor": 0.0}, "found the same features for noise and for a smooth tile"),
    ]:
        with pytest.raises(TrainingError, match=sentence):
            open_encoder(raw_graph(tmp_path, **changes))
    name = raw_graph(tmp_path)
    (tmp_path / "factor.bin").unlink()
    with pytest.raises(TrainingError, match=r"found no file factor\.bin beside it"):
        open_encoder(name)


def timm_works() -> bool:
    try:
        import timm  # noqa: F401  # only whether it can be imported
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.skipif(timm_works(), reason="timm is installed and works")
def test_without_a_working_timm_an_encoder_of_it_gets_a_sentence():
    with pytest.raises(TrainingError, match="timm cannot be imported"):
        open_encoder("timm:resnet18")


@pytest.mark.skipif(not timm_works(), reason="needs timm and the torchvision of this torch")
def test_a_timm_encoder_normalizes_pools_and_loads_a_local_checkpoint(tmp_path):
    import timm
    import torch

    tiles = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    torch.manual_seed(7)
    model = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        pixels = (torch.from_numpy(tiles) / 255 - mean) / std
        wanted = model(pixels.permute(0, 3, 1, 2)).numpy()
    with open_encoder(f"timm:resnet18@{tmp_path / 'weights.pt'}") as encoder:
        assert (encoder.width, encoder.tile_px, encoder.mpp) == (512, 224, None)
        assert np.allclose(encoder(tiles), wanted, atol=1e-5)
        random = open_encoder("timm:resnet18@random")
        assert random.digest == open_encoder("timm:resnet18@random").digest != encoder.digest
    copy = tmp_path / "copy"
    copy.mkdir()
    torch.save(model.state_dict(), copy / "pytorch_model.bin")
    config = {"architecture": "resnet18", "num_classes": 0, "num_features": 512}
    (copy / "config.json").write_text(json.dumps(config))
    with open_encoder(f"local-dir:{copy}") as encoder:
        assert np.allclose(encoder(tiles), wanted, atol=1e-5)
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="no state dict of this architecture"):
        open_encoder(f"timm:resnet18@{tmp_path / 'other.pt'}")
    with pytest.raises(TrainingError, match="timm could not make it"):
        open_encoder("timm:no_such_net@random")


# -- one slide ---------------------------------------------------------------------------------


class Recorder:
    """A runtime that keeps what the node's own prediction hands to the aggregator."""

    def __init__(self, runtime):
        self._runtime = runtime

    def __getattr__(self, name):
        return getattr(self._runtime, name)

    def run(self, graph, arrays):
        if graph == "aggregator":
            self.features = arrays["features"]
        return self._runtime.run(graph, arrays)


@pytest.mark.parametrize(
    ("bundle", "study"),
    [("default", "cmu_study"), ("tiny", "tcga_study")],
)
def test_a_bag_is_bit_equal_to_what_the_node_hands_to_its_aggregator(
    bundle, study, tiny_bundle, request, tmp_path
):
    slide = request.getfixturevalue(study)
    name = str(tiny_bundle) if bundle == "tiny" else bundle
    (outcome,) = features.run([slide.folder], name, tmp_path, quiet=True).outcomes
    with open_runtime(open_bundle(name), precision="fp32") as runtime:
        recorder = Recorder(runtime)
        prediction = predict(slide.paths, recorder)
    found = read(feature_path(tmp_path, outcome.slide, 0.5))
    assert np.array_equal(found.feats, recorder.features)
    assert len(found.feats) == outcome.tiles > 50
    if bundle == "default":  # what the tiny student says of tissue is no survival curve
        assert found.attributes["patch_size_level0"] == prediction.stride_px
        cells = np.argwhere(~np.isnan(prediction.heatmaps[0].values))
        assert np.array_equal(found.coords[:, ::-1] // prediction.stride_px, cells)


def test_a_bag_has_the_colors_that_the_node_will_give_its_student(cmu_study, tmp_path):
    folder = tmp_path / "slide"
    shutil.copytree(cmu_study.folder, folder)
    for path in folder.glob("*.dcm"):
        ds = dcmread(path)
        ds.OpticalPathSequence[0].ICCProfile = swapped_primaries()
        ds.save_as(path)
    found = {}
    for icc in ("srgb", "ignore"):
        root = tiny_student(tmp_path / icc, lambda values, icc=icc: values["input"].update(icc=icc))
        with open_runtime(open_bundle(root), precision="fp32") as runtime:
            recorder = Recorder(runtime)
            predict(sorted(folder.glob("*.dcm")), recorder)
        out = tmp_path / f"features-{icc}"
        (outcome,) = features.run([folder], str(root), out, quiet=True).outcomes
        found[icc] = read(feature_path(out, outcome.slide, 0.5)).feats
        assert np.array_equal(found[icc], recorder.features)
    red, blue = found["srgb"][:, 0].mean(), found["srgb"][:, 2].mean()
    assert abs(red - found["ignore"][:, 2].mean()) < abs(red - found["ignore"][:, 0].mean())
    assert red != blue


def test_two_magnifications_share_one_grid_and_show_the_same_fields(cmu_study, tiny, tmp_path):
    slides = find_slides([cmu_study.folder])
    mpps = magnifications(tiny, (1.0, 0.5))
    features.extract(slides, tiny, tmp_path, mpps)
    fine, coarse = (read(feature_path(tmp_path, slides[0].slide, m)) for m in (0.5, 1.0))
    stride = fine.attributes["patch_size_level0"]
    assert coarse.attributes["patch_size_level0"] == 2 * stride
    mean = {tuple(xy): v for xy, v in zip(fine.coords.tolist(), fine.feats, strict=True)}
    compared = 0
    for (x, y), value in zip(coarse.coords.tolist(), coarse.feats, strict=True):
        inside = [(x + dx, y + dy) for dx in (0, stride) for dy in (0, stride)]
        if all(cell in mean for cell in inside):  # the mean color of a field is that of its parts
            assert np.abs(np.mean([mean[c] for c in inside], 0) - value).max() < 0.02
            compared += 1
    assert compared > 100


def test_magnifications_that_make_no_grid_get_a_sentence(tiny):
    assert magnifications(tiny, ()) == (0.5,)
    for wanted in [(0.5, 0.8), (0.25, 0.5, 1.0), (0.5, 0.5)]:
        with pytest.raises(TrainingError, match="a whole multiple of the finer"):
            magnifications(tiny, wanted)
    with pytest.raises(TrainingError, match="micrometers per pixel"):
        magnifications(tiny, (20.0, 40.0))
    with (
        open_encoder(str(open_bundle("default").file("encoder.onnx"))) as encoder,
        pytest.raises(TrainingError, match="found no magnification"),
    ):
        magnifications(encoder, ())


# -- many slides -------------------------------------------------------------------------------


def test_refused_slides_get_a_sentence_and_are_counted_and_the_rest_goes_on(
    phantom_study, tiny_bundle, tmp_path
):
    study = tmp_path / "study"
    shutil.copytree(phantom_study.folder, study / "whole")
    new_study_copy(phantom_study.folder, tmp_path / "other", "other")
    without_spacing(tmp_path / "other", study / "no-spacing")
    (study / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM and no more")
    (study / "readme.txt").write_text("no slide")
    report = features.run([study], str(tiny_bundle), tmp_path / "out", quiet=True)
    assert report.sentence == "3 slides: 1 written, 0 skipped, 2 refused."
    reasons = {o.slide: o.reason for o in report.of("refused")}
    assert "Pixel Spacing stands neither" in reasons["no-spacing"]
    assert "cannot be read as one" in reasons["broken"]
    assert [p.stem for p in (tmp_path / "out" / "mpp-0.5").iterdir()] == ["whole"]


def test_a_slide_too_coarse_for_the_encoder_is_refused_as_the_node_does(
    phantom_study, tiny, tmp_path
):
    slides = find_slides([phantom_study.folder])
    (outcome,) = features.extract(slides, tiny, tmp_path, (0.1,)).outcomes
    assert "the model needs 0.105 or less" in outcome.reason


def test_a_slide_whose_levels_show_different_pictures_is_refused_as_the_node_does(tmp_path):
    slide = drawn()
    frames = slide.base.frames
    frames[7], frames[8] = frames[8], frames[7]
    slide.save(tmp_path / "slide")
    student = tiny_student(tmp_path / "student", tiny_at_letter_scale)
    with open_encoder(str(student)) as encoder:
        found = features.extract(find_slides([tmp_path / "slide"]), encoder, tmp_path, (MPP,))
    assert "tissue tiles are not what a lower level shows" in found.outcomes[0].reason
    assert not list(tmp_path.rglob("*.h5"))


def test_a_slide_is_done_again_only_when_its_contents_or_the_encoder_changed(
    phantom_study, tiny_bundle, tmp_path
):
    slide, out = tmp_path / "slide", tmp_path / "out"
    shutil.copytree(phantom_study.folder, slide)

    def state(encoder: str) -> str:
        return features.run([slide], encoder, out, mpp=[0.5], quiet=True).outcomes[0].state

    assert [state(str(tiny_bundle)), state(str(tiny_bundle))] == ["written", "skipped"]
    written = feature_path(out, "slide", 0.5).stat().st_mtime_ns
    for path in slide.iterdir():
        os.utime(path)  # another time, the same contents
    assert state(str(tiny_bundle)) == "skipped"
    assert feature_path(out, "slide", 0.5).stat().st_mtime_ns == written
    shutil.rmtree(slide)
    changed_pixel_copy(phantom_study.folder, slide)
    assert state(str(tiny_bundle)) == "written"
    assert state("default") == "written"


def test_slides_are_told_apart_and_named_by_container_or_folder(phantom_study, tmp_path):
    a, b = tmp_path / "all" / "a", tmp_path / "all" / "b"
    new_study_copy(phantom_study.folder, a, "a")
    new_study_copy(phantom_study.folder, b, "b")
    found = find_slides([tmp_path / "all"])
    assert [s.slide for s in found] == ["a", "b"]
    assert [len(s.paths) for s in found] == [len(phantom_study.paths)] * 2
    by_uid = a.rename(a.with_name("1.2.840.10008.5.1"))
    assert [s.slide for s in find_slides([tmp_path / "all"])] == ["PHANTOM-A-1", "b"]
    by_uid.rename(a)
    assert find_slides([b, a]) == found
    with pytest.raises(TrainingError, match="found two slides"):
        find_slides([a, a])
    with pytest.raises(TrainingError, match="found no slide in"):
        find_slides([write(tmp_path / "empty" / "readme.txt")])
    with pytest.raises(TrainingError, match="found nothing"):
        find_slides([tmp_path / "absent"])
    assert find_slides([base_level(a)])[0] == SlideFiles(found[0].slide, (base_level(a),))


def write(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text("text")
    return path.parent


# -- kill -9 -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_slides(phantom_study, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    for name in ("a", "b", "c"):
        new_study_copy(phantom_study.folder, folder / name, name)
    return folder


@pytest.fixture(scope="module")
def undisturbed(three_slides, tmp_path_factory) -> dict[str, bytes]:
    """Bytes of the feature files of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed")
    features.run([three_slides], "default", out, quiet=True)
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    return {p.stem: p.read_bytes() for p in (out / "mpp-0.5").iterdir()}


IN_STREAM = """
from training.tiles import encoders
original, calls = encoders.Encoder.__call__, 0
def deadly(self, tiles):
    global calls
    calls += 1
    if calls == {nth} and once():
        die()
    return original(self, tiles)
encoders.Encoder.__call__ = deadly
"""
BEFORE_RENAME = """
from pathlib import Path
original, calls = Path.replace, 0
def deadly(self, target):
    global calls
    calls += self.name.endswith(".part")
    if calls == {nth} and once():
        die()
    return original(self, target)
Path.replace = deadly
"""
AT_SLIDE = """
from training.tiles import slide_features
original = slide_features.extract_slide
def deadly(slide, *args, **kwargs):
    if slide.slide == "b":
        die()
    return original(slide, *args, **kwargs)
slide_features.extract_slide = deadly
"""
ELSEWHERE = """
import socket
socket.gethostname = lambda: "{}"
"""
START = """
import os, signal, sys
from pathlib import Path
def once():
    try:
        (Path(__file__).parent / "died").open("x").write(str(os.getpid()))
    except FileExistsError:
        return False
    return True
def die():
    os.kill(os.{whom}(), signal.SIGKILL)
"""


def armed(folder: Path, code: str, whom: str = "getpid", **values: int) -> dict[str, str]:
    """Environment in which a process kills itself (or its parent): the product has no hooks."""
    folder.mkdir()
    start = START.format(whom=whom) + code.format(**values)
    # Only what works for us: Python's own helpers run with the same environment.
    (folder / "sitecustomize.py").write_text(start)
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def command(slides: Path, out: Path, workers: int) -> list[str]:
    code = (
        "from pathlib import Path; from training.tiles import features; "
        f"print(features.run([Path({str(slides)!r})], 'default', Path({str(out)!r}), "
        f"workers={workers}, quiet=True).sentence)"
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("point", [IN_STREAM, BEFORE_RENAME])
def test_after_kill_9_a_finished_slide_stays_and_a_half_written_one_is_redone(
    point, three_slides, undisturbed, tmp_path
):
    nth = 6 if point == IN_STREAM else 2
    env = armed(tmp_path / "arm", point, nth=nth)
    killed = subprocess.run(command(three_slides, tmp_path / "out", 1), env=env, check=False)
    assert killed.returncode == -signal.SIGKILL
    half = contents(tmp_path / "out")
    finished = {name: half[name] for name in half if name in undisturbed}
    assert len(finished) == 1
    report = features.run([three_slides], "default", tmp_path / "out", quiet=True)
    assert report.sentence == "3 slides: 2 written, 1 skipped, 0 refused."
    assert contents(tmp_path / "out") == undisturbed


def test_the_slide_of_a_killed_worker_is_finished_and_two_workers_write_the_same_bytes(
    three_slides, undisturbed, tmp_path, monkeypatch
):
    env = armed(tmp_path / "arm", IN_STREAM, nth=2)
    monkeypatch.setenv("PYTHONPATH", env["PYTHONPATH"])
    report = features.run([three_slides], "default", tmp_path / "out", workers=2, quiet=True)
    assert (tmp_path / "arm" / "died").exists()
    assert report.sentence == "3 slides: 3 written, 0 skipped, 0 refused."
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("take_over", [(), ("another-machine",)])
def test_workers_end_with_a_killed_run_and_the_next_run_finishes_it(
    take_over, three_slides, undisturbed, tmp_path
):
    there = ELSEWHERE.format(take_over[0]) if take_over else ""
    env = armed(tmp_path / "arm", there + IN_STREAM, whom="getppid", nth=2)
    killed = subprocess.run(command(three_slides, tmp_path / "out", 2), env=env, check=False)
    assert killed.returncode == -signal.SIGKILL
    worker = Path("/proc") / (tmp_path / "arm" / "died").read_text()
    deadline = time.monotonic() + 30
    while worker.exists():
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.1)
    report = features.run(
        [three_slides], "default", tmp_path / "out", workers=2, take_over=take_over, quiet=True
    )
    assert len(report.of("written")) + len(report.of("skipped")) == 3
    assert contents(tmp_path / "out") == undisturbed


def test_a_slide_that_kills_its_worker_again_and_again_is_refused_and_the_rest_goes_on(
    three_slides, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", armed(tmp_path / "arm", AT_SLIDE)["PYTHONPATH"])
    report = features.run([three_slides], "default", tmp_path / "out", workers=2, quiet=True)
    assert report.sentence == "3 slides: 2 written, 0 skipped, 1 refused."
    (refused,) = report.of("refused")
    assert (refused.slide, refused.reason.split(" while")[0]) == ("b", "The worker died 3 times")
    assert sorted(contents(tmp_path / "out")) == ["a", "c"]


def test_a_database_that_is_not_there_gets_a_sentence(three_slides, tmp_path):
    url = "postgresql://nobody:nothing@127.0.0.1:9/none"
    with pytest.raises(TrainingError, match="found no database for the queue"):
        features.run([three_slides], "default", tmp_path, database_url=url, quiet=True)


@pytest.fixture
def postgres():
    """Address of a database on a PostgreSQL server of this test's own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    programs, folder = found[-1].parent, Path(tempfile.mkdtemp(prefix="postgres-"))
    # The server refuses to run as root; Debian's package brings a user for it.
    other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if other:
        shutil.chown(folder, "postgres")
    port = str(free_port())
    data, where = folder / "data", ["-h", "127.0.0.1", "-p", port, "-U", "test"]
    initialize = [*other, programs / "initdb", "-D", data, "-A", "trust", "-U", "test"]
    subprocess.run(initialize, check=True, capture_output=True, cwd=folder)
    server = subprocess.Popen(
        [*other, programs / "postgres", "-D", data, "-p", port, "-k", folder, "-h", "127.0.0.1"],
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        ready = [programs / "pg_isready", *where]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, "PostgreSQL did not start within a minute"
            time.sleep(0.1)
        subprocess.run([programs / "createdb", *where, "queue"], check=True, cwd=folder)
        yield f"postgresql://test@127.0.0.1:{port}/queue"
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_queue_works_on_postgresql(three_slides, undisturbed, tmp_path, postgres):
    report = features.run(
        [three_slides], "default", tmp_path, workers=2, database_url=postgres, quiet=True
    )
    assert report.sentence == "3 slides: 3 written, 0 skipped, 0 refused."
    assert contents(tmp_path) == undisturbed
