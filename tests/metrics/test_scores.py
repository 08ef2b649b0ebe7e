"""Scores of chosen layers where the other layers can be integrated out by hand."""

import pytest
import torch
from priorkit_diffusion import DiffusionPrior, DiffusionSettings
from priorkit_gaussian import GaussianPrior
from priorkit_vdrme import VdrmePrior, VdrmeSettings
from seeding import seeded
from test_bounds import Linear

from priorkit.core import LatentSpace, Layout, Settings
from priorkit.metrics.scores import (
    SIGNAL,
    chosen_log_ratios,
    columns_of,
    denoised,
    likelihood_above,
    part_log_ratio,
    signal_of,
)

LAYOUT = Layout(((1,), (2,)))


class Ratio:
    """What the scores need of a prior."""

    layout = LAYOUT

    def __init__(self, log_ratio, first_signal=None):
        self.log_ratio, self.first_signal = log_ratio, first_signal


def test_columns():
    layout = Layout(((2,), (1, 2), (3,)))
    assert columns_of(layout, (1,), torch.device("cpu")).tolist() == [False] * 2 + [True] * 2 + [False] * 3
    assert columns_of(layout, (0, 2), torch.device("cpu")).int().tolist() == [1, 1, 0, 0, 1, 1, 1]


def test_a_coupled_ratio_is_integrated():
    """E exp(a u0 u1) over u1 ~ N(0, 1) is exp(a^2 u0^2 / 2); 40,000 draws at |a u0| <= 1 leave 0.7 % of it."""
    u = torch.cat([torch.linspace(-2, 2, 9)[:, None], torch.full((9, 2), 9.0)], dim=1)
    columns = columns_of(LAYOUT, (0,), u.device)
    others = torch.randn(40_000, 3, generator=seeded())
    found = part_log_ratio(lambda u: 0.5 * u[:, 0] * u[:, 1], u, columns, others)
    assert torch.allclose(found, 0.125 * u[:, 0].square(), atol=0.03)


def test_of_a_sum_over_layers_the_other_terms_are_a_constant():
    """Exactly, also with few draws: they are the same for every image."""
    u, others = torch.randn(20, 3, generator=seeded(1)), torch.randn(4, 3, generator=seeded(2))
    log_ratio = lambda u: u[:, 0].sin() + u[:, 1] * u[:, 2]  # noqa: E731
    found = part_log_ratio(log_ratio, u, columns_of(LAYOUT, (0,), u.device), others)
    assert (found - u[:, 0].sin()).std() < 1e-5
    whole = part_log_ratio(log_ratio, u, columns_of(LAYOUT, (0, 1), u.device), others)
    assert torch.equal(whole, log_ratio(u))


class Staged(Ratio):
    """After m stages m (sin u_0 + u_1 u_2), as a sum over layers or as one number."""

    def __init__(self, decomposes):
        super().__init__(lambda u, stages=None: self.terms(u, stages).sum(1))
        self.decomposes = decomposes

    def terms(self, u, stages):
        return (3 if stages is None else stages) * torch.stack([u[:, 0].sin(), u[:, 1] * u[:, 2]], dim=1)

    def layer_log_ratio(self, u, *, stages=None):
        return self.terms(u, stages) if self.decomposes else None


@pytest.mark.parametrize("stages", [None, 1, 2])
def test_of_a_sum_each_stage_is_the_sum_of_its_terms(stages):
    """No draws: the terms themselves, also of a stage; integrated out, the same but for one constant for all points."""
    u, others, choices = torch.randn(20, 3, generator=seeded(1)), torch.randn(4, 3, generator=seeded(2)), {"top:1": (0,)}
    found = chosen_log_ratios(Staged(True), u, choices | {"all": (0, 1)}, others, stages=stages)
    times = stages or 3
    torch.testing.assert_close(found["top:1"], times * u[:, 0].sin())
    assert torch.equal(found["top:1"], found["layer:0"])
    torch.testing.assert_close(found["layer:1"], times * u[:, 1] * u[:, 2])
    torch.testing.assert_close(found["all"], found["layer:0"] + found["layer:1"])
    integrated = chosen_log_ratios(Staged(False), u, choices, others, stages=stages)
    assert set(integrated) == {"top:1"} and (integrated["top:1"] - found["top:1"]).std() < 1e-5


@pytest.mark.parametrize("own", [None, 0.946, 0.1])
def test_denoising_under_the_gaussian_prior_is_exact(own):
    """u_0 given u_1 = A u + S e is A u_1 + S w: mean A^2 u, variance S^2 (1 + A^2); within 4 standard errors.  A is the
    prior's own where it has noise levels."""
    count, u, signal = 20_000, torch.tensor([[2.0, -1.0, 0.5]]), own or SIGNAL
    drawn = torch.zeros(count, 3)
    columns = columns_of(LAYOUT, (0,), u.device)
    found = denoised(Ratio(lambda u: u.new_zeros(len(u)), own), u.expand(count, -1), columns, drawn, seeded(3))
    variance = (1 - signal**2) * (1 + signal**2)
    error = 4 * (variance / count) ** 0.5
    assert torch.allclose(found.mean(0), torch.tensor([2 * signal**2, 0, 0]), atol=error)
    assert torch.allclose(found.var(0), torch.full((3,), variance), atol=4 * variance * (2 / count) ** 0.5)


def test_priors_with_noise_levels_tell_their_first():
    """The diffusion's are known from its paper's code: 0.72209628 with three levels, 0.9461193 = 0.99995 * 0.94616654 with
    the default six.  VDRME's with one scale is the end of the schedule, 0.0063528."""
    space = LatentSpace(LAYOUT, lambda u: u, lambda batch: None)
    assert signal_of(DiffusionPrior(DiffusionSettings(levels=3), space)) == pytest.approx(0.72209628, abs=1e-7)
    assert signal_of(DiffusionPrior(DiffusionSettings(), space)) == pytest.approx(0.99995 * 0.94616654, abs=1e-7)
    assert signal_of(VdrmePrior(VdrmeSettings(scales=1), space)) == pytest.approx(0.00635282, abs=1e-6)
    assert signal_of(GaussianPrior(Settings(), space)) == SIGNAL


def test_denoising_follows_a_linear_ratio():
    """exp(b u0) shifts the mean of u_0 given u_1, whose variance is S^2, by b S^2."""
    drawn = torch.zeros(20_000, 3)
    columns = columns_of(LAYOUT, (0,), drawn.device)
    found = denoised(Ratio(lambda u: 1.5 * u[:, 0]), drawn, columns, drawn, seeded(4))
    assert abs(found[:, 0].mean() - 1.5 * (1 - SIGNAL**2)) < 0.03
    assert abs(found[:, 1].mean()) < 0.03


def test_the_bound_with_lower_layers_from_the_prior():
    """With every layer it is the ELBO; with fewer it is below it on average (the KL of the rest is not negative)."""
    backbone, x = Linear(), torch.randn(500, 3, generator=seeded(5))
    posterior = backbone.infer(x, generator=seeded(6))
    whole = backbone.generate(posterior.u).likelihood.log_prob(x) - posterior.kl.sum(1)
    assert torch.allclose(likelihood_above(backbone, x, posterior, 2, seeded(7)), whole)
    assert likelihood_above(backbone, x, posterior, 1, seeded(7)).mean() < whole.mean()
    assert likelihood_above(Linear("point"), x, Linear("point").infer(x), 1, None) is None
