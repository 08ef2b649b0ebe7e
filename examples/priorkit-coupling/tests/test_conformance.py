"""What every prior must do, and what coupling layers promise beyond that."""

import pytest
import torch
from priorkit_coupling import CouplingPrior, CouplingSettings

from priorkit.core import LatentSpace, Layout
from priorkit.testing import checks


@pytest.mark.parametrize("check", checks("prior"), ids=str)
def test_conformance(check):
    check(CouplingPrior)


def test_the_density_is_normalised():
    torch.manual_seed(0)
    space = LatentSpace(Layout(((2,),)), lambda u: u, lambda batch: None)
    prior = CouplingPrior(CouplingSettings(hidden=8), space).double()
    for parameter in prior.parameters():
        parameter.data.normal_(std=0.2)
    axis = torch.linspace(-12, 12, 961, dtype=torch.float64)
    with torch.no_grad():
        density = prior.log_prob(torch.cartesian_prod(axis, axis)).exp() / (2 * torch.pi)
    # A sum over an even grid of a smooth density that has vanished at the border.
    assert abs(float(density.sum() * 0.025**2) - 1) < 1e-3
