r"""Weight-normalised convolutions.

The filter of output channel o is :math:`e^{g_o} v_o / (\lVert v_o \rVert + 10^{-5})` with the stored `weight` v and
`log_weight_norm` g. Frozen filters are computed once and stored.
"""

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit_nvae.collective import average
from priorkit_nvae.folding import folding_allowed
from priorkit_nvae.small_maps import convolve

__all__ = ["DataInitialisedConv2d", "WeightNormConv2d", "normalised"]

NORM_EPS = 1e-5


def normalised(filters: Tensor, log_norms: Tensor) -> Tensor:
    """Return filters (..., out, rest) rescaled to norms exp(log_norms), log_norms (..., out)."""
    norms = torch.linalg.vector_norm(filters, dim=-1, keepdim=True)
    scales: Tensor = log_norms.exp().unsqueeze(-1) / (norms + NORM_EPS)
    return filters * scales


class WeightNormConv2d(nn.Conv2d):
    """A convolution with zero padding that preserves the size; `mask` (shaped as the weight) zeroes taps before
    normalisation."""

    log_weight_norm: nn.Parameter
    mask: Tensor | None
    lent: Tensor | None = None
    """The filters to apply, if `FilterBanks.shared` has computed them."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        mask: Tensor | None = None,
        gain: float = 1.0,
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(c_in, c_out, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)
        self.register_buffer("mask", mask, persistent=False)
        norms = torch.linalg.vector_norm(self.masked_filters().detach(), dim=1)
        self.log_weight_norm = nn.Parameter(((norms + 1e-2).log() + log(gain)).view(-1, 1, 1, 1))
        self._geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self._kept: tuple[tuple[int, ...], Tensor] | None = None

    def masked_filters(self) -> Tensor:
        """Return the stored filters (out, rest), without the taps excluded by the mask."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        return weight.flatten(1)

    def effective_weight(self) -> Tensor:
        """Return the applied filters, of the weight's shape; stored while they are frozen."""
        if self.lent is not None:
            return self.lent
        learning = torch.is_grad_enabled() and (self.weight.requires_grad or self.log_weight_norm.requires_grad)
        if self.training or learning or not folding_allowed():
            return self._compute_weight()
        parts = (self.weight, self.log_weight_norm)
        key = tuple(number for part in parts for number in (part.data_ptr(), part._version))
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, self._compute_weight())
        return self._kept[1]

    def _compute_weight(self) -> Tensor:
        return normalised(self.masked_filters(), self.log_weight_norm.flatten()).view_as(self.weight)

    def train(self, mode: bool = True) -> "WeightNormConv2d":
        """Discard the stored filters: when the mode changes, something else may have changed."""
        self._kept = None
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H / stride, W / stride)."""
        return convolve(x, self.effective_weight(), self.bias, **self._geometry)


class DataInitialisedConv2d(WeightNormConv2d):
    """Chooses bias and norms on the first batch after `pending` is set, so that each output channel has mean 0 and
    standard deviation 1/5 on it."""

    pending = False

    def forward(self, x: Tensor) -> Tensor:
        """Apply the base's convolution; a pending layer is first initialised from x."""
        if self.pending:
            self._initialise(x)
        return super().forward(x)

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        unit = normalised(self.masked_filters(), torch.zeros_like(self.log_weight_norm.flatten())).view_as(self.weight)
        y = F.conv2d(x, unit, None, self.stride, self.padding, self.dilation, self.groups)
        std, mean = torch.std_mean(y, dim=(0, 2, 3))
        mean, std = average(mean), average(5 * std)
        if self.bias is not None:
            self.bias.copy_(-mean / (std + NORM_EPS))
        self.log_weight_norm.copy_(-(std + NORM_EPS).log().view(-1, 1, 1, 1))
        self.pending = False
