"""What every prior must do, and what a flow promises beyond that."""

import pytest
import torch
from priorkit_flow import FlowPrior, FlowSettings

from priorkit.core import LatentSpace, Layout
from priorkit.testing import checks


@pytest.mark.parametrize("check", checks("prior"), ids=str)
def test_conformance(check):
    check(FlowPrior)


def test_the_density_is_normalised():
    torch.manual_seed(0)
    prior = FlowPrior(FlowSettings(hidden=8), LatentSpace(Layout(((2,),)), lambda u: u, lambda batch: None)).double()
    for parameter in prior.parameters():
        parameter.data.mul_(1.5)
    axis = torch.linspace(-9, 9, 361, dtype=torch.float64)
    with torch.no_grad():
        density = prior.log_prob(torch.cartesian_prod(axis, axis)).exp() / (2 * torch.pi)
    # A sum over an even grid of a smooth density that has vanished at the border.
    assert abs(float(density.sum() * 0.05**2) - 1) < 1e-3
