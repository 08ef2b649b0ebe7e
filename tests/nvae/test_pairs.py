"""log q(u | x) of all pairs of points and images, against inference that is made to end in those points."""

import pytest
import torch
from priorkit_nvae.inference import infer
from test_nvae import NETWORKS, digits, normal

from priorkit.core import posterior_density


def forced(network, x, u):
    """log q - log p0 with the noise of each group solved for, given the groups above: (B,); x and u have the same rows."""
    noise = [torch.zeros_like(part) for part in network.layout.split(u)]
    for group, wanted in enumerate(network.layout.split(u)):
        found = infer(network, network.padded(x), lambda number, like: noise[number])
        mean, scale = (moment[group] for moment in found.moments())
        noise[group] = (wanted - mean) / scale
    found = infer(network, network.padded(x), lambda number, like: noise[number])
    return (found.log_q() - found.log_p()).sum(1)


@pytest.mark.parametrize("numbers", [1, 2**22])
@pytest.mark.parametrize("name", ["digits", "three scales", "vanilla", "normal", "bernoulli"])
def test_a_pair_is_what_inference_would_have_given(name, numbers, monkeypatch):
    """For every size of the blocks."""
    monkeypatch.setattr(posterior_density, "NUMBERS", numbers)
    network, x = NETWORKS[name], digits(4)
    x = network.observe(x, generator=torch.Generator().manual_seed(0))
    u = normal(3, network.layout.dim, seed=2)
    with torch.no_grad():
        pairs = network.posterior_density(x).log_ratio(u)
        rows = [forced(network, x[n : n + 1].expand(3, -1, -1, -1), u) for n in range(4)]
    torch.testing.assert_close(pairs, torch.stack(rows, 1))


def test_flows_have_none():
    assert NETWORKS["flows"].posterior_density(digits(2)) is None
