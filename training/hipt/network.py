"""The two networks of HIPT (Chen et al., CVPR 2022): tiles of 256 px, and regions of 16 x 16 tiles.

    ViT-256   ViT-S/16 on a tile [256, 256, 3]: 256 patches and a class token, 384 wide
    ViT-4K    6 blocks, 192 wide, on the 16 x 16 class tokens of a region of 4096 px

Both were trained by DINO at 14 x 14 places and are used at 16 x 16: positions are spread once,
when weights are loaded. Names of parameters are those of the published checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

TILE_PX = 256
REGION_TILES = 16
"""Tiles along the side of a region: 4096 px."""
TILE_WIDTH, REGION_WIDTH = 384, 192
TRAINED_PLACES = 14
_PATCH = 16
_HEADS = 6
COLOR = 0.5
"""Mean and deviation of the colors / 255 that both stages were trained with."""


class Attention(nn.Module):
    """Self-attention of six heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, L, W]."""
        count, length, width = x.shape
        parts = self.qkv(x).reshape(count, length, 3, _HEADS, width // _HEADS)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        found = scaled_dot_product_attention(q, k, v).transpose(1, 2)
        mixed: Tensor = self.proj(found.reshape(count, length, width))
        return mixed


class Mlp(nn.Module):
    """Two layers, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, L, W]."""
        found: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return found


class Block(nn.Module):
    """A block of a vision transformer, norms first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = Attention(width), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, L, W]."""
        x = x + self.attn(self.norm1(x))
        found: Tensor = x + self.mlp(self.norm2(x))
        return found


class _Transformer(nn.Module):
    """Class token and positions before the blocks, its norm after them."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + REGION_TILES**2, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def _class(self, tokens: Tensor) -> Tensor:
        """The class token [N, W] of tokens [N, 256, W]."""
        first = self.cls_token + torch.zeros_like(tokens[:, :1])
        x = torch.cat([first, tokens], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.norm(x)[:, 0]
        return found


class Vit256(_Transformer):
    """A tile to its class token."""

    def __init__(self) -> None:
        super().__init__(TILE_WIDTH, 12)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, TILE_WIDTH, _PATCH, _PATCH)})

    def forward(self, tiles: Tensor) -> Tensor:
        """Features [N, 384] of tiles uint8 [N, 256, 256, 3]."""
        colors = (tiles.permute(0, 3, 1, 2).float() / 255 - COLOR) / COLOR
        return self._class(self.patch_embed["proj"](colors).flatten(2).transpose(1, 2))


class Vit4K(_Transformer):
    """The class tokens of a region's tiles to the region's."""

    def __init__(self) -> None:
        super().__init__(REGION_WIDTH, 6)
        self.phi = nn.Sequential(nn.Linear(TILE_WIDTH, REGION_WIDTH), nn.GELU())

    def forward(self, grid: Tensor) -> Tensor:
        """Features [R, 192] of regions [R, 16, 16, 384], rows first."""
        return self._class(self.phi(grid.flatten(1, 2)))


def spread(positions: Tensor) -> Tensor:
    """Positions [1, 1 + 16 * 16, W] of those at 14 x 14 places, the class's own kept."""
    width = positions.shape[-1]
    grid = positions[:, 1:].reshape(1, TRAINED_PLACES, TRAINED_PLACES, width).permute(0, 3, 1, 2)
    size = (REGION_TILES, REGION_TILES)
    wide = interpolate(grid, size=size, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], wide.flatten(2).transpose(1, 2)], dim=1)
