"""Its value and gradient are those of the sum that it states, whichever way they are asked for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from priorkit.core import TiltedNormal
from priorkit.mcmc import log_normal, value_and_gradient


def ratio(u: torch.Tensor) -> torch.Tensor:
    return u.sin().sum(1) * u.square().mean(1)


@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 100))
def test_the_quick_gradient_is_the_plain_one(rows: int, dim: int, seed: int) -> None:
    u = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    quick = value_and_gradient(TiltedNormal(ratio), u)
    plain = value_and_gradient(lambda u: ratio(u) + log_normal(u), u)
    assert torch.equal(quick[0], plain[0])
    torch.testing.assert_close(quick[1], plain[1], rtol=1e-13, atol=1e-13)


def test_a_constant_ratio_leaves_the_gaussian() -> None:
    u = torch.randn(3, 4)
    value, gradient = value_and_gradient(TiltedNormal(lambda u: u.new_zeros(len(u))), u)
    assert torch.equal(value, log_normal(u))
    assert torch.equal(gradient, -u)


SLOPE = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(3, 4).clone()


class Own(torch.autograd.Function):
    """A function whose gradient is a tensor of its own."""

    @staticmethod
    def forward(ctx, u):
        return (u * SLOPE).sum(1)

    @staticmethod
    def backward(ctx, slope):
        return SLOPE


def test_a_gradient_that_the_ratio_owns_is_not_written_into() -> None:
    kept, u = SLOPE.clone(), torch.randn(3, 4)
    _, gradient = value_and_gradient(TiltedNormal(Own.apply), u)
    assert torch.equal(SLOPE, kept)
    assert torch.equal(gradient, SLOPE - u)


def test_a_ratio_of_parameters_alone_is_constant_too() -> None:
    log_z, u = torch.tensor(2.0, requires_grad=True), torch.randn(3, 4)
    value, gradient = value_and_gradient(TiltedNormal(lambda u: log_z.expand(len(u))), u)
    torch.testing.assert_close(value, 2 + log_normal(u))
    assert torch.equal(gradient, -u)


def test_a_density_without_a_graph_is_an_error_unless_it_is_a_ratio() -> None:
    """A chain would take it for flat, and walk at random."""

    @torch.no_grad()
    def forgotten(u: torch.Tensor) -> torch.Tensor:
        return -u.square().sum(1)

    with pytest.raises(RuntimeError, match="does not require grad"):
        value_and_gradient(forgotten, torch.randn(3, 4))


def test_nothing_carries_a_graph() -> None:
    u = torch.randn(3, 4, requires_grad=True)
    for density in (TiltedNormal(ratio), ratio):
        assert not any(part.requires_grad for part in value_and_gradient(density, u))
