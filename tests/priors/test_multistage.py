"""The multi-stage prior against analytic ratios, sums and samplers."""

import math
from dataclasses import replace

import pytest
import torch
from linear import Linear, prior, space
from priorkit_mcmc import Langevin, LangevinSettings, Mala, MalaSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from priorkit_multistage.pool import check_pool
from seeding import seeded
from torch import nn

from priorkit.core import Latents, LatentSpace, Layout, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError

DIM = 3


def context(positives, sampler=None):
    held = Latents(positives[:2000])
    return StageContext(Latents(positives), held, sampler or Langevin(LangevinSettings(steps=3)), Streams(0))


def test_nce_optimum_is_the_analytic_ratio():
    """Positives N(m, I) against N(0, I): log ratio m.u - |m|^2/2.  The logit is linear, so the loss is convex; its minimum
    over n = 200,000 points lies within 5 standard errors of the truth: the classifier's information is at least 0.1 a
    point here, so that a standard error is below (0.1 n)^-1/2 = 0.007."""
    mean = torch.tensor([0.8, -0.5, 0.3], dtype=torch.float64)
    made = prior(DIM, [Linear(torch.zeros(DIM))])
    n = 200_000
    positives = torch.randn(n, DIM, generator=seeded(1), dtype=torch.float64) + mean
    made.begin_stage(1, context(positives))
    objective = made.objectives()[0]
    optimiser = torch.optim.LBFGS(objective.parameters, max_iter=50, tolerance_grad=1e-9)

    def closure():
        optimiser.zero_grad()
        loss = objective.loss(Latents(positives), Step(0, 1, seeded(2))).value
        loss.backward()
        return loss

    optimiser.step(closure)
    energy = made.energies[0]
    torch.testing.assert_close(energy.weight.detach(), mean, atol=0.035, rtol=0)
    assert abs(energy.bias.item() + 0.5 * mean.square().sum().item()) < 0.035


def test_loss_is_two_log_two_where_nothing_can_be_told():
    made = MultistagePrior(MultistageSettings(stages=1), space(DIM))
    positives = torch.randn(50, DIM)
    made.begin_stage(1, context(positives))
    loss = made.objectives()[0].loss(Latents(positives), Step(0, 1, seeded())).value
    assert loss.item() == pytest.approx(2 * math.log(2), abs=1e-6)


def test_log_ratio_telescopes_over_stages():
    weights = torch.randn(3, DIM, dtype=torch.float64)
    made = prior(DIM, [Linear(w) for w in weights])
    u = torch.randn(7, DIM, dtype=torch.float64)
    torch.testing.assert_close(made.log_ratio(u), u @ weights.sum(0))
    for stages in range(4):
        torch.testing.assert_close(made.log_ratio(u, stages=stages), u @ weights[:stages].sum(0))


def test_a_bound_limits_each_stage_and_hardly_touches_small_logits():
    free = prior(DIM, [Linear(torch.ones(DIM) * 100), Linear(torch.ones(DIM) * 0.01)])
    bounded = prior(DIM, list(free.energies), bound=2.0)
    u = torch.randn(50, DIM, generator=seeded(8), dtype=torch.float64)
    assert bounded.log_ratio(u).abs().max() < 4
    # tanh(x) = x - x^3 / 3 + ..., so that b tanh(l / b) is off by less than |l|^3 / (3 b^2)
    small, exact = bounded.logits(u, [1]), free.logits(u, [1])
    assert ((small - exact).abs() <= exact.abs() ** 3 / 12 + 1e-15).all()


def test_energies_on_z_read_the_latent():
    weight = torch.randn(DIM, dtype=torch.float64)
    made = prior(DIM, [Linear(weight)], energy_input="z")
    u = torch.randn(7, DIM, dtype=torch.float64)
    torch.testing.assert_close(made.log_ratio(u), 2 * u @ weight)


def test_joint_chain_is_the_chain_of_summed_stage_gradients():
    """The same noise moves a chain on the joint density and one on gradients added up stage by stage to the same place."""
    torch.manual_seed(0)
    made = MultistagePrior(MultistageSettings(stages=3, energy={"network": "mlp"}), space(DIM)).double()
    for energy in made.energies:
        for parameter in energy.parameters():
            nn.init.normal_(parameter, std=0.2)
    made.active.fill_(3)
    steps, size = 6, 0.2
    start = torch.randn(5, DIM, generator=seeded(3), dtype=torch.float64)
    sampler = Langevin(LangevinSettings(steps=steps, step_size=size))
    joint = sampler.run(made.log_prob, start, generator=seeded(4)).u
    u, generator = start.clone(), seeded(4)
    for _ in range(steps):
        drift = -u
        for stage in range(3):
            x = u.clone().requires_grad_()
            drift = drift + torch.autograd.grad(made.logits(x, [stage]).sum(), x)[0]
        u = u + size / 2 * drift + math.sqrt(size) * torch.randn(u.shape, generator=generator, dtype=u.dtype)
    torch.testing.assert_close(joint, u)


@pytest.mark.parametrize("sampling", ["joint", "progressive"])
def test_draws_follow_the_product_of_stages(sampling):
    """Linear logits w_1 + w_2 tilt N(0, I) to N(w_1 + w_2, I).  MALA is exact; 4,000 chains: 5 standard errors."""
    weights = torch.tensor([[0.6, 0.0, -0.4], [0.2, 0.5, 0.1]], dtype=torch.float64)
    made = prior(DIM, [Linear(w) for w in weights], sampling=sampling).double()
    sampler = Mala(MalaSettings(steps=60, step_size=0.8))
    n = 4_000
    u = made.draw(n, Sampling(sampler, seeded(5))).u
    assert (u.mean(0) - weights.sum(0)).abs().max() < 5 / math.sqrt(n)
    assert (u.var(0) - 1).abs().max() < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("steps", [0, 60])
def test_stagewise_chains_see_their_own_stage_alone(steps):
    """Linear logits w_1 and w_2: the second chain starts from N(w_1, I) and, when it is long, ends in N(w_2, I); the product
    would be N(w_1 + w_2, I).  Without steps of its own it stays where the first ended."""
    weights = torch.tensor([[0.6, 0.0, -0.4], [0.2, 0.5, 0.1]], dtype=torch.float64)
    made, n = prior(DIM, [Linear(w) for w in weights], sampling="stagewise").double(), 4_000

    class FirstOnly(Mala):
        calls = 0

        def run(self, log_prob, start, **how):
            type(self).calls += 1
            chain = super().run(log_prob, start, **how)
            return chain if steps or self.calls == 1 else replace(chain, u=start)

    drawn = made.draw(n, Sampling(FirstOnly(MalaSettings(steps=60, step_size=0.8)), seeded(5)))
    assert len(drawn.chains) == 2 and not made.draws_follow_log_ratio
    assert (drawn.u.mean(0) - (weights[1] if steps else weights[0])).abs().max() < 5 / math.sqrt(n)


def test_pool_is_drawn_from_the_stages_before():
    weight = torch.tensor([1.0, 0.0, -0.5], dtype=torch.float64)
    made = prior(DIM, [Linear(weight), Linear(torch.zeros(DIM))], pool_size=4_000)
    sampler = Mala(MalaSettings(steps=60, step_size=0.8))
    made.begin_stage(2, context(torch.zeros(4_000, DIM, dtype=torch.float64), sampler))
    pool = made._negatives.drawn.u
    assert pool.shape == (4_000, DIM)
    assert (pool.mean(0) - weight).abs().max() < 5 / math.sqrt(4_000)
    assert made.trained_stages == 1


@pytest.mark.parametrize("stage", [2, 3])
def test_negatives_of_each_step_are_drawn_from_the_stages_before(stage):
    """Every ratio before stage m moves the mean by its weight, the later ones are 0; 5 sqrt(1 / n) for n chains."""
    weights = torch.tensor([[1.0, 0.0, -0.5], [0.0, 0.8, 0.0]], dtype=torch.float64)
    made = prior(DIM, [*map(Linear, weights), Linear(torch.ones(DIM))], negatives="chain")
    made.begin_stage(stage, context(torch.zeros(50, DIM, dtype=torch.float64), Mala(MalaSettings(steps=60, step_size=0.8))))
    made.active.fill_(3)  # so that only the request leaves the last ratios out
    drawn = made.inputs(made._negatives.beside(4_000, Step(0, 1, seeded())))
    assert (drawn.mean(0) - weights[: stage - 1].sum(0)).abs().max() < 5 / math.sqrt(4_000)


def test_posterior_samples_can_stand_in_for_negatives():
    """From stage 2 on; the first stage's are those of N(0, I)."""
    made = MultistagePrior(MultistageSettings(stages=2, negatives="posterior", energy_input="z"), space(DIM))
    earlier = Latents(torch.randn(1, DIM) + 9, torch.randn(1, DIM) - 9)
    made.begin_stage(1, context(earlier.u))
    drawn = made.inputs(made._negatives.beside(500, Step(0, 1, seeded())))
    assert drawn.abs().max() < 2 * 6, "T(u) = 2 u of draws of N(0, I)"
    made.active.fill_(1)
    made.begin_stage(2, StageContext(earlier, earlier, Langevin(LangevinSettings(steps=3)), Streams(0)))
    drawn = made.inputs(made._negatives.beside(5, Step(0, 1, seeded())))
    assert torch.equal(drawn, earlier.z.expand(5, -1))


def test_only_the_current_stage_learns():
    made = MultistagePrior(MultistageSettings(stages=2, pool_size=10), space(DIM))
    made.active.fill_(1)
    made.begin_stage(2, context(torch.randn(20, DIM)))
    assert not any(parameter.requires_grad for parameter in made.energies[0].parameters())
    assert all(parameter.requires_grad for parameter in made.energies[1].parameters())
    assert {id(p) for p in made.objectives()[0].parameters} == {id(p) for p in made.energies[1].parameters()}


def test_stages_that_learn_nothing_are_in_evaluation_mode():
    """So that the density that negatives are drawn from, and the labels' heads, have no dropout."""
    energy = {"network": "mlp", "width": 8, "dropout": 0.5}
    settings = MultistageSettings(stages=3, pool_size=10, energy=energy, labels=({"classes": 2, "energy": energy},))
    made, u = MultistagePrior(settings, space(DIM)), torch.randn(20, DIM, generator=seeded(1))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    for stage in (1, 2, 3):
        made.train()  # as the engine does before each phase
        made.begin_stage(stage, context(u))
        for number, module in enumerate(made.energies, start=1):
            assert {part.training for part in module.modules()} == {number == stage}
        assert {part.training for part in made.labels.modules()} == {stage == 1}
        assert torch.equal(*[made.log_ratio(u, stages=stage - 1) for _ in range(2)])
        assert not torch.equal(*[made.logits(u, [stage - 1]) for _ in range(2)])


def test_a_stage_is_judged_against_the_one_before():
    """Positives N(w, I).  The logit w.u tells them from N(0, I) with an AUC of Phi(|w| / sqrt 2), and from what the first
    stage has made of it, N(w, I), not at all.  Of 2,000 points and as many draws an AUC's standard error is below 0.01."""
    weight = torch.tensor([1.0, 0.0, -0.5], dtype=torch.float64)
    made = prior(DIM, [Linear(weight), Linear(weight)], pool_size=10, adaptive=False)
    points = torch.randn(2_000, DIM, generator=seeded(2), dtype=torch.float64) + weight
    bench = context(points, Mala(MalaSettings(steps=60, step_size=0.8)))
    found = []
    for stage in (1, 2):
        made.begin_stage(stage, bench)
        found.append(made.end_stage(stage, bench)["heldout_auc"])
    told = torch.special.ndtr(weight.norm() / math.sqrt(2)).item()
    assert found == pytest.approx([told, 0.5], abs=0.05)


def test_adaptive_stops_when_nothing_can_be_told():
    made = MultistagePrior(MultistageSettings(stages=3, adaptive=True), space(DIM))
    bench = context(torch.randn(4_000, DIM, generator=seeded(6)))
    made.begin_stage(1, bench)
    figures = made.end_stage(1, bench)
    assert figures["heldout_auc"] == 0.5
    assert (made.trained_stages, made.should_train(2)) == (0, False)
    restored = MultistagePrior(made.settings, space(DIM))
    restored.load_state_dict(made.state_dict())
    assert not restored.should_train(2), "a resumed run must know that training was over"


def test_layer_logits_need_separable_energies():
    with pytest.raises(UsageError, match=r"prior\.logit"):
        MultistagePrior(MultistageSettings(logit="layer"), space(DIM))


def test_gaussian_prior_is_the_standard_normal():
    from priorkit_gaussian import GaussianPrior

    from priorkit.core import Settings

    made = GaussianPrior(Settings(), space(DIM))
    n = 20_000
    u = made.draw(n, Sampling(None, seeded(7))).u
    assert made.stages == 0
    assert torch.equal(made.log_ratio(u), torch.zeros(n))
    assert u.mean(0).abs().max() < 5 / math.sqrt(n)
    assert (u.T @ u / n - torch.eye(DIM)).abs().max() < 5 * math.sqrt(2 / n)


def test_the_sampler_is_tuned_for_the_stage_it_draws_from():
    """Of a narrow density MALA must choose a smaller step than of N(0, I)."""

    class Narrow(nn.Module):
        def forward(self, x):
            return -200 * x.square().sum(1, keepdim=True)

    from priorkit_multistage.pool import tuned_sampler

    made = prior(DIM, [Narrow()])
    bench = context(torch.zeros(10, DIM, dtype=torch.float64), Mala(MalaSettings(choose="acceptance")))
    sizes = [tuned_sampler(made, stages, bench).settings.step_size for stages in (0, 1)]
    assert sizes[1] < 0.1 * sizes[0]


def test_chains_that_leave_the_finite_numbers_are_told():
    from priorkit.errors import DivergedError

    class Pole(nn.Module):
        def forward(self, x):
            return x.sum(1, keepdim=True) * float("inf")

    made = prior(DIM, [Pole(), Linear(torch.zeros(DIM))])
    with pytest.raises(DivergedError, match="non-finite states"):
        made.begin_stage(2, context(torch.zeros(10, DIM, dtype=torch.float64)))


def test_a_pool_that_cannot_fit_is_refused_before_anything_is_trained():
    with pytest.raises(UsageError, match=r"prior\.pool_size"):
        MultistagePrior(MultistageSettings(stages=2, pool_size=10**9), space(DIM))
    for unread in ({"stages": 1}, {"stages": 2, "negatives": "chain"}):
        MultistagePrior(MultistageSettings(pool_size=10**9, **unread), space(DIM))


def test_the_refusal_of_a_pool_names_its_size_and_the_largest():
    """2^30 points of 8 latents in float32 are 32 GiB; 4 GiB hold 2^27 of them."""
    with pytest.raises(UsageError, match=r"would take 32 GiB.*pool_size=134217728 or less"):
        check_pool(2**30, 8)
    check_pool(2**27, 8)


def test_a_separable_stage_logs_the_loss_of_each_layer():
    made = MultistagePrior(
        MultistageSettings(stages=1, energy={"coupling": "separable", "width": 8}, logit="joint"),
        LatentSpace(Layout(((2,), (3,))), lambda u: u, lambda batch: None),
    )
    positives = torch.randn(50, 5, generator=seeded(1))
    made.begin_stage(1, context(positives))
    loss = made.objectives()[0].loss(Latents(positives), Step(0, 1, seeded()))
    torch.testing.assert_close(loss.metrics["layer"], torch.full((2,), 2 * math.log(2)))
    assert loss.metrics["chance"].item() == pytest.approx(2 * math.log(2))
    assert loss.value.item() == pytest.approx(2 * math.log(2), abs=1e-6)


def test_labels_are_asked_for_in_the_first_stage_alone():
    """Later stages have no heads, so that held-out points without labels can judge them."""
    made = MultistagePrior(MultistageSettings(stages=2, pool_size=50, labels=[{"classes": 2}]), space(DIM)).eval()
    unlabelled = context(torch.randn(60, DIM, generator=seeded(2)))
    made.begin_stage(1, unlabelled)
    assert made.heldout_loss(unlabelled) is None
    made.active.fill_(1)
    made.begin_stage(2, unlabelled)
    assert made.heldout_loss(unlabelled) == pytest.approx(2 * math.log(2), abs=1e-5)
