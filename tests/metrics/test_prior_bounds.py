"""Bounds under a tilted prior, on the linear-Gaussian backbone whose posterior is exact."""

from math import log

import pytest
import torch
from test_bounds import NOISE, WIDTHS, Linear
from torch.distributions import Normal

from priorkit.data import Points
from priorkit.errors import UsageError
from priorkit.metrics.prior_bounds import Tilt, tilted_bounds

X = Points(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))
SLOPE = torch.tensor([0.5, -0.3, 0.8])


def log_px(x, mean):
    """log p(x) for u ~ N(mean, I), x = w u + noise."""
    return Normal(WIDTHS * mean, (WIDTHS.square() + NOISE**2).sqrt()).log_prob(x).sum(1).mean().item()


def bounds(tilt, **options):
    options = {"samples": 5, "generator": torch.Generator().manual_seed(1)} | options
    return tilted_bounds(Linear(), {"": tilt}, X, **options)


def test_a_constant_tilt_is_the_gaussian_prior():
    """With the exact posterior both bounds are log p(x) itself, whatever the samples; float32 sums."""
    found = bounds(Tilt(lambda u: u.new_full((len(u),), 2.0), 2.0, 0.0))
    truth = log_px(X.batch(torch.arange(40)), torch.zeros(3))
    for name in ("elbo_prior_nats", "iw_prior_nats", "iw_nats"):
        assert found[name].value == pytest.approx(truth, abs=1e-4)


def test_a_linear_tilt_moves_the_prior():
    """exp(a . u) N(u) / exp(|a|^2 / 2) = N(u; a, I); the bound of 4,000 samples lies within 0.01 of log p(x)."""
    tilt = Tilt(lambda u: u @ SLOPE, 0.5 * SLOPE.square().sum().item(), 0.0)
    truth = log_px(X.batch(torch.arange(40)), SLOPE)
    found = bounds(tilt, samples=4_000)
    assert found["iw_prior_nats"].value == pytest.approx(truth, abs=0.01)
    assert found["elbo_prior_nats"].value < truth
    assert "iw_prior_bpd" not in found  # pixels are continuous


def test_the_error_of_log_z_is_in_the_spread():
    exact, unsure = (bounds(Tilt(lambda u: u @ SLOPE, 0.49, error))["elbo_prior_nats"].spread for error in (0.0, 2.0))
    assert unsure**2 == pytest.approx(exact**2 + 1)


def resampled(log_z, error):
    """Of bounds that are computed on their own, as in another run."""
    figure = bounds(Tilt(lambda u: u @ SLOPE, log_z, error))["elbo_prior_nats"]
    return figure, torch.tensor(figure.resamples, dtype=torch.float64)


def test_resamples_are_of_the_same_images_for_every_prior():
    """What two priors have in common cancels; the errors of their log Z do not. Four standard errors of 200 resamples."""
    (figure, one), (_, other) = resampled(0.0, 0.0), resampled(0.5, 0.0)
    torch.testing.assert_close(one - other, torch.full((200,), 0.5, dtype=torch.float64), rtol=0, atol=1e-5)
    assert one.std().item() == pytest.approx(figure.spread, rel=0.3) and one.std() > 0.05
    unsure = resampled(0.0, 0.4)[1] - resampled(0.5, 0.3)[1]
    assert unsure.std().item() == pytest.approx((0.2**2 + 0.15**2) ** 0.5, rel=0.2)


def test_not_defined_and_refused():
    tilt = Tilt(lambda u: u @ SLOPE, 0.0, 0.0)
    assert tilted_bounds(Linear("point"), {"": tilt}, X) is None
    with pytest.raises(UsageError, match="sample"):
        bounds(tilt, samples=0)
    with pytest.raises(UsageError, match="no examples"):
        tilted_bounds(Linear(), {"": tilt}, Points(torch.zeros(0, 3)))


def test_only_the_first_examples():
    tilt = Tilt(lambda u: u.new_zeros(len(u)), 0.0, 0.0)
    found = bounds(tilt, most=7)
    assert found["iw_nats"].value == pytest.approx(log_px(X.batch(torch.arange(7)), torch.zeros(3)), abs=1e-4)
    assert "7 examples" in found["iw_nats"].protocol


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_spread_is_the_standard_error_over_examples(most):
    """From the same bounds one by one, since a tilt of 0 leaves the exact posterior's own."""
    tilt = Tilt(lambda u: u.new_zeros(len(u)), 0.0, 0.0)
    each = Normal(torch.zeros(3), (WIDTHS.square() + NOISE**2).sqrt()).log_prob(X.batch(torch.arange(most))).sum(1)
    standard = float(each.std()) / most**0.5 if most > 1 else 0.0
    assert bounds(tilt, most=most)["elbo_prior_nats"].spread == pytest.approx(standard, abs=1e-4)


def test_bits_are_minus_nats_over_the_number_of_entries():
    """With grey levels; log p(x | u) is that of independent pixels of two levels, whatever u."""
    found = tilted_bounds(Linear("prior"), {"": Tilt(lambda u: u.new_zeros(len(u)), 0.0, 0.0)}, X, samples=3)
    for name in ("elbo_prior", "iw_prior"):
        nats, bits = found[f"{name}_nats"], found[f"{name}_bpd"]
        assert bits.value == pytest.approx(-nats.value / (3 * log(2)))
        assert bits.value == pytest.approx(1.0, abs=1e-5) and bits.spread == pytest.approx(nats.spread / (3 * log(2)))
        assert bits.resamples == pytest.approx([-value / (3 * log(2)) for value in nats.resamples])
