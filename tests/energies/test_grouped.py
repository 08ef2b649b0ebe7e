"""Networks computed together give what they give one after the other, and follow their parameters.

Double precision, sums in another order: 1e-12.
"""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priorkit.core import Layout, frozen
from priorkit.energies import EnergySettings, build_energy
from priorkit.energies.grouped import runs_of_equals

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SETTINGS = EnergySettings(network="conv", coupling="separable", channels=3)


def energy(shapes):
    torch.manual_seed(0)
    return build_energy(SETTINGS, Layout(tuple(shapes))).double()


def noise(net, rows, seed=0):
    return torch.randn(rows, net.layout.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def value_and_gradient(function, x):
    leaf = x.clone().requires_grad_()
    value = function(leaf)
    return value.detach(), torch.autograd.grad(value.square().sum(), leaf)[0]


@settings(max_examples=12, deadline=None)
@given(
    shapes=st.lists(st.sampled_from([(2, 4, 4), (2, 8, 8), (1, 8, 8), (2, 16, 16)]), min_size=1, max_size=5),
    rows=st.integers(1, 4),
)
def test_together_is_one_after_the_other(shapes, rows):
    net = energy(shapes)
    x = noise(net, rows)
    with frozen(net):
        for a, b in zip(value_and_gradient(net, x), value_and_gradient(net.separately, x), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net.separately(x), **CLOSE)


def test_filters_follow_the_parameters():
    net = energy([(2, 8, 8), (2, 8, 8)])
    x = noise(net, 2)
    with torch.no_grad():
        first = net(x)
        torch.testing.assert_close(net(x), first, rtol=0, atol=0)
        list(net.parameters())[-1].add_(1.0)
        torch.testing.assert_close(net(x)[:, 1], first[:, 1] + 1, **CLOSE)
        net.load_state_dict({name: 2 * value for name, value in net.state_dict().items()})
        assert not torch.allclose(net(x), first)
        torch.testing.assert_close(net(x), net.separately(x), **CLOSE)
        twin = deepcopy(net)
        next(twin.parameters()).add_(1.0)
        torch.testing.assert_close(twin(x), twin.separately(x), **CLOSE)
        torch.testing.assert_close(net(x), net.separately(x), **CLOSE)


def test_learning_networks_get_their_gradients():
    net = energy([(2, 8, 8), (2, 8, 8)])
    net(noise(net, 2)).sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.abs().sum()) for parameter in net.parameters())


@pytest.mark.parametrize(
    ("items", "expected"),
    [(["a"], [(0, 1)]), (["a", "a", "b", "a"], [(0, 2), (2, 3), (3, 4)]), (["a", "b", "b"], [(0, 1), (1, 3)])],
)
def test_runs(items, expected):
    assert [(run.start, run.stop) for run in runs_of_equals(items)] == expected
