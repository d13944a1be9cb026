"""HIPT's two stages: shapes, published weights, and regions on the grid of the tiles."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from engines.bundle import open_bundle  # noqa: E402
from engines.tensorrt.gate import CAPABILITIES  # noqa: E402
from engines.tensorrt.libraries import spelled  # noqa: E402
from training import cli  # noqa: E402
from training.bundle.encoder import EncoderRequest, make_encoder  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.hipt.network import Vit4K, Vit256, spread  # noqa: E402
from training.hipt.regions import region_grids, write_regions  # noqa: E402
from training.hipt.weights import RANDOM, drawn, loaded  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.tiles.encoders import open_encoder  # noqa: E402
from training.tiles.feature_files import Origin, read, read_origin, write_h5  # noqa: E402

pytestmark = pytest.mark.timeout(1800)
"""A graph of 87 MB is traced, compared and compiled: minutes on a busy machine."""
ORIGIN = Origin("s", "0", "vit256", "1", "engine", 0.5, 0.05, 256, 0.25, 512, 40, 40, "2")


@pytest.fixture(scope="module")
def second():
    return loaded(Vit4K(), RANDOM)


def test_shapes_and_sizes_are_those_of_the_paper(second):
    first = loaded(Vit256(), RANDOM)
    with torch.inference_mode():
        assert first(torch.zeros(1, 256, 256, 3, dtype=torch.uint8)).shape == (1, 384)
        assert second(torch.zeros(2, 16, 16, 384)).shape == (2, 192)
    sizes = [sum(p.numel() for p in stage.parameters()) / 1e6 for stage in (first, second)]
    assert sizes == pytest.approx([21.7, 2.78], abs=0.05)


def published(network, folder):
    """A checkpoint as DINO writes it, and its positions at 14 x 14."""
    state = {f"module.backbone.{k}": v for k, v in network.state_dict().items()}
    width = network.pos_embed.shape[-1]
    positions = torch.randn(1, 197, width, generator=torch.Generator().manual_seed(5))
    state["module.backbone.pos_embed"] = positions
    state["module.head.mlp.0.weight"] = torch.zeros(1)
    torch.save({"teacher": state, "epoch": 3}, folder / "checkpoint.pth")
    return folder / "checkpoint.pth", positions


def test_a_published_checkpoint_is_read_and_its_positions_are_spread(tmp_path, second):
    file, positions = published(second, tmp_path)
    found = loaded(Vit4K(), str(file))
    assert torch.equal(found.phi[0].weight, second.phi[0].weight)
    assert found.pos_embed.shape == (1, 257, 192)
    assert torch.equal(found.pos_embed[:, 0], positions[:, 0])
    even = torch.full((1, 197, 192), 0.25)
    assert torch.allclose(spread(even), torch.full((1, 257, 192), 0.25))


def test_the_weights_of_the_other_stage_are_refused(tmp_path, second):
    file, _ = published(second, tmp_path)
    with pytest.raises(TrainingError, match="found no weights of Vit256"):
        loaded(Vit256(), str(file))


def test_random_weights_are_those_of_their_seed_whatever_was_drawn_before():
    first, again, other = (drawn(Vit4K(), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pos_embed"], other["pos_embed"])


@pytest.fixture(scope="module")
def random_bundle(tmp_path_factory):
    """The first stage as a bundle, random weights."""
    out = tmp_path_factory.mktemp("hipt") / "bundle"
    words = ["--out", str(out), "--name", "vit256", "--licence", "none: random", "--mpp", "0.5"]
    assert cli.main(["encoder", "hipt:random", *words]) == 0
    return out


def test_the_first_stage_is_a_bundle_of_an_encoder_that_gives_what_the_network_gives(random_bundle):
    manifest = open_bundle(random_bundle).manifest
    assert (manifest.status, manifest.input.tile_px, manifest.input.mpp) == ("fixture", 256, 0.5)
    assert "random" in manifest.training.simulated
    (features,) = manifest.graphs["encoder"].outputs
    assert features.shape == ("N", 384)
    tiles = np.random.default_rng(2).integers(0, 256, (5, 256, 256, 3), np.uint8)
    with torch.inference_mode():
        wanted = loaded(Vit256(), RANDOM)(torch.from_numpy(tiles)).numpy()
    assert np.ptp(wanted, axis=0).max() > 0.01, "no tile differs from another: no test"
    with open_encoder(str(random_bundle)) as encoder:
        assert np.allclose(encoder(tiles), wanted, atol=1e-3)


def test_a_compiler_of_gpus_builds_the_first_stage_and_the_manifest_names_it(random_bundle):
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed")
    named = {c.capability for c in open_bundle(random_bundle).manifest.compilers}
    assert named == {spelled(capability) for capability in CAPABILITIES}


def test_a_published_checkpoint_of_the_first_stage_becomes_a_bundle_for_research(tmp_path):
    file, _ = published(drawn(Vit256(), 9), tmp_path)
    make_encoder(EncoderRequest(f"hipt:{file}", tmp_path / "out", "v", licence="Apache", mpp=0.5))
    manifest = open_bundle(tmp_path / "out").manifest
    assert (manifest.status, manifest.training.simulated) == ("research", "")
    assert "hipt:checkpoint.pth" in (tmp_path / "out" / "card.md").read_text()
    assert str(tmp_path) not in (tmp_path / "out" / "card.md").read_text()
    tiles = np.random.default_rng(2).integers(0, 256, (1, 256, 256, 3), np.uint8)
    with torch.inference_mode():
        wanted = loaded(Vit256(), str(file))(torch.from_numpy(tiles)).numpy()
    found = run_graph(tmp_path / "out" / "encoder.onnx", {"tiles": tiles})["features"]
    assert np.allclose(found, wanted, atol=1e-4)


def test_weights_that_are_none_of_the_first_stage_leave_nothing(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"no weights")
    asked = EncoderRequest(f"hipt:{tmp_path / 'x.pth'}", tmp_path / "out", "v", licence="x", mpp=1)
    with pytest.raises(TrainingError, match="found no weights of Vit256"):
        make_encoder(asked)
    assert not (tmp_path / "out").exists()


def timm_works():
    try:
        import timm  # noqa: F401  # only whether it can be imported
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.skipif(not timm_works(), reason="needs timm and the torchvision of this torch")
def test_the_first_stage_is_the_vision_transformer_of_timm():
    import timm

    other = timm.create_model("vit_small_patch16_224", num_classes=0, img_size=256).eval()
    mine = Vit256().eval()
    mine.load_state_dict(other.state_dict())
    tiles = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = other((tiles.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
        assert torch.allclose(mine(tiles), wanted, atol=1e-4)


def test_a_tile_lies_at_its_place_in_its_region_and_what_is_missing_is_glass():
    places = np.array([[row, col] for row in range(16, 32) for col in range(16) if col < 9])
    sparse = np.array([[0, 0]])
    feats = np.arange(145, dtype=np.float32)[:, None] * np.ones(384, np.float32)
    glass = np.full(384, -1, np.float32)
    grids, first = region_grids(feats, np.concatenate([places, sparse]), glass)
    assert first.tolist() == [[16, 0]]  # the other has one tile of 256
    assert grids.shape == (1, 16, 16, 384)
    assert grids[0, 3, 5, 0] == 3 * 9 + 5
    assert (grids[0, :, 9:] == -1).all()


def test_the_file_of_regions_says_what_made_it_and_where_they_lie(tmp_path, second):
    rows, cols = np.divmod(np.arange(32 * 32), 32)
    feats = np.random.default_rng(0).normal(size=(1024, 384)).astype(np.float32)
    write_h5(tmp_path / "a.h5", feats, np.stack([cols, rows], axis=1) * 512, ORIGIN)
    glass = np.zeros(384, np.float32)
    assert write_regions(tmp_path / "a.h5", tmp_path / "out.h5", second, glass, "d" * 64) == 4
    found, origin = read(tmp_path / "out.h5", width=192), read_origin(tmp_path / "out.h5")
    assert found.coords.tolist() == [[0, 0], [8192, 0], [0, 8192], [8192, 8192]]
    assert (origin.tile_px, origin.encoder_digest) == (4096, "d" * 64)
    corner = feats.reshape(32, 32, 384)[:16, 16:]
    with torch.inference_mode():
        wanted = second(torch.from_numpy(np.ascontiguousarray(corner))[None])[0].numpy()
    assert np.allclose(found.feats[1], wanted, atol=1e-5)
    write_h5(tmp_path / "b.h5", feats[:5], np.stack([cols, rows], axis=1)[:5] * 512, ORIGIN)
    with pytest.raises(TrainingError, match="found no region with tissue in half"):
        write_regions(tmp_path / "b.h5", tmp_path / "no.h5", second, glass, "d")
