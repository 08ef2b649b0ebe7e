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
