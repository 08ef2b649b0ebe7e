r"""Volume-preserving autoregressive flows on posterior samples.

A cell maps :math:`z \leftarrow z - \mu(z)` where :math:`\mu` at a pixel and channel sees only entries before it in the
(row, column, channel) order; its log-determinant is 0.  A pair is one cell in that order and one in the mirrored order of
pixels.  Source: NVAE (Vahdat and Kautz 2020, section 3.3), whose released networks apply the second ELU twice.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit_nvae.convolution import WeightNormConv2d

__all__ = ["FlowPair", "pixel_mask"]

EXPANSION = 6


def pixel_mask(kernel: int, centre: Tensor, *, mirror: bool) -> Tensor:
    """Return (out, in, kernel, kernel): ones at the taps before the centre, `centre` (out, in) at it, zeros after it."""
    before = (torch.arange(kernel * kernel) < kernel * kernel // 2).to(centre.dtype).view(kernel, kernel)
    mask = before.expand(*centre.shape, kernel, kernel).clone()
    mask[:, :, kernel // 2, kernel // 2] = centre
    return mask.flip(2, 3) if mirror else mask


class MaskedFilters(nn.Module):
    """The hidden layers: a masked 3x3 convolution to 6 channels for each latent channel, ELU, a masked depthwise 5x5."""

    def __init__(self, channels: int, *, mirror: bool) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        block = torch.arange(hidden) // EXPANSION
        earlier = (torch.arange(channels) < block[:, None]).float()
        first = pixel_mask(3, earlier, mirror=mirror)
        second = pixel_mask(5, torch.ones(hidden, 1), mirror=mirror)
        self.convz = nn.Sequential(
            WeightNormConv2d(channels, hidden, 3, bias=False, mask=first),
            nn.ELU(),
            WeightNormConv2d(hidden, hidden, 5, groups=hidden, bias=False, mask=second),
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, L, h, w) -> (B, 6 L, h, w)."""
        y: Tensor = F.elu(self.convz(z))
        return y


class MaskedHead(nn.Module):
    """ELU and a masked 1x1 convolution back to the latent channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        upto = (torch.arange(hidden) // EXPANSION <= torch.arange(channels)[:, None]).float()
        self.conv_0 = WeightNormConv2d(hidden, channels, 1, mask=upto[:, :, None, None], gain=0.1)

    def forward(self, y: Tensor) -> Tensor:
        """(B, 6 L, h, w) -> (B, L, h, w)."""
        mu: Tensor = self.conv_0(F.elu(y))
        return mu


class FlowCell(nn.Module):
    """z - mu(z)."""

    def __init__(self, channels: int, *, mirror: bool) -> None:
        super().__init__()
        self.conv = MaskedFilters(channels, mirror=mirror)
        self.mu = MaskedHead(channels)

    def forward(self, z: Tensor) -> Tensor:
        """(B, L, h, w) -> same shape."""
        mu: Tensor = self.mu(self.conv(z))
        return z - mu


class FlowPair(nn.Module):
    """One cell in raster order, one in the mirrored order."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cell1 = FlowCell(channels, mirror=False)
        self.cell2 = FlowCell(channels, mirror=True)

    def forward(self, z: Tensor) -> Tensor:
        """(B, L, h, w) -> same shape; the log-determinant is 0."""
        y: Tensor = self.cell2(self.cell1(z))
        return y
