"""New samples of the posterior from its moments."""

import pytest
import torch
from seeding import seeded

from priorkit.core import Latents

N = 20_000


def test_redrawn_points_have_the_posteriors_moments():
    """Within 5 standard errors."""
    mean, scale = torch.tensor([[1.0, -2.0]]).expand(N, 2), torch.tensor([[0.5, 3.0]]).expand(N, 2)
    redrawn = Latents(torch.zeros(N, 2), mean=mean, scale=scale).redrawn(seeded(0))
    assert ((redrawn.mean(0) - mean[0]).abs() < 5 * scale[0] / N**0.5).all()
    assert ((redrawn.std(0) - scale[0]).abs() < 5 * scale[0] / (2 * N) ** 0.5).all()


@pytest.mark.parametrize("known", [{}, {"mean": torch.zeros(3, 2)}, {"scale": torch.ones(3, 2)}])
def test_without_both_moments_points_stay(known):
    u = torch.randn(3, 2, generator=seeded(1))
    assert Latents(u, **known).redrawn(seeded(2)) is u
