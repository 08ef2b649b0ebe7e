"""Bounds of a linear-Gaussian backbone whose posterior is exact, so that every bound is log p(x) itself."""

from math import log

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from priorkit.core import Backbone, Context, DataSpec, Layout, Likelihood, Posterior, Settings, TopDown
from priorkit.data.examples import Points
from priorkit.errors import UsageError
from priorkit.metrics import Metric, elbo, importance_bound, reconstruction_error

NOISE = 0.5
WIDTHS = torch.tensor([1.0, 2.0, 0.5])


class Pixels(Likelihood):
    def __init__(self, mean, discrete):
        self._mean, self.discrete = mean, discrete
        self.protocol = "independent normals"

    @property
    def mean(self):
        return self._mean

    def log_prob(self, x):
        if self.discrete:
            return torch.full((len(x),), -x[0].numel() * log(2))
        return Normal(self._mean, NOISE).log_prob(x).sum(1)

    def sample(self, generator=None):
        return self._mean + NOISE * torch.randn(self._mean.shape, generator=generator)


class Walk(TopDown):
    def __init__(self, batch, layout, discrete):
        self.batch, self.layout, self.discrete, self.z = batch, layout, discrete, []

    def context(self):
        zero = torch.zeros(self.batch, *self.layout.shapes[len(self.z)])
        return Context(zero, zero + 1, None)

    def take(self, z):
        self.z.append(z)

    def decode(self):
        return Pixels(self.layout.join(self.z) * WIDTHS, self.discrete)


class Linear(Backbone):
    """x_j = w_j u_j + noise; q is the exact posterior unless it is the prior ('prior') or a point ('point')."""

    def __init__(self, q="exact"):
        super().__init__()
        self.settings, self.spec, self.layout, self.q = Settings(), DataSpec("line", (3,), None), Layout(((1,), (2,))), q

    def top_down(self, batch, *, temperature=1.0):
        return Walk(batch, self.layout, self.q == "prior")

    def objectives(self):
        return []

    def infer(self, x, *, generator=None):
        variance = 1 / (1 + WIDTHS**2 / NOISE**2) * torch.ones_like(x)
        mean = variance * WIDTHS * x / NOISE**2
        if self.q == "prior":
            mean, variance = torch.zeros_like(x), torch.ones_like(x)
        u = mean + variance.sqrt() * torch.randn(x.shape, generator=generator)
        kl = self.layout.layer_sums(0.5 * (mean.square() + variance - variance.log() - 1))
        ratio = (Normal(mean, variance.sqrt()).log_prob(u) - Normal(0.0, 1.0).log_prob(u)).sum(1)
        return Posterior(u, None, None) if self.q == "point" else Posterior(u, kl, ratio)


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    u, noise = torch.randn(2, 400, 3, generator=generator)
    return Points(WIDTHS * u + NOISE * noise)


def evidence(points):
    truth = MultivariateNormal(torch.zeros(3), torch.diag(WIDTHS**2 + NOISE**2))
    return float(truth.log_prob(points.batch(torch.arange(len(points)))).mean())


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_exact_posterior_the_importance_bound_is_the_evidence(points, samples):
    figures = importance_bound(Linear(), points, samples=samples, generator=torch.Generator().manual_seed(1))
    assert set(figures) == {"iw_nats"}
    assert figures["iw_nats"].value == pytest.approx(evidence(points), abs=1e-4)


def test_the_elbo_is_the_evidence_up_to_its_sampling(points):
    figures = elbo(Linear(), points, generator=torch.Generator().manual_seed(1), batch_size=64)
    assert set(figures) == {"elbo_nats", "kl_layer_0", "kl_layer_1"}
    # One sample of log p(x | z) for each of 400 points deviates by about 1.2 (half a chi-square of 3): 4 standard errors.
    assert figures["elbo_nats"].value == pytest.approx(evidence(points), abs=4 * 1.2 / 20)
    exact = Linear().infer(points.batch(torch.arange(len(points)))).kl.mean(0)
    for i in range(2):
        assert figures[f"kl_layer_{i}"].value == pytest.approx(float(exact[i]), rel=1e-5)


def test_a_loose_bound_rises_with_samples(points):
    backbone = Linear("prior")
    backbone.top_down = lambda batch, *, temperature=1.0: Walk(batch, backbone.layout, False)
    bounds = [
        importance_bound(backbone, points, samples=k, generator=torch.Generator().manual_seed(2))["iw_nats"].value
        for k in (1, 10, 200)
    ]
    assert bounds[0] < bounds[1] < bounds[2] < evidence(points) + 0.05


@pytest.mark.parametrize("measure", [elbo, importance_bound])
def test_fair_coins_cost_one_bit_a_dimension(points, measure):
    """p(x | z) = 2^-3 whatever z, and q = p0: the bound is tight."""
    figures = measure(Linear("prior"), points, generator=torch.Generator().manual_seed(3))
    bits = next(figure for name, figure in figures.items() if name.endswith("_bpd"))
    assert bits.value == pytest.approx(1, abs=1e-6)
    assert bits.protocol.startswith("bits per dimension, independent normals")


def test_without_a_density_there_is_no_bound(points):
    assert elbo(Linear("point"), points) is None
    assert importance_bound(Linear("point"), points) is None


def test_reconstruction_error_of_the_exact_posterior(points):
    """The mean error of a posterior sample is twice the posterior's variance of w u, plus what x itself explains."""
    figure = reconstruction_error(Linear(), points, generator=torch.Generator().manual_seed(4), batch_size=33)
    shrink = WIDTHS**2 / (WIDTHS**2 + NOISE**2)
    variance = shrink * NOISE**2
    expected = (variance + (1 - shrink) ** 2 * (WIDTHS**2 + NOISE**2)).mean()
    assert figure.value == pytest.approx(float(expected), abs=4 * figure.spread)


def test_the_spread_is_the_standard_error(points):
    """Repeating each example leaves the mean and divides the standard error by sqrt 2."""
    twice = Points(points.batch(torch.arange(len(points)).repeat(2)))
    one, two = (importance_bound(Linear(), p, samples=1)["iw_nats"] for p in (points, twice))
    assert two.value == pytest.approx(one.value, abs=1e-4)
    assert two.spread == pytest.approx(one.spread / 2**0.5, rel=0.01)


def test_nothing_to_measure_is_a_usage_error():
    for measure in (elbo, importance_bound, reconstruction_error):
        with pytest.raises(UsageError, match="no examples"):
            measure(Linear(), Points(torch.zeros(0, 3)))


def test_a_figure_as_a_dict():
    assert Metric(1.0, None, "counted").as_dict() == {"value": 1.0, "spread": None, "protocol": "counted"}
