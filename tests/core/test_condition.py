"""Conditions on samples, and chains that honour them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from priorkit_mcmc import Mala, MalaSettings, Sir, SirSettings

from priorkit.core import (
    Chain,
    Condition,
    LatentSpace,
    Layout,
    Prior,
    Sampler,
    Sampling,
    Settings,
    for_rows,
    resampled_start,
)
from priorkit.core.prior import FEW


class Steps(Sampler):
    """Adds 1 to every coordinate at each of three steps and remembers what it was given."""

    def __init__(self):
        super().__init__(Settings())
        self.seen = []

    def run(self, log_prob, start, *, generator=None, keep_every=0):
        states = [start + step for step in range(4)]
        self.seen = [log_prob(state) for state in states]
        return Chain(states[-1], calls=4, trajectory=torch.stack(states) if keep_every else None)


@given(fixed=st.integers(0, 4), n=st.integers(1, 5))
def test_whole_and_fix_put_the_fixed_columns_first(fixed, n):
    u = torch.randn(n, 5)
    condition = Condition(top=torch.randn(n, fixed) if fixed else None)
    found = condition.fix(u)
    assert condition.fixed == fixed
    assert torch.equal(found[:, fixed:], u[:, fixed:])
    if fixed:
        assert torch.equal(found[:, :fixed], condition.top)
    assert torch.equal(condition.whole(u[:, fixed:]), found)


def test_rows_go_on_with_the_last_sample():
    condition = Condition({"y": torch.arange(5)}, torch.arange(10.0).view(5, 2))
    rows = condition.rows(3, 4)
    assert rows.labels["y"].tolist() == [3, 4, 4, 4]
    assert rows.top[:, 0].tolist() == [6, 8, 8, 8]
    assert Condition().rows(7, 2) == Condition()


def test_a_conditioned_chain_moves_the_free_columns_alone():
    top, sampler = torch.randn(6, 2), Steps()
    start = torch.randn(6, 5)
    chain = Sampling(sampler, keep_every=1, condition=Condition(top=top)).run(lambda u: u.sum(1), start)
    expected = torch.cat([top, start[:, 2:] + 3], dim=1)
    assert torch.equal(chain.u, expected)
    assert torch.equal(chain.trajectory[-1], expected)
    assert torch.equal(chain.trajectory[:, :, :2], top.expand(4, 6, 2))
    torch.testing.assert_close(sampler.seen[0], top.sum(1) + start[:, 2:].sum(1))
    assert chain.calls == 4


def test_by_default_no_states_are_kept():
    assert Sampling(Steps()).run(lambda u: u.sum(1), torch.randn(3, 4)).trajectory is None


def test_without_fixed_layers_it_is_the_plain_chain():
    start = torch.randn(3, 4)
    for condition in (None, Condition({"y": torch.zeros(3, dtype=torch.int64)})):
        assert torch.equal(Sampling(Steps(), condition=condition).run(lambda u: u.sum(1), start).u, start + 3)


def test_lower_layers_under_fixed_upper_ones_follow_the_gaussian_s_conditional():
    """Of N(0, S) with blocks: mean S_21 S_11^-1 a and covariance S_22 - S_21 S_11^-1 S_12.  MALA is exact; with n chains
    the mean is off by at most 5 sqrt(var / n), a covariance entry by 5 sqrt(2 var^2 / n); entries are below 2."""
    root = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.4, 0.8, 0, 0], [0.7, -0.3, 0.6, 0], [-0.5, 0.6, 0.3, 0.9]]).double()
    covariance = root @ root.T
    precision = torch.linalg.inv(covariance)
    n, k, a = 8_000, 2, torch.tensor([1.2, -0.7]).double()
    mala = Mala(MalaSettings(steps=150, step_size=0.15, choose="fixed"))
    asked = Sampling(mala, torch.Generator().manual_seed(0), condition=Condition(top=a.expand(n, k)))
    chain = asked.run(lambda u: -0.5 * torch.einsum("bi,ij,bj->b", u, precision, u), torch.zeros(n, 4).double())
    gain = covariance[k:, :k] @ torch.linalg.inv(covariance[:k, :k])
    lower = chain.u[:, k:]
    conditional = covariance[k:, k:] - gain @ covariance[:k, k:]
    assert conditional.max() < 1
    assert (lower.mean(0) - gain @ a).abs().max() < 5 / math.sqrt(n)
    assert (lower.T.cov() - conditional).abs().max() < 5 * math.sqrt(2 / n)
    assert (conditional - covariance[k:, k:]).abs().max() > 0.3, "the layers must depend on each other"
    assert torch.equal(chain.u[:, :k], a.expand(n, k))


def test_a_resampled_start_has_the_law_of_importance_resampling():
    """Of M proposals weights w = e^{a u}; the mean of the kept one is near a, off by at most about 2 ESS^-1, with
    ESS = M e^{-a^2} = 32 / e^0.25 = 25; for n rows Monte Carlo adds 5 / sqrt(n)."""
    n, a = 20_000, 0.5
    condition = Condition(top=torch.full((n, 1), 3.0))
    u = resampled_start(
        lambda u: a * u[:, 1] - 0.5 * u.square().sum(1), torch.zeros(n, 2), condition,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert torch.equal(u[:, 0], torch.full((n,), 3.0))
    assert abs(u[:, 1].mean().item() - a) < 2 * a / 25 + 5 / math.sqrt(n)


def test_what_is_asked_of_a_sample_is_asked_of_all_its_proposals():
    """The density is 0 but where the last column is near the fixed one, of which each row has its own."""
    top = torch.arange(-2.0, 3.0)[:, None]
    sir = Sir(SirSettings(proposals=500, chunk=900))
    asked = Sampling(sir, torch.Generator().manual_seed(3), condition=Condition(top=top))
    chain = asked.run(lambda u: torch.where((u[:, 1] - u[:, 0]).abs() < 0.5, 0.0, -torch.inf), torch.zeros(5, 2))
    assert torch.equal(chain.u[:, :1], top)
    assert ((chain.u[:, 1] - top[:, 0]).abs() < 0.5).all()


class Squares(Prior):
    """Uniform on every second square of side 1/2 in [-2, 2]^2, and next to nothing elsewhere."""

    def log_ratio(self, u, *, stages=None):
        filled = (u.abs() < 2).all(1) & ((2 * u).floor().sum(1) % 2 == 0)
        return torch.where(filled, 0.0, -12.0) + 0.5 * u.square().sum(1).clamp(max=8)


def test_in_a_few_dimensions_the_default_sampler_s_chains_find_separate_modes_with_edges():
    """From N(0, I) alone more than half of the chains would have to walk over forbidden squares."""
    prior, n = Squares(Settings(), LatentSpace(Layout(((2,),)), lambda u: u, lambda batch: None)), 4_000
    mala = prior.tuned(Mala(MalaSettings()), generator=torch.Generator().manual_seed(0))
    u = prior.draw(n, Sampling(mala, torch.Generator().manual_seed(1))).u
    assert float((prior.log_ratio(u) < -5).double().mean()) < 0.01
    shares = torch.bincount((2 * u + 4).floor().long() @ torch.tensor([8, 1]), minlength=64).double() / n
    assert float(shares[shares > 0.001].min()) > 0.5 / 32 and float(shares.max()) < 2 / 32


class Shifted(Prior):
    """N(0.3, I)."""

    def log_ratio(self, u, *, stages=None):
        return 0.3 * u.sum(1)


@pytest.mark.parametrize(("free", "chosen"), [(FEW, True), (FEW + 1, False)])
def test_the_start_is_chosen_in_a_few_free_dimensions_alone(free, chosen):
    prior = Shifted(Settings(), LatentSpace(Layout(((3,), (free,))), lambda u: u, lambda batch: None))
    mala, condition = Mala(MalaSettings(steps=1, step_size=1e-12, choose="fixed")), Condition(top=torch.ones(200, 3))
    moved = prior.draw(200, Sampling(mala, torch.Generator().manual_seed(5), condition=condition)).u
    noise = condition.fix(prior.standard_normal(200, torch.Generator().manual_seed(5)))
    assert torch.allclose(moved, noise, atol=1e-4) is not chosen


class Signs(Prior):
    """The label of a point is the sign of its first coordinate."""

    def log_ratio(self, u, *, stages=None):
        return u.new_zeros(len(u))

    def label_log_prob(self, u, labels):
        assert len(labels["label"]) == len(u)
        return torch.where((u[:, 0] > 0) == (labels["label"] == 1), 0.0, -torch.inf)


@pytest.mark.parametrize("labels", [[1], [0, 1, 1, 0, 1]])
def test_a_sample_s_label_goes_with_all_its_proposals(labels):
    asked = torch.tensor(labels)
    made = Signs(Settings(), LatentSpace(Layout(((2,),)), lambda u: u, lambda batch: None))
    sampler, generator = Sir(SirSettings(proposals=60, chunk=40)), torch.Generator().manual_seed(4)
    drawn = made.draw(len(labels), Sampling(sampler, generator, condition=Condition({"label": asked})))
    assert torch.equal(drawn.u[:, 0] > 0, asked == 1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_resampled_start_never_keeps_a_point_without_a_density(wrong):
    u = resampled_start(
        lambda u: torch.where(u[:, 0] > 0, -0.5 * u.square().sum(1), torch.full((), wrong)), torch.zeros(50, 1), Condition(),
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    assert (u > 0).all()


def test_rows_of_a_sample_stand_together():
    values = torch.tensor([3, 5])
    assert for_rows(values, 6).tolist() == [3, 3, 3, 5, 5, 5] and for_rows(values, 2) is values
