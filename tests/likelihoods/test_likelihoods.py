"""The pixel likelihoods: they are normalised, sample what they say, and keep finite gradients at their extremes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeding import seeded
from torch.distributions import Normal as TorchNormal

from priorkit.errors import UsageError
from priorkit.likelihoods import (
    Bernoulli,
    FixedNormal,
    LogisticMixture,
    Normal,
    mixture_channels,
    normal_kl,
    normal_log_prob,
    soft_clamp,
)


def noise(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=20)
@given(levels=st.integers(2, 40), components=st.integers(1, 4), seed=st.integers(0, 1000))
def test_grey_mixture_sums_to_one(levels, components, seed):
    likelihood = LogisticMixture(noise(1, 3 * components, 2, 2, seed=seed, scale=1.5), channels=1, levels=levels)
    values = torch.linspace(0, 1, levels, dtype=torch.float64)
    total = sum(likelihood.pixel_log_prob(torch.full((1, 1, 2, 2), float(v), dtype=torch.float64)).exp() for v in values)
    # Bins of less mass than 1e-5 are approximated by their centre's density, to a relative error of (bin / scale)^2 / 24.
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-4)


@pytest.mark.parametrize("levels", [4, 7])
def test_colour_mixture_sums_to_one_over_all_colours(levels):
    logits = noise(1, 20, 1, 1, seed=3).expand(levels**3, -1, -1, -1)
    values = torch.linspace(0, 1, levels, dtype=torch.float64)
    colours = torch.cartesian_prod(values, values, values)[:, :, None, None]
    total = LogisticMixture(logits, channels=3, levels=levels).log_prob(colours).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-4)


def red_mass(channels, edges, *, mean, log_scale, levels=256):
    """The sum over all levels of the probability of the first colour, the others fixed at middle grey."""
    logits = torch.zeros(levels, mixture_channels(channels, 1), 1, 1, dtype=torch.float64)
    logits[:, 1], logits[:, 2] = mean, log_scale
    pixels = torch.full((levels, channels, 1, 1), 0.5, dtype=torch.float64)
    pixels[:, 0, 0, 0] = torch.arange(levels) / (levels - 1)
    likelihood = LogisticMixture(logits, channels=channels, levels=levels, edges=edges)
    # The two other colours' standard logistics.
    upper, lower = torch.sigmoid(torch.tensor([1, -1], dtype=torch.float64) / (levels - 1))
    return likelihood.log_prob(pixels).exp().sum().item() / (upper - lower).item() ** (channels - 1)


@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, 0.0), (0.9, -2.0), (1.0, -6.0), (-1.0, -3.0)])
@pytest.mark.parametrize("edges", ["half-bin", "nvae"])
@pytest.mark.parametrize("channels", [1, 3])
def test_256_levels_add_up_to_one_but_under_the_published_rule(channels, edges, mean, log_scale):
    """NVAE's threshold counts level 255's mass twice, for 254 and for 255: up to 1.83 for a bright pixel."""
    right = 1.0
    if channels == 3 and edges == "nvae":
        right += torch.sigmoid(torch.tensor((mean - (1 - 1 / 255)) * math.exp(-log_scale), dtype=torch.float64)).item()
    assert red_mass(channels, edges, mean=mean, log_scale=log_scale) == pytest.approx(right, abs=1e-4)


def test_the_protocol_names_the_rule_where_there_are_two():
    def told(channels, levels, **options):
        return LogisticMixture(noise(1, mixture_channels(channels, 1), 1, 1), channels=channels, levels=levels, **options)

    rules = {told(3, 256).protocol, told(3, 256, edges="nvae").protocol, told(3, 32).protocol}
    assert len(rules) == 3 and "half-bin" in told(3, 256).protocol
    for channels, levels in ((1, 256), (1, 17), (3, 32)):
        assert told(channels, levels).protocol == told(channels, levels, edges="nvae").protocol


def test_the_outermost_levels_take_the_tails():
    likelihood = LogisticMixture(torch.tensor([0.0, 0.3, -1.0], dtype=torch.float64).view(1, 3, 1, 1), channels=1, levels=17)
    lowest = likelihood.log_prob(torch.zeros(1, 1, 1, 1, dtype=torch.float64)).exp().item()
    highest = likelihood.log_prob(torch.ones(1, 1, 1, 1, dtype=torch.float64)).exp().item()
    inverse = torch.tensor(1.0, dtype=torch.float64).exp()
    assert lowest == pytest.approx(torch.sigmoid(inverse * (-1 + 1 / 16 - 0.3)).item())
    assert highest == pytest.approx(1 - torch.sigmoid(inverse * (1 - 1 / 16 - 0.3)).item())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("extreme", [-50.0, 50.0])
@pytest.mark.parametrize("pixel", [0.0, 8 / 16, 1.0])
def test_gradients_stay_finite(channels, extreme, pixel):
    for scale in (-20.0, 0.0, 20.0):
        logits = torch.full((1, mixture_channels(channels, 2), 2, 2), extreme)
        logits[:, 2:].view(1, channels, -1, 2, 2)[:, :, 2:4] = scale
        logits.requires_grad_()
        log_prob = LogisticMixture(logits, channels=channels, levels=17).log_prob(torch.full((1, channels, 2, 2), pixel))
        (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_follow_the_log_probability(channels):
    """The frequency of red samples in each bin against the probability of that level; 4.5 standard errors."""
    count, levels = 20_000, 9
    one = noise(1, mixture_channels(channels, 2), 1, 1, seed=5)
    drawn = LogisticMixture(one.expand(count, -1, -1, -1), channels=channels, levels=levels).sample(seeded(1))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    frequency = torch.bincount((drawn[:, 0].flatten() * (levels - 1)).round().long(), minlength=levels) / count
    red = torch.cat([one[:, :2], one[:, 2:6]], dim=1)
    grey = LogisticMixture(red.expand(levels, -1, -1, -1), channels=1, levels=levels)
    expected = grey.log_prob((torch.arange(levels, dtype=torch.float64) / (levels - 1)).view(-1, 1, 1, 1)).exp()
    bound = 4.5 * (expected * (1 - expected) / count).sqrt() + 1e-4
    assert ((frequency - expected).abs() < bound).all()


def test_mixture_mean_is_the_mean_of_samples_inside_the_range():
    """Narrow components far from 0 and 1, so that no sample is clamped; 5 standard errors."""
    logits = torch.zeros(1, 20, 1, 1, dtype=torch.float64)
    logits[:, 0] = 1.0
    colours = logits[:, 2:].view(1, 3, 6, 1, 1)
    colours[:, :, :2] = torch.tensor([0.2, -0.3], dtype=torch.float64).view(1, 1, 2, 1, 1)
    colours[:, :, 2:4] = -5.0
    colours[:, :, 4:] = 0.0
    likelihood = LogisticMixture(logits.expand(20_000, -1, -1, -1), channels=3, levels=256)
    drawn = likelihood.sample(seeded(2))
    error = (drawn.mean(0) - likelihood.mean[0]).abs()
    assert (error < 5 * drawn.std(0) / 20_000**0.5).all()


@settings(deadline=None, max_examples=15)
@given(crop=st.integers(0, 2), side=st.integers(3, 6))
def test_a_crop_is_the_likelihood_of_the_centre(crop, side):
    padded = side + 2 * crop
    x = torch.rand(2, 1, side, side, generator=seeded(side), dtype=torch.float64).mul(16).round() / 16
    centre = slice(crop, crop + side)
    for kind, channels in ((Bernoulli, 1), (Normal, 2)):
        logits = noise(2, channels, padded, padded, seed=crop)
        a, b = kind(logits, crop=crop), kind(logits[..., centre, centre])
        torch.testing.assert_close(a.log_prob(x), b.log_prob(x))
        assert a.mean.shape == a.sample(seeded()).shape == x.shape
        assert "cut" in a.protocol or crop == 0
    logits = noise(2, 9, padded, padded)
    a = LogisticMixture(logits, channels=1, levels=17, crop=crop)
    b = LogisticMixture(logits[..., centre, centre], channels=1, levels=17)
    torch.testing.assert_close(a.log_prob(x), b.log_prob(x))
    assert a.mean.shape == a.sample(seeded()).shape == x.shape


def test_normal_is_the_density_of_twice_x_minus_one():
    logits, x = noise(3, 4, 2, 2, scale=4), torch.rand(3, 2, 2, 2, generator=seeded(), dtype=torch.float64)
    mean, log_scale = (5 * torch.tanh(logits / 5)).chunk(2, dim=1)
    expected = TorchNormal(mean, log_scale.exp() + 0.01).log_prob(2 * x - 1)
    torch.testing.assert_close(Normal(logits).entry_log_prob(x), expected)
    torch.testing.assert_close(Normal(logits).log_prob(x), expected.sum((1, 2, 3)))
    torch.testing.assert_close(Normal(logits).mean, (0.5 * mean + 0.5).clamp(0, 1))


@pytest.mark.parametrize("units", ["image", "data"])
def test_fixed_normal(units):
    mean, x = noise(5, 3, scale=0.2), torch.rand(5, 3, generator=seeded(), dtype=torch.float64)
    likelihood = FixedNormal(mean, 0.3, units=units)
    seen = 2 * x - 1 if units == "image" else x
    torch.testing.assert_close(likelihood.log_prob(x), TorchNormal(mean, 0.3).log_prob(seen).sum(1))
    many = FixedNormal(mean[:1].expand(20_000, -1), 0.05, units=units)
    error = (many.sample(seeded(3)).mean(0) - many.mean[0]).abs()
    assert (error < 5 * 0.05 / 20_000**0.5).all()


def test_bernoulli():
    logits = noise(2, 1, 3, 3)
    likelihood = Bernoulli(logits)
    ones = torch.ones_like(logits)
    torch.testing.assert_close(likelihood.entry_log_prob(ones).exp() + likelihood.entry_log_prob(0 * ones).exp(), ones)
    many = Bernoulli(logits[:1].expand(20_000, -1, -1, -1)).sample(seeded(4))
    assert set(many.unique().tolist()) <= {0.0, 1.0}
    assert ((many.mean(0) - likelihood.mean[0]).abs() < 5 * 0.5 / 20_000**0.5).all()


def test_half_precision_is_widened():
    logits = noise(2, 9, 4, 4).bfloat16()
    x = torch.zeros(2, 1, 4, 4)
    assert LogisticMixture(logits, channels=1, levels=17).log_prob(x).dtype == torch.float32
    assert Bernoulli(logits[:, :1]).log_prob(x).dtype == torch.float32
    assert Normal(logits[:, :2]).log_prob(x).dtype == torch.float32


def test_soft_clamp_is_bounded_and_the_identity_near_zero():
    values = torch.tensor([-100.0, -1e-3, 0.0, 1e-3, 100.0], dtype=torch.float64)
    torch.testing.assert_close(soft_clamp(values), torch.tensor([-5.0, -1e-3, 0.0, 1e-3, 5.0], dtype=torch.float64))


def test_a_mixture_needs_one_or_three_colours():
    with pytest.raises(UsageError, match="1 or 3"):
        mixture_channels(2, 5)
    with pytest.raises(ValueError, match="LogisticMixture"):
        LogisticMixture(torch.zeros(1, 7, 2, 2), channels=1, levels=17)


def test_means_of_images_are_images_and_those_of_points_are_not_touched():
    mean = torch.tensor([[-3.0, 0.5, 2.0]])
    assert FixedNormal(mean, 0.1).mean.tolist() == [[0.0, 0.75, 1.0]]
    assert torch.equal(FixedNormal(mean, 0.1, units="data").mean, mean)


def test_gaussian_entries_are_those_of_torch():
    x, mean, other = noise(3, 4, seed=1), noise(3, 4, seed=2), noise(3, 4, seed=3)
    p, q = TorchNormal(mean, mean.exp()), TorchNormal(other, other.exp())
    torch.testing.assert_close(normal_log_prob(x, mean, mean.exp()), p.log_prob(x))
    torch.testing.assert_close(normal_kl(mean, mean.exp(), other, other.exp()), torch.distributions.kl_divergence(p, q))
    standard = TorchNormal(torch.zeros(()).double(), torch.ones(()).double())
    torch.testing.assert_close(normal_kl(mean, mean.exp()), torch.distributions.kl_divergence(p, standard))
