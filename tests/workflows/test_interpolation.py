"""Paths on the sphere: their ends, lengths and angles."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from priorkit.workflows.sampling.interpolation import spherical_path


@given(st.integers(2, 40), st.integers(3, 12), st.integers(0, 10_000))
def test_lengths_and_angles_change_evenly_and_the_ends_are_exact(dim, count, seed):
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, 3, dim, generator=generator, dtype=torch.float64)
    path = spherical_path(start, end, count)
    assert path.shape == (3, count, dim)
    assert torch.equal(path[:, 0], start)
    assert torch.equal(path[:, -1], end)
    lengths = path.norm(dim=2)
    t = torch.linspace(0, 1, count, dtype=torch.float64)
    torch.testing.assert_close(lengths, lengths[:, :1] * (1 - t) + lengths[:, -1:] * t, rtol=1e-6, atol=1e-9)
    cosines = (path[:, 1:] * path[:, :-1]).sum(2) / (lengths[:, 1:] * lengths[:, :-1])
    angles = cosines.clamp(-1, 1).acos()
    # acos loses half of the digits near 1: 1e-6 of 1e-16's root.
    torch.testing.assert_close(angles, angles.mean(1, keepdim=True).expand_as(angles), rtol=1e-5, atol=1e-6)


def test_a_quarter_of_the_circle():
    path = spherical_path(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 3)
    torch.testing.assert_close(path[0, 1], torch.full((2,), 2**0.5))


def test_equal_opposite_and_zero_points_give_the_line():
    point = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(spherical_path(point, point, 5), point[:, None].expand(1, 5, 3))
    across = spherical_path(point, -point, 5)
    torch.testing.assert_close(across[:, 2], torch.zeros(1, 3))
    assert spherical_path(torch.zeros(1, 3), point, 5).isfinite().all()


def test_a_straight_line_is_shorter_where_the_sphere_is_not():
    start, end = torch.randn(2, 64, 100, generator=torch.Generator().manual_seed(0))
    middle = spherical_path(start, end, 3)[:, 1].norm(dim=1).mean()
    # Lengths of N(0, I) in 100 dimensions are 10 ± 0.7: the mean of 64 paths is within 0.3; that of the line, 10 / √2.
    assert abs(middle - 10) < 0.3
    assert abs(((start + end) / 2).norm(dim=1).mean() - 10 / 2**0.5) < 0.3
