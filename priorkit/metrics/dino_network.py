"""The vision transformer of DINOv2 (Oquab et al. 2023), with the names of tensors of the published files.

Pre-normalised blocks whose two branches are scaled per feature, heads of 64, one class token. Its output is the class token
after the last normalisation. Only what a forward pass of images of one size needs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn

from priorkit.errors import UsageError

__all__ = ["DinoNetwork", "DinoShape"]

HEAD = 64
OFFSET = 0.1
"""Added by the authors to the number of patches per side before the positions are interpolated; the published features are
those with it."""
UNUSED = {"mask_token"}
"""Of training only."""


@dataclass(frozen=True)
class DinoShape:
    """The sizes of a network."""

    width: int
    depth: int
    patch: int
    grid: int
    """Positions per side for which it has embeddings."""

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "DinoShape":
        """Return the sizes of a file's tensors. Raises UsageError if they are not of such a network."""
        try:
            positions, patches = state["pos_embed"].shape, state["patch_embed.proj.weight"].shape
        except KeyError as error:
            raise UsageError(f"these are not the weights of a DINOv2: there is no {error}.") from error
        numbers = {int(found[1]) for name in state if (found := re.match(r"blocks\.(\d+)\.", name))}
        grid = isqrt(positions[1] - 1) if len(positions) == 3 else 0
        if positions != (1, grid**2 + 1, positions[-1]) or len(patches) != 4 or positions[2] % HEAD:
            shapes = f"pos_embed {tuple(positions)}, patch_embed {tuple(patches)}"
            raise UsageError(f"these are not the weights of a DINOv2: unexpected shapes ({shapes}).")
        return cls(positions[2], len(numbers), patches[3], grid)


class DinoNetwork(nn.Module):
    """Maps normalised images to features."""

    def __init__(self, shape: DinoShape) -> None:
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.grid**2 + 1, shape.width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch)})
        self.blocks = nn.ModuleList(Block(shape.width) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "DinoNetwork":
        """Return the network with these tensors, frozen. Raises UsageError if they do not fit."""
        with torch.device("meta"):
            network = cls(DinoShape.of(state))
        try:
            network.load_state_dict({name: value for name, value in state.items() if name not in UNUSED}, assign=True)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(f"these are not the weights of a DINOv2 ({said}).") from error
        return network.float().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of images (B, 3, S, S), S a multiple of the patch size: (B, width)."""
        patches = self.patch_embed["proj"](x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).mT], dim=1)
        tokens = tokens + self.positions(patches.shape[-1])
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.norm(tokens[:, 0])
        return features

    def positions(self, side: int) -> Tensor:
        """Return the embeddings of the class token and of side x side patches, (1, side^2 + 1, width)."""
        grid = self.shape.grid
        if side == grid:
            return self.pos_embed
        map_of_positions = self.pos_embed[:, 1:].mT.reshape(1, -1, grid, grid)
        factor = (side + OFFSET) / grid
        resized = nn.functional.interpolate(map_of_positions, scale_factor=(factor, factor), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).mT], dim=1)


class Block(nn.Module):
    """Self-attention, then a perceptron, each added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls1, self.ls2 = Scale(width), Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's result for tokens (B, N, width)."""
        query, key, value = self.attn["qkv"](self.norm1(x)).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.ls1(self.attn["proj"](attended))
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm2(x)))
        added: Tensor = x + self.ls2(self.mlp["fc2"](hidden))
        return added


class Scale(nn.Module):
    """A factor for each feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled tokens."""
        return x * self.gamma
