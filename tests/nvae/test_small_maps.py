"""Convolutions as one matrix product are torch's convolutions, with their gradients.

Double precision; sums in another order: 1e-10.
"""

import pytest
import torch
from priorkit_nvae import small_maps
from priorkit_nvae.folding import unfolded
from priorkit_nvae.small_maps import convolve
from torch.nn import functional as F

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
PRODUCTS = [
    (1, 1, 1, 0),
    (7, 1, 1, 0),
    (1, 3, 1, 1),
    (2, 3, 1, 1),
    (2, 3, 2, 1),
    (2, 2, 2, 0),
    (4, 2, 2, 0),
    (6, 3, 3, 0),
    (3, 5, 1, 2),
    (2, 5, 1, 2),
]
"""Side of the map, side of the filter, stride, border."""
OTHERS = [(3, 3, 1, 1), (4, 3, 2, 1), (5, 2, 2, 0), (4, 1, 2, 0), (2, 1, 2, 0), (2, 2, 1, 1), (4, 5, 1, 2)]


def tensors(size, kernel, batch=5):
    torch.manual_seed(0)
    shapes = (batch, 3, size, size), (4, 3, kernel, kernel), (4,)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), PRODUCTS + OTHERS)
def test_value_and_gradients(size, kernel, stride, padding):
    given = tensors(size, kernel)
    y = F.conv2d(*given, stride, padding)
    slope = torch.randn_like(y)
    for form in (torch.contiguous_format, torch.channels_last):
        x, weight, bias = given
        found = convolve(x.contiguous(memory_format=form), weight, bias, stride=stride, padding=padding)
        torch.testing.assert_close(found, y, **CLOSE)
        grads = [torch.autograd.grad(value, given, slope, retain_graph=True) for value in (found, y)]
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize(
    ("options", "product"), [(given, True) for given in PRODUCTS] + [(given, False) for given in OTHERS]
)
def test_which_are_products(options, product, monkeypatch):
    size, kernel, stride, padding = options
    called = []
    monkeypatch.setattr(small_maps.F, "conv2d", lambda *given: called.append(given))
    convolve(*tensors(size, kernel), stride=stride, padding=padding)
    assert not called if product else called


def test_groups_dilation_rectangles_and_the_reference_are_torch_s():
    x, _, _ = tensors(1, 3)
    grouped = torch.randn(6, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(
        convolve(x, grouped, None, stride=1, padding=1, groups=3), F.conv2d(x, grouped, None, 1, 1, 1, 3)
    )
    for map_, kernel, padding, dilation in ((x, 3, 2, 2), (torch.randn(2, 3, 2, 1, dtype=torch.float64), 3, 1, 1)):
        weight = torch.randn(4, 3, kernel, kernel, dtype=torch.float64)
        torch.testing.assert_close(
            convolve(map_, weight, None, stride=1, padding=padding, dilation=dilation),
            F.conv2d(map_, weight, None, 1, padding, dilation),
        )
    with unfolded():
        given = tensors(2, 3)
        assert torch.equal(convolve(*given, stride=1, padding=1), F.conv2d(*given, 1, 1))


def test_channels_last_stay_last():
    for size, kernel, stride in ((2, 3, 1), (7, 1, 1), (4, 2, 2)):
        x, weight, bias = tensors(size, kernel)
        last = x.contiguous(memory_format=torch.channels_last)
        y = convolve(last, weight, bias, stride=stride, padding=(kernel - 1) // 2)
        assert y.is_contiguous(memory_format=torch.channels_last)
