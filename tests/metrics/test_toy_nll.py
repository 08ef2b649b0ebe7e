"""Quadrature against densities whose normaliser is known."""

from math import log, pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priorkit.data import load
from priorkit.errors import UsageError
from priorkit.metrics import heldout_nll, log_normaliser
from priorkit.metrics.toy_nll import enclosing_box

BOX = ((-10.0, 10.0), (-9.0, 11.0))


def gaussian(x):
    return -0.5 * x.square().sum(1)


def test_the_normaliser_of_a_gaussian():
    integral = log_normaliser(gaussian, BOX, points=201)
    # Points are float32: each is off by up to 1e-6, and errors of both signs average out.
    assert integral.value == pytest.approx(log(2 * pi), abs=1e-6)
    assert integral.error < 1e-5
    assert integral.edge < 1e-12


def test_a_linear_density_is_integrated_exactly():
    """The trapezoid rule is exact for it, with as few nodes as five."""
    integral = log_normaliser(lambda x: (3 + x[:, 0]).log(), ((-1.0, 3.0), (0.0, 2.0)), points=5)
    assert integral.value == pytest.approx(log(4 * 4 * 2), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 1.5), st.floats(-0.9, 0.9), st.floats(-50, 50))
def test_the_normaliser_of_a_correlated_mixture(scale, correlation, constant):
    matrix = scale**2 * torch.tensor([[1, correlation], [correlation, 1]])
    precision = torch.linalg.inv(matrix)

    def log_prob(x):
        parts = [x - torch.tensor(centre) for centre in ([-1.0, 0.0], [1.5, 0.5])]
        quadratic = torch.stack([-0.5 * torch.einsum("ni,ij,nj->n", part, precision, part) for part in parts])
        return torch.logsumexp(quadratic, 0) + constant

    expected = log(2) + log(2 * pi) + 0.5 * float(torch.logdet(matrix)) + constant
    integral = log_normaliser(log_prob, BOX, points=401)
    assert integral.value == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("points", [11, 41, 161])
def test_the_error_covers_what_a_coarse_grid_misses(points):
    """A box's indicator, which the trapezoid rule gets wrong by the order of a step."""

    def log_prob(x):
        return torch.where((x.abs() <= 3.3).all(1), 0.0, float("-inf"))

    integral = log_normaliser(log_prob, ((-5.0, 5.0), (-5.0, 5.0)), points=points)
    assert abs(integral.value - log(6.6**2)) <= 2 * integral.error + 4 / (points - 1)


def test_a_box_that_cuts_the_density_off_shows():
    cut, whole = (log_normaliser(gaussian, ((-side, side), (-side, side)), points=41) for side in (1.0, 8.0))
    assert cut.edge > 0.03
    assert cut.error > cut.edge
    assert whole.edge < 1e-10


def test_the_nll_of_a_gaussian_is_its_entropy():
    x = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    figure = heldout_nll(lambda points: gaussian(points) + 7, x)
    exact = float(-torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1).mean())
    assert figure.value == pytest.approx(exact, abs=1e-5)
    assert figure.spread == pytest.approx(1 / 5000**0.5, rel=0.1)
    assert figure.value == pytest.approx(1 + log(2 * pi), abs=4 * figure.spread)


@pytest.mark.parametrize("name", ["checkerboard", "8gaussians", "moons", "rings", "pinwheel"])
def test_the_exact_densities_of_the_toys_integrate_to_one(name):
    toy = load(f"toy:{name}")
    x = toy.heldout.batch(torch.arange(len(toy.heldout)))
    figure = heldout_nll(toy.log_density, x)
    # A checkerboard's edges lie between grid points: an error of the order of a step over the side of a field.
    assert figure.value == pytest.approx(float(-toy.log_density(x).mean()), abs=0.03 if name == "checkerboard" else 1e-3)


def test_the_box_reaches_beyond_the_data_where_there_is_mass():
    x = torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wide = enclosing_box(gaussian, x)
    assert all(low < -3.5 and high > 3.5 for low, high in wide)
    tight = enclosing_box(lambda points: 50 * gaussian(points), x)
    for (low, high), values in zip(tight, x.T, strict=True):
        assert -1.2 < low < float(values.min())
        assert float(values.max()) < high < 1.2


def test_wrong_input_is_a_usage_error():
    x = torch.zeros(4, 2)
    with pytest.raises(UsageError, match="outside the box"):
        heldout_nll(gaussian, x + 20, box=BOX)
    with pytest.raises(UsageError, match="not finite"):
        heldout_nll(lambda points: points[:, 0] * float("nan"), x, box=BOX)
    with pytest.raises(UsageError, match="zero everywhere"):
        log_normaliser(lambda points: torch.full((len(points),), float("-inf")), BOX)
    with pytest.raises(UsageError, match="odd number"):
        log_normaliser(gaussian, BOX, points=10)
    with pytest.raises(UsageError, match="low < high"):
        log_normaliser(gaussian, ((1.0, 1.0), (0.0, 1.0)))
    with pytest.raises(UsageError, match=r"\(N, 2\)"):
        heldout_nll(gaussian, torch.zeros(4, 3))
