"""The maximum-likelihood prior against quadrature, closed forms and slow chains."""

import math

import pytest
import torch
from linear import Linear, space
from priorkit_jointebm import JointEbmPrior, JointEbmSettings
from priorkit_jointebm.chain import Moved, run_chains
from priorkit_mcmc import Langevin, LangevinSettings, Mala, MalaSettings
from seeding import seeded
from torch import nn
from torch.distributions import Normal

from priorkit.core import Condition, Context, Latents, LatentSpace, Layout, Sampling, StageContext, Step, Streams, TopDown
from priorkit.engine.process_context import ProcessContext
from priorkit.engine.update import Updater
from priorkit.errors import UsageError
from priorkit.mcmc import adjusted_langevin_step, state_at

DIM = 3


def context(heldout=0):
    points = torch.randn(heldout, DIM, generator=seeded(9), dtype=torch.float64)
    return StageContext(Latents(points), Latents(points), Mala(MalaSettings(steps=20)), Streams(0))


def made(dim=DIM, net=None, over=None, **options):
    """A prior in double precision, with the given network in place of its own; F is free, so that truths are exact."""
    prior = JointEbmPrior(JointEbmSettings(**{"bound": None} | options), over or space(dim)).double()
    if net is not None:
        prior.net = net
    return prior


def small_network(dim):
    """A smooth F of moderate size with random weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    nn.init.normal_(net[0].weight, std=1.0)
    nn.init.normal_(net[2].weight, std=0.8)
    return net


def quadrature(log_prob, dim):
    """Points (N, dim), their log density under N(0, I) tilted by F and the log normaliser: the trapezoid rule on
    [-8, 8]^dim, whose error for a smooth density that has died away at the edges is far below 1e-6."""
    axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * dim).view(-1, dim)
    log_density = log_prob(grid)
    log_z = log_density.logsumexp(0) + dim * math.log(16 / 320)
    return grid, log_density - log_z + dim * math.log(16 / 320), log_z


@pytest.mark.parametrize("dim", [1, 2])
def test_gradient_is_that_of_the_log_likelihood(dim):
    """Minus the loss's gradient along a direction against finite differences of E_q[F] - log Z, log Z by quadrature.

    The chains are exact draws of p but for what 80 steps of MALA leave; the tolerance is 5 standard errors of their mean."""
    n = 4_000
    prior = made(dim, small_network(dim), chain={"chains": n, "step_size": 1.5, "target": None, "refresh": 0.0, "steps": 20})
    positives = Latents(0.7 * torch.randn(n, dim, generator=seeded(1), dtype=torch.float64) + 0.8)
    prior.begin_stage(1, context())
    objective = prior.objectives()[0]
    generator = seeded(2)
    for _ in range(4):
        loss = objective.loss(positives, Step(0, 1, generator)).value
    gradient = torch.autograd.grad(loss, list(prior.net.parameters()))
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in prior.net.parameters()]
    measured = -sum((g * d).sum() for g, d in zip(gradient, directions, strict=True))

    def shifted(by):
        with torch.no_grad():
            for parameter, direction in zip(prior.net.parameters(), directions, strict=True):
                parameter.add_(direction, alpha=by)
            grid, log_p, log_z = quadrature(prior.log_prob, dim)
            found = prior.log_ratio(positives.u).mean() - log_z, prior.log_ratio(grid), log_p
            for parameter, direction in zip(prior.net.parameters(), directions, strict=True):
                parameter.sub_(direction, alpha=by)
        return found

    step = 1e-4
    (above, f_above, _), (below, f_below, _), (_, _, log_p) = shifted(step), shifted(-step), shifted(0.0)
    exact = (above - below) / (2 * step)
    slope, weight = (f_above - f_below) / (2 * step), log_p.exp()
    deviation = ((slope.square() * weight).sum() - (slope * weight).sum() ** 2).sqrt()
    # The chains' own noise alone must be what separates the two: the finite differences are good to 1e-6.
    assert abs(measured - exact) < 5 * deviation / math.sqrt(n) + 1e-6
    assert abs(exact) > 10 * deviation / math.sqrt(n), "the test can tell the gradient from none"


def test_adjusted_chains_are_exact_and_plain_ones_have_the_known_bias():
    """On N(w, I) the plain chain has the variance 1 / (1 - s/4); 5 standard errors over 10,000 x 3 values."""
    mean, n, size = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64), 10_000, 1.2

    def log_prob(u):
        return -0.5 * (u - mean).square().sum(1)

    error = 5 * math.sqrt(2 / (3 * n))
    for adjust, variance in ((True, 1.0), (False, 1 / (1 - size / 4))):
        start = torch.randn(n, DIM, generator=seeded(3), dtype=torch.float64)
        moved = run_chains(
            log_prob, start, steps=25, size=torch.tensor(size, dtype=torch.float64), adjust=adjust, generator=seeded(4)
        )
        assert abs((moved.u - mean).square().mean() / variance - 1) < error
        assert (moved.u.mean(0) - mean).abs().max() < 5 * math.sqrt(variance / n)


def test_short_run_negatives_are_plain_langevin_from_noise():
    """The papers' chain, written out, moves the same noise to the same process."""
    steps, size, n = 7, 0.3, 5
    chain = {"start": "noise", "steps": steps, "step_size": size, "adjust": False}
    prior = made(DIM, small_network(DIM), chain=chain)
    prior.begin_stage(1, context())
    moved = prior._negatives.draw(n, prior.log_prob, seeded(5))
    generator = seeded(5)
    u = start = torch.randn(n, DIM, generator=generator, dtype=torch.float64)
    for _ in range(steps):
        x = u.clone().requires_grad_()
        drift = torch.autograd.grad(prior.net(x).sum(), x)[0] - u
        u = u + size / 2 * drift + math.sqrt(size) * torch.randn(u.shape, generator=generator, dtype=u.dtype)
    torch.testing.assert_close(moved.u, u)
    torch.testing.assert_close(moved.displacement, (u - start).square().mean().sqrt())
    assert prior._negatives.log_size.exp().item() == pytest.approx(size), "a plain chain's step is fixed"


class _Walk(TopDown):
    """Two layers of 1 and 2 coordinates: mu_1 = z_0, sigma_0 = 1.5, sigma_1 = exp(z_0 / 2)."""

    def __init__(self, batch):
        self.batch, self.top = batch, None

    def context(self):
        if self.top is None:
            zero = torch.zeros(self.batch, 1, dtype=torch.float64)
            return Context(zero, torch.full_like(zero, 1.5), None)
        return Context(self.top.expand(-1, 2), (self.top / 2).exp().expand(-1, 2), None)

    def take(self, z):
        self.top = z

    def decode(self):
        raise NotImplementedError


def hierarchy():
    def latents(u):
        walk = _Walk(len(u))
        z = [walk.take_noise(u[:, :1])]
        below = walk.context()
        return torch.cat([*z, below.mean + below.scale * u[:, 1:]], dim=1)

    return LatentSpace(Layout(((1,), (2,))), latents, _Walk)


@pytest.mark.parametrize("reads", ["u", "z"])
@pytest.mark.parametrize("coupling", ["coupled", "separable"])
def test_the_two_base_densities(reads, coupling):
    """u: F + log N(u; 0, I).  z, the released code's: F + log p(z) at z = T(u), a sum of Gaussian log densities of z."""
    options = {"energy_input": reads, "energy": {"coupling": coupling, "width": 8}}
    u = torch.randn(6, 3, generator=seeded(6), dtype=torch.float64)
    right = made(over=hierarchy(), **options)
    slip = made(over=hierarchy(), base_density="z", **options)
    for parameter in right.net.parameters():
        nn.init.normal_(parameter, std=0.3)
    slip.load_state_dict(right.state_dict())
    z = hierarchy().latents(u)
    energy = right.net(z if reads == "z" else u).sum(1)
    torch.testing.assert_close(right.log_ratio(u), energy)
    top, below = z[:, :1], z[:, 1:]
    log_base = Normal(0.0, 1.5).log_prob(top).sum(1) + Normal(top, (top / 2).exp()).log_prob(below).sum(1)
    difference = slip.log_prob(u) - (energy + log_base)
    torch.testing.assert_close(difference, difference[:1].expand(6))
    for prior in (right, slip):
        layers = prior.layer_log_ratio(u)
        if coupling == "coupled":
            assert layers is None
        else:
            torch.testing.assert_close(layers.sum(1), prior.log_ratio(u))


def test_energies_on_z_read_the_latent():
    weight = torch.randn(DIM, dtype=torch.float64)
    u = torch.randn(7, DIM, dtype=torch.float64)
    torch.testing.assert_close(made(net=Linear(weight), energy_input="z").log_ratio(u), 2 * u @ weight)


def test_an_untrained_prior_and_one_of_no_stages_are_the_gaussian():
    u = torch.randn(5, DIM, dtype=torch.float64)
    assert torch.equal(made().log_ratio(u), torch.zeros(5, dtype=torch.float64))
    assert torch.equal(made(net=Linear(torch.ones(DIM))).log_ratio(u, stages=0), torch.zeros(5, dtype=torch.float64))
    drawn = made().draw(4, Sampling(Mala(MalaSettings()), seeded(1), stages=0)).u
    assert torch.equal(drawn, torch.randn(4, DIM, generator=seeded(1), dtype=torch.float64))


def labelled():
    """F = lse_k of linear logits w_k.u: p(u | y = k) is N(w_k, I), p(y = k) in proportion to exp(|w_k|^2 / 2)."""
    weights = torch.tensor([[1.0, 0.0, -0.5], [-0.8, 0.6, 0.0]], dtype=torch.float64)

    class Logits(nn.Module):
        def forward(self, x):
            return x @ weights.T

    prior = made(net=Linear(torch.zeros(DIM)), labels=({"name": "kind", "classes": 2},))
    prior.labels.nets = nn.ModuleList([Logits()])
    return prior, weights


def test_conditional_draws_follow_bayes_rule():
    """4,000 draws by MALA: 5 standard errors."""
    prior, weights = labelled()
    n, sampler = 4_000, Mala(MalaSettings(steps=60, step_size=0.8))
    labels = {"kind": torch.arange(n) % 2}
    u = prior.draw(n, Sampling(sampler, seeded(7), condition=Condition(labels))).u
    for k in (0, 1):
        of_k = u[k::2]
        assert (of_k.mean(0) - weights[k]).abs().max() < 5 / math.sqrt(n / 2)
        assert (of_k.var(0) - 1).abs().max() < 5 * math.sqrt(2 / (n / 2))
    chance = (weights.square().sum(1) / 2).softmax(0)
    expected = (chance[:, None] * weights).sum(0)
    spread = 1 + (chance[:, None] * (weights - expected).square()).sum(0).max()
    anything = prior.draw(n, Sampling(sampler, seeded(8))).u
    assert (anything.mean(0) - expected).abs().max() < 5 * math.sqrt(spread / n)


def test_the_evidence_of_labels_is_part_of_every_layer_sum():
    prior, _ = labelled()
    u = torch.randn(6, DIM, dtype=torch.float64)
    torch.testing.assert_close(prior.log_ratio(u), prior.labels.evidence(u))


def test_fixed_upper_layers_stay_and_the_rest_follows_their_conditional():
    """F = 3 u_0 u_1: given u_0 = a the second coordinate is N(3a, 1)."""

    class Product(Linear):
        def forward(self, x):
            return self.weight * x[:, :1] * x[:, 1:2]

    over = LatentSpace(Layout(((1,), (1,))), lambda u: u, lambda batch: None)
    n = 4_000
    top = torch.full((n, 1), 0.4, dtype=torch.float64)
    u = (
        made(net=Product(3.0), over=over)
        .draw(n, Sampling(Mala(MalaSettings(steps=60, step_size=0.8)), seeded(9), condition=Condition(top=top)))
        .u
    )
    assert torch.equal(u[:, :1], top)
    assert abs(u[:, 1].mean() - 1.2) < 5 / math.sqrt(n)
    assert abs(u[:, 1].var() - 1) < 5 * math.sqrt(2 / n)


def trained(prior, updater, first, last):
    batch = Latents(torch.randn(20, DIM, generator=seeded(10), dtype=torch.float64) + 1)
    for index in range(first, last):
        torch.manual_seed(index)
        taken, figures = updater.step([batch], Step(index, last, seeded(100 + index)))
        assert taken
    return figures


@pytest.mark.parametrize("start", ["persistent", "noise"])
def test_a_killed_run_resumes_bit_for_bit(start):
    """Chains and step size are among what a checkpoint saves: 3 + 3 steps are 6 steps."""

    def begun(seed):
        torch.manual_seed(seed)
        prior = made(chain={"chains": 30, "start": start, "refresh": 0.2}, energy={"width": 8, "dropout": 0.2})
        prior.train()
        prior.begin_stage(1, context())
        return prior, Updater(prior, prior.objectives(), ProcessContext(torch.device("cpu")))

    whole, updater = begun(0)
    trained(whole, updater, 0, 3)
    saved = {name: value.clone() for name, value in whole.state_dict().items()}
    state = {name: value.clone() for name, value in updater.state().items()}
    trained(whole, updater, 3, 6)
    resumed, updater = begun(1)
    resumed.load_state_dict(saved)
    updater.load(state)
    trained(resumed, updater, 3, 6)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_refused_step_puts_the_chains_back():
    prior = made(chain={"chains": 30})
    prior.begin_stage(1, context())
    updater = Updater(prior, prior.objectives(), ProcessContext(torch.device("cpu")))
    negatives = prior._negatives
    before = [negatives.states.clone(), negatives.log_size.clone()]
    bad = Latents(torch.full((20, DIM), torch.nan, dtype=torch.float64))
    taken, _ = updater.step([bad], Step(0, 1, seeded()))
    assert not taken
    for old, now in zip(before, [negatives.states, negatives.log_size], strict=True):
        assert torch.equal(old, now)


def test_a_proposal_that_is_not_finite_is_never_accepted():
    def log_prob(u):
        return torch.where(u.sum(1) > 0, torch.nan, -0.5 * u.square().sum(1))

    start = -torch.randn(200, DIM, generator=seeded(11), dtype=torch.float64).abs()
    moved = run_chains(
        log_prob, start, steps=20, size=torch.tensor(0.5, dtype=torch.float64), adjust=True, generator=seeded(12)
    )
    assert (moved.u.sum(1) <= 0).all()
    assert moved.displacement > 0.1


def test_the_step_size_follows_the_acceptance():
    """On a narrow density it must shrink, towards an acceptance of 0.574 within what 300 noisy updates leave."""

    class Narrow(Linear):
        def forward(self, x):
            return self.weight * x.square().sum(1, keepdim=True)

    prior = made(net=Narrow(-200.0), chain={"chains": 200, "step_size": 1.0})
    prior.begin_stage(1, context())
    rates = [prior._negatives.draw(200, prior.log_prob, seeded(i)).acceptance for i in range(300)]
    assert rates[0] < 0.1
    assert abs(torch.stack(rates[-50:]).mean() - 0.574) < 0.05


def test_training_draws_with_the_parts_as_they_were():
    """The chains run frozen and without dropout; the gradient reaches every parameter all the same."""
    prior = made(energy={"width": 8, "dropout": 0.5}, chain={"chains": 30})
    for parameter in prior.net.parameters():
        nn.init.normal_(parameter, std=0.3)
    prior.train()
    prior.begin_stage(1, context())
    batch = Latents(torch.randn(20, DIM, dtype=torch.float64))
    prior.objectives()[0].loss(batch, Step(0, 1, seeded())).value.backward()
    assert prior.training
    # The output's bias moves F by a constant, which Z takes out again.
    assert all(p.grad is not None for p in prior.net.parameters())
    assert abs(list(prior.net.parameters())[-1].grad.item()) < 1e-12


def test_bound_and_energy_penalty():
    wide = made(net=Linear(torch.ones(DIM) * 100), bound=2.0)
    u = torch.randn(50, DIM, dtype=torch.float64)
    assert wide.log_ratio(u).abs().max() <= 2
    values = {}
    for weight in (0.0, 0.5):
        prior = made(net=Linear(torch.ones(DIM)), energy_l2=weight, chain={"start": "noise"})
        prior.begin_stage(1, context())
        loss = prior.objectives()[0].loss(Latents(u), Step(0, 1, seeded(13)))
        values[weight] = loss.value
    prior = made(net=Linear(torch.ones(DIM)), chain={"start": "noise"})
    prior.begin_stage(1, context())
    negatives = prior._negatives.draw(50, prior.log_prob, seeded(13)).u
    penalty = 0.5 * (u.sum(1).square().mean() + negatives.sum(1).square().mean())
    torch.testing.assert_close(values[0.5] - values[0.0], penalty)


def test_end_of_training_tells_the_mean_energies():
    prior = made(net=Linear(torch.tensor([0.5, 0.0, 0.0])))
    prior.begin_stage(1, context())
    figures = prior.end_stage(1, context(heldout=500))
    assert figures["heldout_positive"] == pytest.approx(0.0, abs=5 * 0.5 / math.sqrt(500))
    assert figures["heldout_negative"] == pytest.approx(0.25, abs=5 * 0.5 / math.sqrt(500))
    assert prior.end_stage(1, context()) == {}


def test_misuse_is_told():
    with pytest.raises(UsageError, match=r"prior\.chain\.chains"):
        made(chain={"chains": 10**9}).begin_stage(1, context())
    with pytest.raises(UsageError, match="no labels"):
        made().draw(2, Sampling(Langevin(LangevinSettings(steps=1)), condition=Condition({"kind": torch.zeros(2).long()})))
    with pytest.raises(RuntimeError, match="begin_stage"):
        made().objectives()[0].loss(Latents(torch.zeros(2, DIM)), Step(0, 1, seeded()))


@pytest.mark.parametrize("adjust", [False, True])
def test_a_step_is_that_of_the_core(adjust):
    """To the bit: the same operations on the same numbers."""

    def log_prob(u):
        return -u.square().square().sum(1)

    start, size = torch.randn(6, 3, generator=seeded(1)), torch.tensor(0.3)
    state = state_at(log_prob, start)
    moved = run_chains(log_prob, start, steps=1, size=size, adjust=adjust, generator=seeded())
    if adjust:
        following, chance = adjusted_langevin_step(log_prob, state, size=size, generator=seeded())
        assert torch.equal(moved.u, following.u) and torch.equal(moved.acceptance, chance.mean())
        return
    noise = torch.empty_like(start).normal_(generator=seeded())
    torch.testing.assert_close(moved.u, start + size / 2 * state.gradient + size.sqrt() * noise)


def test_dropout_does_not_move_the_point_that_training_looks_for():
    """Positives and negatives of one law: with the mask of each row its own, the gradient is 0 on average.  Over 300 steps
    the mean of each entry lies within 5 standard errors, while single steps are far from 0."""
    torch.manual_seed(0)
    energy = {"width": 8, "network": "mlp", "dropout": 0.5}
    prior = JointEbmPrior(JointEbmSettings(bound=None, energy=energy), space(DIM))
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.5)
    prior.begin_stage(1, context())
    prior.train()
    (objective,) = prior.objectives()
    steps = []
    for seed in range(300):
        batch, negatives = torch.randn(2, 64, DIM, generator=seeded(seed))
        moved = Moved(negatives, torch.ones(()), torch.ones(()))
        prior._negatives.draw = lambda *given, moved=moved: moved
        loss = objective.loss(Latents(batch), Step(0, 1, seeded()))
        steps.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss.value, objective.parameters)]))
    gradients = torch.stack(steps)
    error = gradients.std(0) / len(steps) ** 0.5
    assert (gradients.mean(0).abs() < 5 * error + 1e-6).all()
    assert gradients.abs().mean() > 10 * gradients.mean(0).abs().mean()


def test_training_chains_move_without_dropout():
    prior = JointEbmPrior(JointEbmSettings(energy={"width": 8, "network": "mlp", "dropout": 0.5}), space(DIM))
    prior.begin_stage(1, context())
    prior.train()
    seen = []

    def draw(n, log_prob, *given):
        seen.append(prior.training)
        return Moved(torch.zeros(n, DIM), torch.ones(()), torch.ones(()))

    prior._negatives.draw = draw
    prior.objectives()[0].loss(Latents(torch.zeros(4, DIM)), Step(0, 1, seeded()))
    assert seen == [False] and prior.training


@pytest.mark.parametrize("refresh", [0.0, 0.25, 1.0])
def test_a_share_of_the_chains_starts_anew(refresh):
    """Steps of size 0 leave chains where they start: at the resampled points, or where they were."""
    prior = made(net=Linear(torch.zeros(DIM)), chain={"chains": 40, "steps": 1, "step_size": 1e-12, "refresh": refresh})
    prior.begin_stage(1, context())
    before = prior._negatives.states.clone()
    prior._negatives.draw(40, prior.log_prob, seeded(3))
    moved = ((prior._negatives.states - before).abs() > 1e-3).any(1)
    assert int(moved.sum()) == round(40 * refresh)
