"""Energy networks: shapes, the zero start, and what coupling means."""

import pytest
import torch
from torch import nn

from priorkit.core import Layout
from priorkit.energies import EnergySettings, build_energy
from priorkit.errors import UsageError

VECTORS = Layout(((3,), (5,)))
MAPS = Layout(((2, 4, 4), (2, 8, 8)))
CASES = [
    (VECTORS, "mlp"),
    (VECTORS, "fourier"),
    (VECTORS, "auto"),
    (MAPS, "mlp"),
    (MAPS, "local"),
    (MAPS, "conv"),
    (MAPS, "residual"),
    (MAPS, "auto"),
]


@pytest.mark.parametrize("coupling", ["coupled", "separable"])
@pytest.mark.parametrize(("layout", "network"), CASES)
def test_shapes_and_zero_start(layout, network, coupling):
    settings = EnergySettings(coupling=coupling, network=network, width=16, channels=8, blocks=1)
    energy = build_energy(settings, layout, zero=True)
    x = torch.randn(6, layout.dim, requires_grad=True)
    logits = energy(x)
    assert logits.shape == (6, 1 if coupling == "coupled" else len(layout))
    assert torch.equal(logits, torch.zeros_like(logits))
    assert build_energy(settings, layout)(x).abs().sum() > 0


@pytest.mark.parametrize(("coupling", "expected"), [("separable", 0.0), ("coupled", None)])
def test_only_coupled_energies_have_mixed_derivatives(coupling, expected):
    """The second derivative across two layers is exactly 0 for a sum of functions of one layer each."""
    torch.manual_seed(0)
    energy = build_energy(EnergySettings(coupling=coupling, width=16), VECTORS).double()
    hessian = torch.autograd.functional.hessian(lambda x: energy(x[None]).sum(), torch.randn(8, dtype=torch.float64))
    across = hessian[:3, 3:].abs().max().item()
    assert across == expected if expected is not None else across > 1e-4


def test_convolutions_refuse_other_maps():
    with pytest.raises(UsageError, match="square maps"):
        build_energy(EnergySettings(network="conv"), Layout(((2, 6, 6),)))


def test_local_energies_are_sums_of_neighbourhoods():
    """Entries further apart than the receptive field (1 + 2 (1 + depth)) have no mixed derivative, nearer ones have."""
    torch.manual_seed(0)
    layout = Layout(((1, 12, 12),))
    energy = build_energy(EnergySettings(network="local", channels=4, depth=1, coupling="separable"), layout).double()
    hessian = torch.autograd.functional.hessian(lambda x: energy(x[None]).sum(), torch.randn(144, dtype=torch.float64))
    first = hessian[0].view(12, 12)
    assert bool((first[5:, :] == 0).all()) and bool((first[:, 5:] == 0).all())
    assert float(first[4, 4].abs()) > 0


def test_auto_couples_few_latents_alone():
    few, many = Layout(((128,), (128,))), Layout(((128,), (129,)))
    settings = EnergySettings(width=8)
    assert build_energy(settings, few)(torch.randn(3, 256)).shape == (3, 1)
    assert build_energy(settings, many)(torch.randn(3, 257)).shape == (3, 2)


@pytest.mark.parametrize(("name", "kind"), [("silu", nn.SiLU), ("gelu", nn.GELU), ("leaky_relu", nn.LeakyReLU)])
@pytest.mark.parametrize("coupling", ["separable", "coupled"])
def test_hidden_layers_have_the_activation_that_is_asked_for(coupling, name, kind):
    settings = EnergySettings(coupling=coupling, network="mlp", width=8, depth=2, activation=name)
    net = build_energy(settings, Layout(((4,), (3,))))
    active = [layer for layer in net.modules() if isinstance(layer, nn.SiLU | nn.GELU | nn.LeakyReLU)]
    assert active and all(type(layer) is kind for layer in active)
    assert all(layer.negative_slope == 0.2 for layer in active if isinstance(layer, nn.LeakyReLU))
