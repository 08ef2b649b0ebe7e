"""The stacks of cells: pre-processing, encoder tower, decoder tower, post-processing.

The order of the entries is that of the published file format.
"""

import torch
from torch import Tensor, nn

from priorkit_nvae.cells import CellFactory
from priorkit_nvae.convolution import WeightNormConv2d
from priorkit_nvae.folding import like_format
from priorkit_nvae.geometry import Geometry
from priorkit_nvae.settings import NvaeSettings

__all__ = ["DecoderCombiner", "EncoderCombiner", "decoder_tower", "encoder_tower", "postprocessing", "preprocessing"]


class EncoderCombiner(nn.Module):
    """Adds the decoder's feature to an encoder feature."""

    def __init__(self, decoder_width: int, encoder_width: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(decoder_width, encoder_width, 1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """(B, Ce, h, w) and (B, Cd, h, w) -> (B, Ce, h, w)."""
        added: Tensor = self.conv(decoder)
        return encoder + added


class DecoderCombiner(nn.Module):
    """Mixes a group's latents into the decoder feature."""

    def __init__(self, width: int, latent_channels: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(width + latent_channels, width, 1)

    def forward(self, feature: Tensor, z: Tensor) -> Tensor:
        """(B, Cd, h, w) and (B, L, h, w) -> (B, Cd, h, w)."""
        # Tensors of two memory formats would be concatenated in neither.
        y: Tensor = self.conv(torch.cat([feature, like_format(z.to(feature.dtype), feature)], dim=1))
        return y


def preprocessing(settings: NvaeSettings, cell: CellFactory) -> nn.ModuleList:
    """Return cells that halve the resolution and double the width once per block."""
    cells = nn.ModuleList()
    for block in range(settings.num_preprocess_blocks):
        width = settings.num_channels_enc * 2**block
        cells.extend(cell("pre", width) for _ in range(settings.num_preprocess_cells - 1))
        cells.append(cell("pre", width, "down"))
    return cells


def encoder_tower(settings: NvaeSettings, geometry: Geometry, cell: CellFactory) -> nn.ModuleList:
    """Return cells from the highest latent resolution up to the top group, with a combiner for each group below the top."""
    tower = nn.ModuleList()
    last = len(geometry.groups) - 1
    for scale, groups in enumerate(geometry.groups):
        multiplier = geometry.multiplier(scale)
        width = settings.num_channels_enc * multiplier
        for group in range(groups):
            tower.extend(cell("enc", width) for _ in range(settings.num_cell_per_cond_enc))
            if (scale, group) != (last, groups - 1):
                tower.append(EncoderCombiner(settings.num_channels_dec * multiplier, width))
        if scale < last:
            tower.append(cell("enc", width, "down"))
    return tower


def decoder_tower(settings: NvaeSettings, geometry: Geometry, cell: CellFactory) -> nn.ModuleList:
    """Return cells from the top group down to the highest latent resolution, with one combiner per group."""
    tower = nn.ModuleList()
    last = len(geometry.groups) - 1
    for scale in reversed(range(last + 1)):
        width = settings.num_channels_dec * geometry.multiplier(scale)
        for group in range(geometry.groups[scale]):
            if (scale, group) != (last, 0):
                tower.extend(cell("dec", width) for _ in range(settings.num_cell_per_cond_dec))
            tower.append(DecoderCombiner(width, geometry.latent_channels))
        if scale > 0:
            tower.append(cell("dec", width, "up"))
    return tower


def postprocessing(settings: NvaeSettings, cell: CellFactory) -> nn.ModuleList:
    """Return cells that double the resolution and halve the width once per block."""
    cells = nn.ModuleList()
    for block in range(settings.num_postprocess_blocks):
        width = settings.num_channels_dec * 2 ** (settings.num_preprocess_blocks - block)
        cells.append(cell("post", width, "up"))
        cells.extend(cell("post", width // 2) for _ in range(settings.num_postprocess_cells - 1))
    return cells
