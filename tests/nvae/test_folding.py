"""A frozen network with its normalisations folded computes what the layers compute one by one.

Double precision; folding multiplies in another order: 1e-10.
"""

import pytest
import torch
from priorkit_nvae import NVAE
from priorkit_nvae.cells import Cell
from priorkit_nvae.folding import FrozenDepthwise, unfolded
from priorkit_nvae.operations import operation
from priorkit_nvae.settings import NvaeSettings

from priorkit.core import DataSpec, Step, frozen

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
TINY = {
    "preset": "cifar10",
    "num_channels_enc": 4,
    "num_channels_dec": 4,
    "num_latent_scales": 2,
    "num_groups_per_scale": 2,
    "ada_groups": True,
    "num_latent_per_group": 2,
    "num_cell_per_cond_enc": 1,
    "num_cell_per_cond_dec": 1,
}


def shaken(module):
    """Away from the initial values, at which a normalisation is the identity."""
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *(b for name, b in module.named_buffers() if "running" in name)]:
            tensor.add_(0.2 * torch.rand_like(tensor))
    return module


@pytest.mark.parametrize("resize", ["same", "up", "down"])
@pytest.mark.parametrize("name", ["mconv_e3k5g0", "mconv_e2k5g2"])
def test_an_operation_and_its_gradients(name, resize):
    layer = shaken(operation(name, 4, 6, resize).double()).eval().requires_grad_(False)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    weights = torch.randn_like(layer(x))

    def derivatives():
        leaf = x.clone().requires_grad_()
        value = layer(leaf)
        (first,) = torch.autograd.grad((weights * value).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), leaf)
        return value, first, second

    found = derivatives()
    with unfolded():
        for a, b in zip(found, derivatives(), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


def test_the_depthwise_gradient_is_right():
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(3, 1, 3, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda y: FrozenDepthwise.apply(y, weight, bias), x)
    assert torch.autograd.gradgradcheck(lambda y: FrozenDepthwise.apply(y, weight, bias).square(), x)


def test_what_is_folded_follows_the_weights():
    layer = shaken(operation("mconv_e3k5g0", 4, 4, "same").double()).eval()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        before = layer(x)
        for tensor in [*layer.parameters(), *(b for b in layer.buffers() if b.is_floating_point())]:
            tensor.mul_(1.1)
            after = layer(x)
            with unfolded():
                torch.testing.assert_close(after, layer(x), **CLOSE)
        assert not torch.allclose(before, after)


def test_a_whole_network():
    network = shaken(NVAE(NvaeSettings(**TINY), DataSpec("noise", (3, 32, 32), 256)).double())
    u = torch.randn(2, network.layout.dim, dtype=torch.float64)
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)

    def results():
        leaf = u.clone().requires_grad_()
        z = network.latents(leaf)
        posterior = network.infer(x, generator=torch.Generator().manual_seed(0))
        decoded = network.generate(u).likelihood.mean
        return z, torch.autograd.grad(z.sin().sum(), leaf)[0], decoded, posterior.u, posterior.kl

    with frozen(network):
        found = results()
        with unfolded():
            expected = results()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_a_learning_network_is_not_folded():
    layer = operation("mconv_e3k5g0", 4, 4, "same").eval()
    layer(torch.randn(2, 4, 6, 6)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_training_step_on_channels_last_is_the_plain_one(channels):
    network = shaken(NVAE(NvaeSettings(**TINY), DataSpec("noise", (channels, 32, 32), 256)).double()).train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randint(0, 256, (3, channels, 32, 32)) / 255

    def results():
        network.load_state_dict(state)
        network.zero_grad()
        (objective,) = network.objectives()
        for tensor in network._elbo._spectral.vectors():
            tensor.fill_(0.1)
        loss = objective.loss(x.double(), Step(1, 10, torch.Generator().manual_seed(0)))
        loss.value.backward()
        assert all(p.grad.is_contiguous() for p in network.parameters())
        return [loss.value.detach(), *(p.grad for p in network.parameters()), *(b.clone() for b in network.buffers())]

    found = results()
    with unfolded():
        expected = results()
    # A bias before a normalisation has a gradient of sums that cancel: rounding is that of the largest.
    largest = max(float(tensor.abs().max()) for tensor in expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14 * largest)


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_of_a_training_network_have_channels_last(channels):
    network = NVAE(NvaeSettings(**TINY), DataSpec("noise", (channels, 32, 32), 256)).train()
    formats = []
    for module in network.modules():
        if isinstance(module, Cell):
            module.register_forward_hook(
                lambda *call: formats.append(call[2].is_contiguous(memory_format=torch.channels_last))
            )
    network.elbo(torch.rand(2, channels, 32, 32))
    assert formats and all(formats)
