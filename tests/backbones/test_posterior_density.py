"""log q(u | x) of all pairs of points and images, against inference that is made to end in those points."""

import pytest
import torch
from priorkit_identity import IdentityBackbone, IdentitySettings
from priorkit_twolayer import inference
from seeding import seeded
from test_twolayer import POINTS, digits, model
from torch.distributions import Normal

from priorkit.core import DiagonalPosterior, posterior_density

LAYERS = [(3,), (3, 4), (2, 3, 4)]


def forced(backbone, x, u, monkeypatch):
    """log q - log p0 of `infer` where each draw is replaced by the layer of u, (B,); x and u have the same rows."""
    parts = list(backbone.layout.split(u))
    if backbone.settings.inference == "bottom-up":
        parts = list(backbone.layout.split(backbone.latents(u)))[::-1]
    with monkeypatch.context() as patched:
        patched.setattr(inference, "_draw", lambda q, generator: parts.pop(0))
        return backbone.infer(x).log_ratio


@pytest.mark.parametrize("numbers", [1, 100, 2**22])
@pytest.mark.parametrize("direction", ["top-down", "bottom-up"])
@pytest.mark.parametrize("latents", LAYERS, ids=str)
def test_a_pair_is_what_inference_would_have_given(latents, direction, numbers, monkeypatch):
    """For every size of the blocks."""
    monkeypatch.setattr(posterior_density, "NUMBERS", numbers)
    backbone, x = model(latents, inference=direction), digits(6)
    u = torch.randn(5, sum(latents), generator=seeded(1), dtype=torch.float64)
    pairs = backbone.posterior_density(x).log_ratio(u)
    rows = [forced(backbone, x[n : n + 1].expand(5, -1, -1, -1), u, monkeypatch) for n in range(6)]
    torch.testing.assert_close(pairs, torch.stack(rows, 1))


def test_a_diagonal_posterior_is_torch_s(monkeypatch):
    monkeypatch.setattr(posterior_density, "NUMBERS", 40)
    mean, scale, u = (torch.randn(n, 3, generator=seeded(n), dtype=torch.float64) for n in (7, 7, 4))
    scale = scale.exp()
    expected = Normal(mean, scale).log_prob(u[:, None]).sum(2) - Normal(0.0, 1.0).log_prob(u).sum(1)[:, None]
    torch.testing.assert_close(DiagonalPosterior(mean, scale).log_ratio(u), expected)


def test_a_point_mass_and_a_chain_have_none():
    assert IdentityBackbone(IdentitySettings(), POINTS).posterior_density(torch.zeros(2, 2)) is None
    assert model(inference="none").posterior_density(digits(2)) is None
