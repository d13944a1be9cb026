"""A bundle of an encoder alone: how it is made, what is refused, and who takes it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from nodes import dicom_node
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="needs the training extra")

from engines.bundle import open_bundle  # noqa: E402
from engines.errors import BundleRejected  # noqa: E402
from engines.manifest.reading import manifest_of  # noqa: E402
from inference.answers import require_answerable  # noqa: E402
from training import cli  # noqa: E402
from training.bundle.encoder import EncoderRequest, make_encoder, probe_tiles  # noqa: E402
from training.bundle.encoder_graph import Colors  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.tiles.encoders import open_encoder  # noqa: E402

TILE_PX = 64
COLORS = Colors((0.7, 0.5, 0.6), (0.2, 0.25, 0.3))


def network(folder, *, batch="N", opset=18, pooled=True, domain="", outputs=("vector",)):
    """Float colors [N, 3, T, T] to [N, 5]: a convolution, its absolute values, their mean."""
    draw = np.random.default_rng(3)
    weights = draw.normal(0, 0.3, (5, 3, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["maps"], strides=[8, 8]),
        helper.make_node("Abs", ["maps"], ["positive"], domain=domain),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled" if pooled else "positive"], [outputs[0]]),
    ]
    if not pooled:
        nodes[3] = helper.make_node("Relu", ["positive"], [outputs[0]])
    nodes += [helper.make_node("Neg", ["pooled"], [name]) for name in outputs[1:]]
    shapes = [["N", 5] if pooled else ["N", 5, 8, 8], *(["N", 5, 1, 1] for _ in outputs[1:])]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, TILE_PX, TILE_PX])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
         for name, shape in zip(outputs, shapes, strict=True)],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx", weights


def request(source, out, **changes):
    values = {"licence": "CC0", "mpp": 0.5, "colors": COLORS, "name": "mine"} | changes
    return EncoderRequest(str(source), out, **values)


def by_hand(tiles, weights):
    """Features [N, 5] of the network above, in float64."""
    pixels = (tiles / 255 - np.array(COLORS.mean)) / np.array(COLORS.std)
    cells = pixels.reshape(len(tiles), TILE_PX // 8, 8, TILE_PX // 8, 8, 3)
    maps = np.einsum("niakbc,dcab->nikd", cells.transpose(0, 1, 2, 3, 4, 5), weights)
    return np.abs(maps).mean(axis=(1, 2))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    source, weights = network(folder, opset=13)
    return make_encoder(request(source, folder / "bundle")), weights


def test_a_graph_of_float_colors_becomes_one_of_tiles_with_its_normalization_inside(made):
    bundle, weights = made
    (opset,) = onnx.load(bundle / "encoder.onnx").opset_import
    assert opset.version == 18
    tiles = np.random.default_rng(5).integers(0, 256, (7, TILE_PX, TILE_PX, 3), np.uint8)
    found = run_graph(bundle / "encoder.onnx", {"tiles": tiles})
    assert list(found) == ["features"]
    assert np.allclose(found["features"], by_hand(tiles, weights), atol=1e-5)


def test_training_opens_an_encoder_alone_and_knows_what_it_wants(made):
    bundle, weights = made
    with open_encoder(str(bundle)) as encoder:
        assert (encoder.name, encoder.width, encoder.tile_px, encoder.mpp) == (
            "mine 0.1.0", 5, TILE_PX, 0.5,
        )  # fmt: skip
        tiles = probe_tiles(TILE_PX)
        assert np.allclose(encoder(tiles), by_hand(tiles, weights), atol=1e-4)


def test_the_card_states_licence_source_and_the_difference_from_the_source(made):
    text = (made[0] / "card.md").read_text()
    assert "## Licence\n\nCC0\n" in text
    assert "From `net.onnx`" in text
    gap = float(text.partition("its source: ")[2].split()[0])
    assert 0 <= gap <= 1e-4
    assert open_bundle(made[0]).manifest.licence == "CC0"


def test_the_node_refuses_an_encoder_alone_and_says_what_to_do(made, tmp_path):
    sentence = "found an encoder alone, expected a student that answers; build one"
    with pytest.raises(BundleRejected, match=sentence):
        require_answerable(open_bundle(made[0]))
    analyze = ["analyze", str(tmp_path), "--out", str(tmp_path / "out"), "--bundle"]
    for words in (analyze, ["engine", "compare"]):
        done = dicom_node(*words, str(made[0]))
        assert done.returncode == 3, done.stdout
        assert sentence in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", ["precisions", "ood"])
def test_commands_of_training_that_ask_a_student_refuse_an_encoder_alone(
    made, command, tmp_path, capsys
):
    more = {
        "precisions": ["--calibration", str(tmp_path), "--measure", str(tmp_path)],
        "ood": ["--data", str(tmp_path), "--out", str(tmp_path / "out")],
    }
    assert cli.main([command, str(made[0]), *more[command]]) == 3
    assert "found an encoder alone" in capsys.readouterr().err


def test_every_compiler_that_is_asked_builds_the_graph_and_the_manifest_says_so(made):
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed")
    from engines.tensorrt.gate import verdicts

    found = verdicts(open_bundle(made[0]), capabilities=[(8, 9)])
    assert [(v.graph, v.refusal) for v in found] == [("encoder", "")]


@pytest.mark.parametrize(
    ("changes", "asked", "sentence"),
    [
        ({}, {"colors": None}, "found float colors as input, expected --mean and --std"),
        ({"pooled": False}, {}, "expected .*, one vector a tile"),
        ({"outputs": ("a", "b")}, {}, r"found outputs \['a', 'b'\], expected one"),
        ({"domain": "com.microsoft"}, {}, "found operators of com.microsoft"),
        ({}, {"licence": " "}, "expected the licence"),
        ({}, {"mpp": None}, "expected the spacing that the encoder was trained at"),
        ({}, {"name": "My Net"}, "found 'My Net' as name"),
        ({}, {"mpp": 0.0}, "found 0.0 as input.mpp"),
    ],
)
def test_what_is_no_tile_encoder_is_refused_and_nothing_is_written(
    changes, asked, sentence, tmp_path
):
    source, _ = network(tmp_path, **changes)
    with pytest.raises(TrainingError, match=sentence):
        make_encoder(request(source, tmp_path / "bundle", **asked))
    assert not (tmp_path / "bundle").exists()


def test_a_graph_that_holds_the_number_of_its_example_is_refused(tmp_path):
    source, _ = network(tmp_path, batch=1)
    model = onnx.load(source)
    shape = numpy_helper.from_array(np.array([1, 5], np.int64), "one")
    model.graph.initializer.append(shape)
    model.graph.node[3].CopyFrom(helper.make_node("Reshape", ["pooled", "one"], ["vector"]))
    onnx.save(model, source)
    with pytest.raises(TrainingError, match="does not take any number of tiles"):
        make_encoder(request(source, tmp_path / "bundle"))


def changed(folder, change, **how):
    """The network above after `change(model)`, and its weights."""
    source, weights = network(folder, **how)
    model = onnx.load(source)
    change(model)
    onnx.save(model, source)
    return source, weights


def _renamed(names):
    def change(model):
        for node in model.graph.node:
            for places in (node.input, node.output):
                for at, name in enumerate(places):
                    places[at] = names.get(name, name)
        for tensor in (*model.graph.input, *model.graph.output, *model.graph.initializer):
            tensor.name = names.get(tensor.name, tensor.name)

    return change


def _weights_first_among_inputs(model):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, TILE_PX, TILE_PX])
    weights = helper.make_tensor_value_info("w", TensorProto.FLOAT, [5, 3, 8, 8])
    del model.graph.input[:]
    model.graph.input.extend([weights, image])
    model.ir_version = 3


def _pooled_in_a_branch(model):
    def body(name, operator):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph(
            [helper.make_node(operator, ["positive"], [name])], name, [], [out]
        )

    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    branches = {"then_branch": body("m", "GlobalAveragePool"), "else_branch": body("x", "Abs")}
    node = helper.make_node("If", ["yes"], ["pooled"], **branches)
    model.graph.node[2].CopyFrom(node)


@pytest.mark.parametrize(
    "change",
    [
        _renamed({"maps": "features"}),
        _renamed({"maps": "tiles", "w": "features"}),
        _renamed({"image": "features", "vector": "tiles", "maps": "colors"}),
        _renamed({"w": "net/tiles", "maps": "shift"}),
        _weights_first_among_inputs,
        _pooled_in_a_branch,
    ],
)
def test_names_and_forms_of_a_file_change_no_feature(change, tmp_path):
    source, weights = changed(tmp_path, change)
    bundle = make_encoder(request(source, tmp_path / "bundle"))
    tiles = probe_tiles(TILE_PX)
    found = run_graph(bundle / "encoder.onnx", {"tiles": tiles})["features"]
    assert np.allclose(found, by_hand(tiles, weights), atol=1e-5)


def _of_type(kind):
    def change(model):
        model.graph.node.append(helper.make_node("Cast", ["vector"], ["cast"], to=kind))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("cast", kind, ["N", 5]))

    return change


def _times(value):
    def change(model):
        factor = numpy_helper.from_array(np.array(value, np.float32), "factor")
        model.graph.initializer.append(factor)
        model.graph.node.append(helper.make_node("Mul", ["vector", "factor"], ["times"]))
        model.graph.output[0].name = "times"

    return change


def _side(side):
    def change(model):
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = side
        model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = side

    return change


def _random(model):
    model.graph.node.append(helper.make_node("RandomNormalLike", ["vector"], ["noise"]))
    model.graph.node.append(helper.make_node("Add", ["vector", "noise"], ["sum"]))
    model.graph.output[0].name = "sum"


def _no_operator(model):
    model.graph.output[0].name = "w"


def _later_opset(model):
    model.opset_import[0].version = 99


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_of_type(TensorProto.DOUBLE), "found an output cast that is not float32"),
        (_of_type(TensorProto.INT64), "found an output cast that is not float32"),
        (_times(0.0), "found the same features for noise and for a smooth tile"),
        (_times(np.nan), "no finite numbers for 2 of 2 tiles"),
        (_times(np.inf), "no finite numbers for 2 of 2 tiles"),
        (_side(100_000), "found tiles of 100000 px, expected 32 to 1024"),
        (_side(8), "found tiles of 8 px, expected 32 to 1024"),
        (_random, "or draws at random"),
        (_no_operator, "that no operator computes"),
        (_later_opset, "found opset 99, expected at most"),
    ],
)
def test_features_that_cannot_be_meant_are_refused_with_a_sentence(change, sentence, tmp_path):
    source, _ = changed(tmp_path, change)
    with pytest.raises(TrainingError, match=sentence):
        make_encoder(request(source, tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def test_a_graph_of_sixteen_tiles_at_once_is_refused(tmp_path):
    source, _ = network(tmp_path, batch=16)
    with pytest.raises(TrainingError, match="found a graph of 16 tiles at once, expected any"):
        make_encoder(request(source, tmp_path / "bundle"))


def with_weights_beside(folder, name, weights):
    source, _ = changed(
        folder,
        lambda model: model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w")),
    )
    model = onnx.load(source)
    onnx.save(model, source, save_as_external_data=True, location=name, size_threshold=0)
    return source


def test_weights_in_a_file_of_any_name_are_part_of_the_digest(tmp_path):
    digests = []
    for at in range(2):
        folder = tmp_path / str(at)
        folder.mkdir()
        weights = np.random.default_rng(at).normal(0, 0.3, (5, 3, 8, 8)).astype(np.float32)
        source = with_weights_beside(folder, "any.bin", weights)
        bundle = make_encoder(request(source, folder / "bundle"))
        digests.append(open_bundle(bundle).manifest.training.digest)
        tiles = probe_tiles(TILE_PX)
        found = run_graph(bundle / "encoder.onnx", {"tiles": tiles})["features"]
        assert np.allclose(found, by_hand(tiles, weights), atol=1e-5)
    assert (tmp_path / "0/net.onnx").read_bytes() == (tmp_path / "1/net.onnx").read_bytes()
    assert digests[0] != digests[1]


def test_weights_that_were_not_copied_along_are_missed_by_name(tmp_path):
    source = with_weights_beside(tmp_path, "any.bin", np.ones((5, 3, 8, 8), np.float32))
    (tmp_path / "any.bin").unlink()
    with pytest.raises(TrainingError, match=r"found no file any\.bin beside it"):
        make_encoder(request(source, tmp_path / "bundle"))


def test_a_folder_with_files_is_left_as_it_is(tmp_path):
    source, _ = network(tmp_path)
    with pytest.raises(TrainingError, match="expected a new or empty directory"):
        make_encoder(request(source, tmp_path))


def test_a_file_that_is_no_onnx_gets_a_sentence(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07not a graph")
    with pytest.raises(TrainingError, match="found no ONNX"):
        make_encoder(request(tmp_path / "x.onnx", tmp_path / "bundle"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"outputs": [{"kind": "score"}]}, "outputs"),
        ({"finding": {"code": {"value": "a", "scheme": "b", "meaning": "c"},
                      "reference_cohort": "d"}}, "finding: found some"),
        ({"graphs": {}}, "graphs: expected encoder and aggregator, or encoder alone"),
    ],
)  # fmt: skip
def test_an_encoder_alone_may_claim_no_answer(made, change, sentence):
    content = json.loads((made[0] / "manifest.json").read_text())
    with pytest.raises(BundleRejected, match=sentence):
        manifest_of(content | change)


def test_a_student_without_a_finding_is_refused():
    content = json.loads((open_bundle("default").root / "manifest.json").read_text())
    del content["finding"]
    with pytest.raises(BundleRejected, match="finding: expected one, found none"):
        manifest_of(content)


def test_the_encoder_of_a_bundle_alone_keeps_what_the_bundle_says_of_slides(tmp_path):
    assert cli.main(["encoder", "default", "--out", str(tmp_path / "b"), "--name", "tiles"]) == 0
    before, after = (open_bundle(name).manifest for name in ("default", tmp_path / "b"))
    assert after.is_encoder_alone
    for key in ("input", "applicability", "licence", "status", "manufacturer"):
        assert getattr(after, key) == getattr(before, key), key
    assert after.training.data == before.training.data
    graph = onnx.load(tmp_path / "b" / "encoder.onnx").graph
    assert [tensor.name for tensor in graph.output] == ["features"]
    assert len(graph.node) < len(onnx.load(open_bundle("default").file("encoder.onnx")).graph.node)
    asked = {name for node in graph.node for name in node.input} | {"features"}
    assert all(asked & set(node.output) for node in graph.node), "a head that nobody asks is left"
    assert {tensor.name for tensor in graph.initializer} <= asked
    tiles = np.random.default_rng(5).integers(0, 256, (3, 224, 224, 3), np.uint8)
    with open_encoder("default") as wanted, open_encoder(str(tmp_path / "b")) as found:
        assert np.allclose(found(tiles), wanted(tiles), atol=1e-4)


@pytest.mark.parametrize(("flag", "value"), [("--mpp", "0.25"), ("--licence", "mine")])
def test_what_a_bundle_says_of_its_encoder_is_not_said_otherwise(flag, value, tmp_path, capsys):
    words = ["encoder", "default", "--out", str(tmp_path / "b"), "--name", "x", flag, value]
    assert cli.main(words) == 3
    assert f"found {flag} beside a bundle, expected none" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "b").exists()


def timm_works():
    try:
        import timm  # noqa: F401  # only whether it can be imported
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.skipif(not timm_works(), reason="needs timm and the torchvision of this torch")
def test_a_network_of_timm_becomes_an_encoder_that_says_what_timm_says(tmp_path, capsys):
    import timm

    torch.manual_seed(11)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=0).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    words = ["--out", str(tmp_path / "bundle"), "--name", "small", "--mpp", "1",
             "--licence", "Apache-2.0"]  # fmt: skip
    assert cli.main(["encoder", f"timm:resnet10t@{tmp_path / 'weights.pt'}", *words]) == 0
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert (manifest.status, manifest.input.mpp) == ("research", 1.0)
    assert "From `timm:resnet10t@weights.pt`" in (tmp_path / "bundle" / "card.md").read_text()
    size = manifest.input.tile_px
    tiles = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    config = timm.data.resolve_model_data_config(model)
    with torch.inference_mode():
        pixels = torch.from_numpy(tiles) / 255 - torch.tensor(config["mean"])
        pixels = pixels / torch.tensor(config["std"])
        wanted = model(pixels.permute(0, 3, 1, 2)).numpy()
    found = run_graph(tmp_path / "bundle" / "encoder.onnx", {"tiles": tiles})["features"]
    assert np.allclose(found, wanted, atol=1e-4)


@pytest.mark.skipif(not timm_works(), reason="needs timm and the torchvision of this torch")
def test_random_weights_make_a_fixture_that_says_so(tmp_path):
    make_encoder(request("timm:resnet10t@random", tmp_path / "bundle", colors=None))
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.status == "fixture"
    assert "random" in manifest.training.simulated
