"""Residual cells: out = skip(x) + 0.1 * squeeze_excite(operations(x)), and the tables that name their operations."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit.errors import UsageError
from priorkit_nvae.convolution import WeightNormConv2d
from priorkit_nvae.operations import Resize, operation
from priorkit_nvae.recompute import recomputed
from priorkit_nvae.small_maps import convolve

__all__ = ["CELL_TABLES", "Cell", "CellFactory"]

_ELU, _BN_ELU, _SWISH = ("res_elu",) * 2, ("res_bnelu",) * 2, ("res_bnswish",) * 2
_E6K5, _E3K5, _E3K5G8, _E6K11 = ("mconv_e6k5g0",), ("mconv_e3k5g0",), ("mconv_e3k5g8",), ("mconv_e6k11g0",)
_SWISH_53, _SWISH_35 = ("res_bnswish5", "res_bnswish"), ("res_bnswish", "res_bnswish5")
_SWISH_55 = ("res_bnswish5", "res_bnswish5")

CELL_TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    name: dict(zip(("enc", "dec", "pre", "post"), row, strict=True))
    for name, row in {
        "res_elu": (_ELU, _ELU, _ELU, _ELU),
        "res_bnelu": (_BN_ELU, _BN_ELU, _BN_ELU, _BN_ELU),
        "res_bnswish": (_SWISH, _SWISH, _SWISH, _SWISH),
        "res_mbconv": (_SWISH, _E6K5, _SWISH, _E3K5),
        "mbconv_sep": (_E6K5, _E6K5, _E3K5, _E3K5),
        "mbconv_sep11": (_E6K11, _E6K11, _E3K5, _E3K5),
        "mbconv_den": (_E6K5, _E6K5, _E3K5G8, _E3K5G8),
        "mbconv_res": (_E6K5, _SWISH, _E3K5, _SWISH),
        "res53_mbconv": (_SWISH_53, _E6K5, _SWISH_53, _E3K5),
        "res35_mbconv": (_SWISH_35, _E6K5, _SWISH_35, _E3K5),
        "res55_mbconv": (_SWISH_55, _E6K5, _SWISH_55, _E3K5),
    }.items()
}
"""For each `arch_instance` the operations of encoder, decoder, pre- and post-processing cells."""


class SqueezeExcite(nn.Module):
    """Channel gates from the spatial means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 4)
        self.se = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape."""
        gates: Tensor = self.se(x.mean((2, 3)))
        return x * gates[:, :, None, None]


_TAPS = [0, 1, 0, 1], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]
"""Zeros left of, right of, above and below a phase's tap: phases (0, 0), (1, 1), (0, 1) and (1, 0) of row and column."""


class HalvingSkip(nn.Module):
    """Swish, then four 1x1 convolutions with stride 2, each on one of the four phases of the pixel grid."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        quarter = c_out // 4
        self.conv_1 = WeightNormConv2d(c_in, quarter, 1, stride=2)
        self.conv_2 = WeightNormConv2d(c_in, quarter, 1, stride=2)
        self.conv_3 = WeightNormConv2d(c_in, quarter, 1, stride=2)
        self.conv_4 = WeightNormConv2d(c_in, c_out - 3 * quarter, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H / 2, W / 2)."""
        # Each is one tap of a 2x2 convolution: one call with zeros at the other taps is faster than four.
        convs = self.conv_1, self.conv_2, self.conv_3, self.conv_4
        taps = [F.pad(conv.effective_weight(), tap) for conv, tap in zip(convs, _TAPS, strict=True)]
        biases = [conv.bias for conv in convs if conv.bias is not None]
        return convolve(F.silu(x), torch.cat(taps), torch.cat(biases), stride=2, padding=0)


class DoublingSkip(nn.Sequential):
    """Bilinear upsampling and a 1x1 convolution without bias, which commute: the convolution is applied first, to a quarter
    of the pixels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(nn.UpsamplingBilinear2d(scale_factor=2), WeightNormConv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, 2 H, 2 W)."""
        upsample, convolution = self
        y: Tensor = upsample(convolution(x))
        return y


def _skip(c_in: int, c_out: int, resize: Resize) -> nn.Module:
    if resize == "down":
        return HalvingSkip(c_in, c_out)
    if resize == "up":
        return DoublingSkip(c_in, c_out)
    return nn.Identity()


class Cell(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, H', W'): "same" keeps width and size, "down" doubles the width and halves the size,
    "up" the reverse."""

    def __init__(
        self, operations: tuple[str, ...], width: int, resize: Resize, *, use_se: bool, recompute: bool = False
    ) -> None:
        super().__init__()
        self.recompute = recompute
        out = {"same": width, "down": 2 * width, "up": width // 2}[resize]
        first, *rest = operations
        layers = [operation(first, width, out, resize), *(operation(name, out, out, "same") for name in rest)]
        self.skip = _skip(width, out, resize)
        self._ops = nn.ModuleList(layers)
        self.se = SqueezeExcite(out) if use_se else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the skip path plus a tenth of the residual path."""
        return recomputed(self, self._out, x) if self.recompute and torch.is_grad_enabled() else self._out(x)

    def _out(self, x: Tensor) -> Tensor:
        y = x
        for layer in self._ops:
            y = layer(y)
        if self.se is not None:
            y = self.se(y)
        skip: Tensor = self.skip(x)
        return torch.add(skip, y, alpha=0.1)


class CellFactory:
    """Creates the cells of one cell table."""

    def __init__(self, arch_instance: str, *, use_se: bool, recompute: bool = False) -> None:
        if arch_instance not in CELL_TABLES:
            raise UsageError(f"nvae: arch_instance {arch_instance!r} is unknown; choose one of {', '.join(CELL_TABLES)}.")
        self._table = CELL_TABLES[arch_instance]
        self._options = {"use_se": use_se, "recompute": recompute}

    def __call__(self, kind: str, width: int, resize: Resize = "same") -> Cell:
        """Return a cell of kind enc, dec, pre or post with `width` input channels."""
        return Cell(self._table[kind], width, resize, **self._options)
