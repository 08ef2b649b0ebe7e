"""The Fréchet distance against closed forms and an independent matrix root."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from priorkit.errors import UsageError
from priorkit.metrics import Statistics, frechet_distance, statistics
from priorkit.metrics.frechet import weighted_statistics


def covariance(size, seed, rank=None):
    factor = torch.randn(size, rank or 2 * size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return factor @ factor.T / factor.shape[1]


def gaussian(mean, matrix):
    return Statistics(torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(matrix, dtype=torch.float64), 1000)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_commuting_covariances_have_a_closed_form(size):
    generator = torch.Generator().manual_seed(size)
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator)).Q
    a, b = torch.rand(2, size, dtype=torch.float64, generator=generator)
    m, n = torch.randn(2, size, dtype=torch.float64, generator=generator)
    expected = float((m - n).square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    measured = frechet_distance(gaussian(m, (basis * a) @ basis.T), gaussian(n, (basis * b) @ basis.T))
    assert measured == pytest.approx(expected, rel=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_it_agrees_with_scipys_matrix_root(size, seed):
    a, b = covariance(size, seed), covariance(size, seed + 1)
    root = np.real(sqrtm((a @ b).numpy()))
    expected = float(a.trace() + b.trace()) - 2 * np.trace(root) + size
    # scipy's Schur method loses about half of the digits of the smallest eigenvalues.
    measured = frechet_distance(gaussian(torch.zeros(size), a), gaussian(torch.ones(size), b))
    assert measured == pytest.approx(expected, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 1000))
def test_identical_sets_are_at_distance_zero_even_if_singular(size, rank, seed):
    same = gaussian(torch.zeros(size), covariance(size, seed, rank))
    assert frechet_distance(same, same) <= 1e-9 * size


def test_singular_covariances_are_exact_to_the_root_of_rounding():
    a, b = torch.diag(torch.tensor([4.0, 0, 0])), torch.diag(torch.tensor([0, 9.0, 0]))
    assert frechet_distance(gaussian(torch.zeros(3), a), gaussian(torch.zeros(3), b)) == pytest.approx(13.0, abs=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(0, 1000))
def test_it_is_symmetric(size, seed):
    a, b = gaussian(torch.zeros(size), covariance(size, seed)), gaussian(torch.ones(size), covariance(size, seed + 1, 3))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-7)


@given(st.integers(2, 50), st.integers(1, 6), st.integers(0, 1000))
def test_statistics_are_numpys_and_ignore_the_order(count, size, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, size, generator=generator)
    fitted, shuffled = statistics(features), statistics(features[torch.randperm(count, generator=generator)])
    np.testing.assert_allclose(fitted.covariance, np.cov(features.double().numpy().T).reshape(size, size), atol=1e-12)
    np.testing.assert_allclose(fitted.mean, features.double().mean(0), atol=1e-12)
    torch.testing.assert_close(shuffled.covariance, fitted.covariance, rtol=0, atol=1e-12)
    assert fitted.count == count


def test_counts_stand_for_repeated_rows():
    features = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([0, 1, 3, 0, 2, 1, 1])
    weighted, repeated = weighted_statistics(features, counts), statistics(features.repeat_interleave(counts, dim=0))
    torch.testing.assert_close(weighted.mean, repeated.mean)
    torch.testing.assert_close(weighted.covariance, repeated.covariance)
    assert weighted.count == repeated.count == 8


def test_wrong_input_is_a_usage_error():
    with pytest.raises(UsageError, match="at least 2"):
        statistics(torch.zeros(1, 3))
    with pytest.raises(UsageError, match=r"expected features \(N, F\)"):
        statistics(torch.zeros(5))
    with pytest.raises(UsageError, match="2 features against 3"):
        frechet_distance(gaussian(torch.zeros(2), torch.eye(2)), gaussian(torch.zeros(3), torch.eye(3)))


def few_points(count, size, seed, scale):
    """Points and the factor of their covariance from their QR decomposition, which never squares them."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, size, dtype=torch.float64, generator=generator) * scale
    return points, torch.linalg.qr((points - points.mean(0)) / (count - 1) ** 0.5).R


@pytest.mark.parametrize("counts", [(20, 200), (20, 30), (200, 30), (20, 20), (200, 300)])
@pytest.mark.parametrize("smallest", [0, -3, -7])
def test_few_points_and_nearly_singular_covariances_are_exact(counts, smallest):
    """Against singular values of factors of the points themselves."""
    scale = torch.logspace(0, smallest, 50, dtype=torch.float64)
    (x, left), (y, right) = (few_points(count, 50, seed, scale) for seed, count in enumerate(counts))
    a, b = statistics(x), statistics(y)
    overlap = torch.linalg.svdvals(left @ right.T).sum()
    expected = float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * overlap)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_disjoint_subspaces_have_no_overlap():
    """Eigenvalues that are rounding errors only do not count."""
    a, b = (torch.zeros(30, 30, dtype=torch.float64) for _ in range(2))
    a[:10, :10], b[10:, 10:] = covariance(10, 1), covariance(20, 2)
    basis = torch.linalg.qr(covariance(30, 3)).Q
    a, b = basis @ a @ basis.T, basis @ b @ basis.T
    distance = frechet_distance(gaussian(torch.zeros(30), (a + a.T) / 2), gaussian(torch.zeros(30), (b + b.T) / 2))
    assert distance == pytest.approx(float(a.trace() + b.trace()), abs=1e-8)
