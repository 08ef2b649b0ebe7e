"""The held-out loss by which a stage's weights are compared, against its definition."""

import math
from dataclasses import replace

import pytest
import torch
from linear import Linear, prior
from priorkit_mcmc import Langevin, LangevinSettings
from test_conditional_base import bench
from test_conditional_base import prior as on_a_base
from test_ncp import points, random_prior
from test_ncp import stage as ncp_stage
from torch.nn.functional import softplus

from priorkit.core import Latents, Prior, StageContext, Streams

MEAN = torch.tensor([0.8, -0.5, 0.3], dtype=torch.float64)
DIM = len(MEAN)
CHANCE = 2 * math.log(2)


def context(seed=0, labels=None):
    """Positives N(MEAN, I), 2,000 of them held out."""
    made = torch.randn(4_000, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + MEAN
    return StageContext(Latents(made[2_000:]), Latents(made[:2_000], labels=labels), chain(), Streams(0))


def chain():
    return Langevin(LangevinSettings(steps=3))


def test_it_is_the_cross_entropy_at_held_out_points_and_draws_of_the_base():
    """Within 5 standard errors of its mean over a million points."""
    made, told = prior(DIM, [Linear(MEAN, -0.2)], adaptive=False), context()
    made.begin_stage(1, told)
    noise = torch.randn(1_000_000, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        terms = [softplus(-made.energies[0](noise + MEAN)), softplus(made.energies[0](noise))]
    error = math.sqrt(sum(float(term.var()) for term in terms) / 2_000)
    assert abs(made.heldout_loss(told) - sum(float(term.mean()) for term in terms)) < 5 * error


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_classifier_that_will_not_count_has_the_loss_of_chance(adaptive):
    made, told = prior(DIM, [Linear(-5 * MEAN)], adaptive=adaptive), context()
    made.begin_stage(1, told)
    found = made.heldout_loss(told)
    assert (found == pytest.approx(CHANCE, abs=1e-12)) if adaptive else found > 2 * CHANCE


def test_its_negatives_are_drawn_once_and_are_none_of_the_stages_own():
    made, told = prior(DIM, [Linear(MEAN), Linear(MEAN)], pool_size=3_000), context()
    made.begin_stage(2, told)
    first = made.heldout_loss(told)
    (drawn,) = made._negatives.compared
    assert drawn.shape == (2_000, DIM) and made.heldout_loss(told) == first
    assert made._negatives.compared[0] is drawn
    assert float(torch.cdist(drawn, made._negatives.drawn.u).min()) > 0
    made.begin_stage(2, told)  # as a resumed run does
    assert made.heldout_loss(told) == first and torch.equal(made._negatives.compared[0], drawn)


@pytest.mark.parametrize("stage", [1, 2])
def test_of_conditional_energies_it_is_that_of_the_base_and_then_that_of_the_ratios(stage):
    made, joint = on_a_base(stages=1, active=0)
    told = bench(joint.sample((2_000,)))
    made.begin_stage(stage, told)
    made.eval()
    with torch.no_grad():
        found = made.heldout_loss(told)
        gain = float(made.base_gains(told.heldout).mean(0).sum())
    # Ratios begin at 0.
    assert found == pytest.approx(-gain / joint.mean.numel() ** 0.5 if stage == 1 else 2 * CHANCE, abs=1e-9)


def test_of_ncp_it_is_the_loss_of_training_against_negatives_of_its_own():
    made, u = random_prior(), points(300, 19)
    noise = torch.randn(u.shape, generator=Streams(0).generator("ncp.validating"), dtype=u.dtype)
    with torch.no_grad():
        logits = made.conditional_logits(u, torch.stack([u, noise], 1))
        found, again = made.heldout_loss(ncp_stage(u)), made.heldout_loss(ncp_stage(u))
    loss = softplus(-logits[:, 0]).mean(0) + softplus(logits[:, 1]).mean(0)
    assert found == again == pytest.approx(float(loss.sum()), abs=1e-9)


@torch.no_grad()
def test_without_held_out_points_or_their_labels_there_is_none():
    made, told = prior(DIM, [Linear(MEAN)], labels=({"classes": 2, "energy": {"width": 4}},)), context()
    made.begin_stage(1, told)
    assert made.heldout_loss(told) is None
    known = context(labels=torch.zeros(2_000, dtype=torch.int64))
    ratio = float(made._negatives.judged(known, comparing=True).weighted_loss.sum())
    assert made.heldout_loss(known) == pytest.approx(ratio + math.log(2))
    assert made.heldout_loss(replace(told, heldout=told.heldout[:0])) is None
    assert Prior.heldout_loss(made, told) is None
