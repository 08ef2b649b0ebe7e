"""Cells that compute their activations again: the same training step, with less kept."""

import pytest
import torch
from priorkit_nvae import NVAE
from priorkit_nvae.settings import NvaeSettings

from priorkit.core import DataSpec, Step

SPEC = DataSpec("digits", (1, 8, 8), 17)
SIZES = {
    "num_channels_enc": 8, "num_channels_dec": 8, "num_mixture_dec": 2, "num_latent_scales": 2, "num_groups_per_scale": 2,
    "num_preprocess_blocks": 1, "num_postprocess_blocks": 1, "num_latent_per_group": 2,
}  # fmt: skip


def network(**options):
    torch.manual_seed(0)
    return NVAE(NvaeSettings(**{**SIZES, **options}), SPEC)


def trained(made):
    """Two steps' worth of losses and gradients, and the running statistics after them."""
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)).mul(16).round() / 16
    (objective,) = made.train().objectives()
    losses = []
    for number in (1, 2):
        loss = objective.loss(x, Step(number, 10, torch.Generator().manual_seed(number)))
        loss.value.backward()
        losses.append(loss.value.detach())
    gradients = {name: parameter.grad for name, parameter in made.named_parameters() if parameter.grad is not None}
    return losses, gradients, dict(made.named_buffers())


@pytest.mark.parametrize("cells", ["res_mbconv", "res_bnelu", "res_elu"])
def test_a_step_is_the_same(cells):
    plain, again = trained(network(arch_instance=cells)), trained(network(arch_instance=cells, recompute_cells=True))
    assert plain[0] == again[0]
    for ours, theirs in zip(again[1:], plain[1:], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert torch.equal(ours[name], value), name


def kept_bytes(made):
    """Of what the bound keeps for the way back, each tensor once; parameters are there anyway."""
    storages = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in made.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage  # alive, or its address could be another's
        return tensor

    x = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(1)).mul(16).round() / 16
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made.train().elbo(x, generator=torch.Generator().manual_seed(2))
    return sum(storage.nbytes() for storage in storages.values())


def test_less_is_kept():
    assert kept_bytes(network(recompute_cells=True)) < kept_bytes(network()) / 3


def test_chains_through_the_decoder_have_the_same_gradient():
    gradients = []
    for recompute in (False, True):
        made = network(recompute_cells=recompute).eval().requires_grad_(False)
        u = torch.randn(3, made.layout.dim, generator=torch.Generator().manual_seed(2)).requires_grad_()
        gradients += torch.autograd.grad(made.generate(u).likelihood.mean.square().sum(), u)
    assert torch.equal(*gradients)
