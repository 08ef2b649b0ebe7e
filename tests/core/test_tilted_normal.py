"""Its value and gradient are those of the sum that it states, whichever way they are asked for."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from priorkit.core import TiltedNormal, log_normal, value_and_gradient


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


def test_a_gradient_that_the_ratio_owns_is_not_written_into() -> None:
    slope = torch.randn(4)
    kept = slope.clone()
    value_and_gradient(TiltedNormal(lambda u: (u * slope).sum(1)), torch.randn(3, 4))
    value_and_gradient(TiltedNormal(lambda u: u.sum(1)), torch.randn(3, 4))
    assert torch.equal(slope, kept)
