"""The skip paths that change the resolution against their plain layers, in double precision."""

import torch
from priorkit_nvae.cells import CellFactory
from torch.nn import functional as F

CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def skip(resize, width):
    torch.manual_seed(0)
    made = CellFactory("res_bnswish", use_se=False)("enc", width, resize).double().skip
    return made, torch.randn(2, width, 6, 8, dtype=torch.float64, requires_grad=True)


def same(made, x, found, expected):
    """Values and gradients."""
    torch.testing.assert_close(found, expected, **CLOSE)
    weights = torch.randn_like(found)
    leaves = [x, *made.parameters()]
    for a, b in zip(*(torch.autograd.grad((weights * y).sum(), leaves) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_halving_takes_each_phase_of_the_grid_once():
    made, x = skip("down", 5)
    a = F.silu(x)
    phases = a[:, :, ::2, ::2], a[:, :, 1::2, 1::2], a[:, :, ::2, 1::2], a[:, :, 1::2, ::2]
    convs = made.conv_1, made.conv_2, made.conv_3, made.conv_4
    parts = [F.conv2d(p, conv.effective_weight(), conv.bias) for conv, p in zip(convs, phases, strict=True)]
    same(made, x, made(x), torch.cat(parts, dim=1))


def test_doubling_interpolates_then_mixes_channels():
    made, x = skip("up", 6)
    upsample, convolution = made
    same(made, x, made(x), convolution(upsample(x)))
    assert list(made.state_dict()) == ["1.weight", "1.log_weight_norm"]
