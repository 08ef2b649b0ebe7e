"""The standard normal density against its definition and against torch's, with both derivatives."""

import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from priorkit.mcmc import log_normal


@pytest.fixture(autouse=True, params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones have a gradient of their own."""
    monkeypatch.setattr(sys.modules["priorkit.mcmc.log_normal"], "SMALL", 2**16 if request.param == "small" else 0)


def points(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the size is the same for all examples
@given(st.integers(0, 5), st.integers(0, 40), st.integers(0, 100))
def test_it_is_the_density_without_its_constant(rows: int, dim: int, seed: int) -> None:
    u = points(rows, dim, seed)
    zero = torch.zeros_like(u)
    torch.testing.assert_close(log_normal(u), (Normal(0.0, 1.0).log_prob(u) - Normal(0.0, 1.0).log_prob(zero)).sum(1))


def test_its_derivatives_of_both_orders() -> None:
    u = points(4, 7).requires_grad_()
    assert torch.autograd.gradcheck(log_normal, (u,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(log_normal, (u,))


def test_many_small_terms_are_not_lost_in_single_precision() -> None:
    """Metropolis tests take differences of a few hundredths of a nat."""
    u = torch.randn(8, 200_000, generator=torch.Generator().manual_seed(0))
    assert (log_normal(u).double() - log_normal(u.double())).abs().max() < 0.03


@pytest.mark.parametrize("at", [0.0, 2.0])
def test_the_gradient_is_minus_the_point_also_at_the_origin(at: float) -> None:
    u = torch.full((3, 5), at, requires_grad=True)
    (gradient,) = torch.autograd.grad(log_normal(u).sum(), u)
    assert torch.equal(gradient, -u.detach())


def test_it_maps_over_batches() -> None:
    u = points(12, 5).view(3, 4, 5)
    torch.testing.assert_close(torch.func.vmap(log_normal)(u), torch.stack([log_normal(part) for part in u]))
    hessian = torch.func.hessian(lambda one: log_normal(one[None]).sum())(u[0, 0])
    torch.testing.assert_close(hessian, -torch.eye(5, dtype=torch.float64))
