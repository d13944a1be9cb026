"""HIPT's two stages: shapes, published weights, and regions on the grid of the tiles."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from training.errors import TrainingError  # noqa: E402
from training.hipt.network import Vit4K, Vit256, spread  # noqa: E402
from training.hipt.regions import region_grids, write_regions  # noqa: E402
from training.hipt.weights import RANDOM, loaded  # noqa: E402
from training.tiles.feature_files import Origin, read, read_origin, write_h5  # noqa: E402

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
