"""The diffusion prior against Gaussian data, where every density is known, and against quadrature."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_diffusion import DiffusionPrior, DiffusionSettings, learning
from priorkit_diffusion.conditional import Conditional
from priorkit_diffusion.learning import _label_loss
from priorkit_diffusion.paper_energy import _LinearStage
from priorkit_diffusion.schedule import Schedule
from priorkit_mcmc import Langevin, LangevinSettings, Mala, MalaSettings, Sir, SirSettings
from seeding import seeded
from torch import nn

from priorkit.core import Chain, Condition, Latents, LatentSpace, Layout, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError
from priorkit.runtime.on_device import OnDevice

MEAN = torch.tensor([0.9, -0.4, 0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.3, 0.0], [0.3, 0.6, -0.2], [0.0, -0.2, 0.8]], dtype=torch.float64)
DIM = 3


def space(*sizes):
    """Layers of the given sizes, in which z = 2 u."""
    return LatentSpace(Layout(tuple((size,) for size in sizes)), lambda u: 2 * u, lambda batch: None)


def levels_of(n, t):
    return torch.full((n,), t, dtype=torch.int64)


def context(u, sampler):
    return StageContext(Latents(u), Latents(u), sampler, Streams(0))


class GaussianEnergy(nn.Module):
    """log q_t(u) + |u|^2 / 2 of N(MEAN, COVARIANCE) noised to level t, up to a constant: (B, 1)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def noised(self, t):
        signal, noise = self.schedule.signal[t], self.schedule.noise[t]
        return signal * MEAN, signal**2 * COVARIANCE + noise**2 * torch.eye(DIM, dtype=torch.float64)

    def forward(self, x, level):
        value = x.square().sum(1) / 2
        for t in range(self.schedule.levels):
            mean, covariance = self.noised(t)
            away = x - mean
            value = value - torch.where(level == t, 0.5 * (away @ covariance.inverse() * away).sum(1), 0.0)
        return value[:, None]


def exact(levels=3, **options):
    """The prior whose energies are those of Gaussian data, without a bound."""
    made = DiffusionPrior(DiffusionSettings(levels=levels, **{"bound": None} | options), space(1, 2)).double()
    made.energy = GaussianEnergy(made.schedule)
    return made


def moments_agree(u, mean, covariance):
    """Within 5 standard errors of n independent Gaussian points."""
    n = len(u)
    deviation = covariance.diagonal().sqrt()
    assert ((u.mean(0) - mean).abs() < 5 * deviation / math.sqrt(n)).all()
    error = (deviation[:, None].square() * deviation.square() + covariance.square()).sqrt() / math.sqrt(n)
    assert ((torch.cov(u.T) - covariance).abs() < 5 * error).all()


# The numbers of the released code, as it prints them for T = 3 and T = 6 (eight digits).
THREE = {
    "a": [0.99995000, 0.72213238, 0.38626501, 0.02277645],
    "sigma": [0.01, 0.69175489, 0.92238785, 0.99974058],
    "signal": [0.99995000, 0.72209628, 0.27892052, 0.00635282],
    "noise": [0.01, 0.69179258, 0.96031419, 0.99997982],
}
SIX = {
    "a": [0.99995, 0.94616654, 0.85629003, 0.77479621, 0.70091772, 0.63395611, 0.02277645],
    "noise": [0.01, 0.32381848, 0.58621924, 0.77845287, 0.89801336, 0.96031419, 0.99997982],
}


@pytest.mark.parametrize(("levels", "index", "table"), [(3, (0, 250, 500, 999), THREE), (6, None, SIX)])
def test_the_schedule_is_that_of_the_released_code(levels, index, table):
    """The tables have 8 digits; the released code computes in single precision."""
    made = Schedule.of(levels)
    assert made.index == (index or (0, 100, 200, 300, 400, 500, 999))
    for name, values in table.items():
        torch.testing.assert_close(getattr(made, name), torch.tensor(values, dtype=torch.float64), atol=2e-7, rtol=0)


def test_step_sizes_are_those_of_the_released_code():
    sizes = Schedule.of(3).step_sizes(3e-5)
    torch.testing.assert_close(
        sizes, torch.tensor([1.4355745e-5, 1.7657300e-3, 2.8794480e-3], dtype=torch.float64), atol=0, rtol=1e-6
    )


@given(st.integers(1, 501))
@settings(deadline=None, max_examples=30)
def test_every_number_of_levels_ends_in_noise(levels):
    made = Schedule.of(levels)
    assert made.index[0] == 0
    assert made.index[-1] == 999
    assert list(made.index) == sorted(set(made.index))
    torch.testing.assert_close(made.a.cumprod(0), made.signal)
    torch.testing.assert_close(made.a**2 + made.sigma**2, torch.ones(levels + 1, dtype=torch.float64))
    assert made.noise[-1] > 0.9999


@given(st.integers(1, 7), st.integers(1, 6), st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_the_kernels_gradient_is_that_of_autograd_on_its_two_terms(rows, levels, seed):
    """On -|u|^2/2 - r |a u - v|^2 / (2 sigma^2), written out as the paper has it, in double precision."""
    schedule, generator = Schedule.of(levels), seeded(seed)
    v, u = torch.randn(2, rows, DIM, generator=generator, dtype=torch.float64)
    level = torch.randint(levels, (rows,), generator=generator)
    r, a, sigma = (level < levels - 1).double(), schedule.a[level + 1], schedule.sigma[level + 1]
    u.requires_grad_()
    distance = (a[:, None] * u - v).square().sum(1)
    written_out = -u.square().sum(1) / 2 - r * distance / (2 * sigma**2)
    (gradient,) = torch.autograd.grad(written_out.sum(), u)
    made = Conditional.of(schedule, level, v)
    torch.testing.assert_close(made.gradient(u.detach()), gradient)
    # The value agrees up to a constant of v, so that differences between two states agree.
    other = u.detach() + 1
    change = -other.square().sum(1) / 2 - r * (a[:, None] * other - v).square().sum(1) / (2 * sigma**2) - written_out
    torch.testing.assert_close(made.log_kernel(other) - made.log_kernel(u), change)
    torch.testing.assert_close(made.noise(made.state(u)), u)


def test_noised_data_follow_the_kernels():
    """Of a single point: u_t ~ N(A_t u, S_t^2), and v given u_t is N(a u_t, sigma^2); 5 standard errors of n points."""
    made, n = exact(), 40_000
    u, generator = MEAN.expand(n, DIM), seeded()
    for t in range(3):
        here = made.schedule.noised(u, levels_of(n, t), generator)
        v = made.schedule.above(here, levels_of(n, t), generator)
        one = torch.eye(DIM, dtype=torch.float64)
        moments_agree(here, made.schedule.signal[t] * MEAN, made.schedule.noise[t] ** 2 * one)
        above = v - made.schedule.a[t + 1] * here
        moments_agree(above, 0 * MEAN, made.schedule.sigma[t + 1] ** 2 * one)
        assert abs((above * here).mean()) < 0.02, "the two noises are independent"


@pytest.mark.parametrize("t", [0, 1])
def test_chains_sample_the_conditional_of_gaussian_data(t):
    """u_t ~ N(m, C) and v = a u_t + sigma e make p(u_t | v) Gaussian, with precision C^-1 + a^2 / sigma^2."""
    made, n = exact(), 4_000
    mean, covariance = made.energy.noised(t)
    a, sigma = made.schedule.a[t + 1], made.schedule.sigma[t + 1]
    v = torch.tensor([1.5, 0.3, -0.7], dtype=torch.float64)
    after = (covariance.inverse() + (a / sigma) ** 2 * torch.eye(DIM, dtype=torch.float64)).inverse()
    centre = after @ (covariance.inverse() @ mean + a / sigma**2 * v)
    sampler = Mala(MalaSettings(steps=60, step_size=0.5))
    v = v.expand(n, DIM)
    u = made.recover(v, levels_of(n, t), Sampling(sampler, seeded(t))).u
    moments_agree(u, centre, after)


@pytest.mark.parametrize("sampler", [Mala(MalaSettings(steps=60, step_size=0.5)), Sir(SirSettings(proposals=200))])
@pytest.mark.parametrize("levels", [1, 3])
def test_the_reverse_chain_returns_the_datas_moments(levels, sampler):
    """With the data's own energies each level is exact, and so is the whole.  Of 200 proposals importance resampling
    has a bias of order 1/200 of a standard deviation, below the standard error 1/sqrt(4,000)."""
    made = exact(levels)
    u = made.draw(4_000, Sampling(sampler, seeded(levels))).u
    moments_agree(u, *made.energy.noised(0))


def test_log_prob_is_the_noised_datas_log_density():
    made = exact()
    u = torch.randn(9, DIM, generator=seeded(), dtype=torch.float64)
    mean, covariance = made.energy.noised(0)
    truth = torch.distributions.MultivariateNormal(mean, covariance).log_prob(u)
    difference = made.log_prob(u) - truth
    torch.testing.assert_close(difference, difference[:1].expand(9))


def test_paces_leave_every_level_its_density():
    """A chain in coordinates of another pace is another chain on the same density."""
    made, n = exact(), 4_000
    made.pace.copy_(torch.tensor([0.6, 0.9, 1.4]))
    sampler = Mala(MalaSettings(steps=80, step_size=0.6))
    moments_agree(made.draw(n, Sampling(sampler, seeded(3))).u, *made.energy.noised(0))


def mixed(dim=DIM, **options):
    """A prior with random networks, in double precision."""
    torch.manual_seed(0)
    small = {"levels": 3, "energy": {"width": 8, "network": "mlp"}, "bound": None}
    chosen = DiffusionSettings.model_validate(small | options)
    made = DiffusionPrior(chosen, space(1, dim - 1)).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def test_a_step_of_the_papers_chain_is_the_papers():
    """u + grad f / 2 - s/2 grad (kernel and Gaussian) + sqrt(s) e, with rows at different levels; f is the network's
    output, and the noise is that of the same generator."""
    made, n = mixed(chain="paper", base_step=0.05), 6
    level, v = torch.arange(n) % 3, torch.randn(n, DIM, generator=seeded(1), dtype=torch.float64)
    sampler = Langevin(LangevinSettings(steps=1))
    reached = made.recover(v, level, Sampling(sampler, seeded(2))).u
    u = v.clone().requires_grad_()
    network = torch.autograd.grad(made.energy(u, level).sum(), u)[0]
    a, sigma, r = made.schedule.a[level + 1][:, None], made.schedule.sigma[level + 1][:, None], (level < 2)[:, None]
    size = made.schedule.step_sizes(0.05)[level][:, None]
    quadratic = r * a * (a * v - v) / sigma**2 + v
    noise = torch.empty_like(v).normal_(generator=seeded(2))
    torch.testing.assert_close(reached, v + network / 2 - size / 2 * quadratic + size.sqrt() * noise)


def test_the_papers_chain_finds_the_conditional():
    """Langevin with step s has a Gaussian's variance too large by 1 / (1 - s lambda / 4); s_0 lambda = 0.014 at most and
    the standard error, of 4,000 chains, hides it.  300 steps forget the start: (1 - 0.007)^300 = 0.12 of a distance that
    was 0.3 of a deviation."""
    made, n = exact(1, chain="paper", base_step=0.02), 4_000
    made.step_sizes = OnDevice(torch.full((made.settings.levels,), 0.05))
    made.energy = Scaled(made.energy, 0.05)
    sampler = Langevin(LangevinSettings(steps=300))
    v = torch.randn(n, DIM, generator=seeded(5), dtype=torch.float64)
    u = made.recover(v, levels_of(n, 0), Sampling(sampler, seeded(6))).u
    mean, covariance = made.energy.inner.noised(0)
    moments_agree(u, mean, covariance)


class Scaled(nn.Module):
    """A network whose outputs are its energy times a step size."""

    def __init__(self, inner, size):
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, x, level):
        return self.size * self.inner(x, level)


class Wave(nn.Module):
    """F(u, t) = w_t . (u, cos 2u) in one dimension."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float64))

    def forward(self, x, level):
        return (self.features(x[:, 0]) * self.weight[level]).sum(1, keepdim=True)

    @staticmethod
    def features(u):
        return torch.stack([u, (2 * u).cos()], dim=-1)


def exact_gradient(made, points):
    """d/dw_t of (1/T) (E log Z_t(v) - E F(u_t, t)) by quadrature over u_t and v, for data that are `points`: (T, 2)."""
    grid = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    cell, schedule, T = grid[1] - grid[0], made.schedule, made.schedule.levels
    found = []
    for t in range(T):
        # Level 0 is narrow: its density is integrated on a grid of its own around each point.
        states = [schedule.signal[t] * x + schedule.noise[t] * grid for x in points]
        q = torch.exp(-grid.square() / 2) / math.sqrt(2 * math.pi) * cell / len(points)
        positive = sum((q[:, None] * Wave.features(u)).sum(0) for u in states)
        above = math.sqrt(1 - schedule.signal[t + 1] ** 2)
        density = sum(torch.exp(-((grid - schedule.signal[t + 1] * x) / above).square() / 2) for x in points)
        density = density / density.sum()
        a, sigma = (schedule.a[t + 1], schedule.sigma[t + 1]) if t + 1 < T else (0.0, 1.0)
        target = Wave.features(grid) @ made.energy.weight[t].detach() - grid.square() / 2
        target = target - (a * grid - grid[:, None]).square() / (2 * sigma**2) * (t + 1 < T)
        negative = (target.softmax(1) @ Wave.features(grid) * density[:, None]).sum(0)
        found.append((negative - positive) / T)
    return torch.stack(found)


def test_the_losss_gradient_is_the_likelihoods():
    """Against quadrature in one dimension, two points as data, wrong energies.  Negatives by importance resampling of
    200 proposals; 5 standard errors of n = 10,000 rows, a feature's deviation being below 1."""
    made = DiffusionPrior(DiffusionSettings(levels=2, bound=None), space(1)).double()
    made.energy = Wave([[0.7, -0.9], [-0.4, 0.5]])
    points, n = torch.tensor([-0.8, 1.1], dtype=torch.float64), 10_000
    batch = Latents(points[torch.arange(n) % 2][:, None])
    made.begin_stage(1, context(batch.u, Sir(SirSettings(proposals=200))))
    (objective,) = made.objectives()
    objective.loss(batch, Step(1, 10, seeded(3))).value.backward()
    error = made.energy.weight.grad - exact_gradient(made, points.tolist())
    assert error.abs().max() < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize(("rows", "weighting"), [(4, "per"), (40, "per"), (40, "none")])
def test_the_loss_is_a_mean_over_rows(monkeypatch, rows, weighting):
    """F = w.u at one level, data at one point and chains that end at another: w.(there - A_0 here), however many rows.
    The noise S_0 = 0.01 of data is averaged over the rows: 5 standard errors."""
    weight, here, there = torch.tensor([[0.7, -0.9, 2.0], [1.2, 0.4, -0.5], [0.3, 1.0, -2.0]], dtype=torch.float64)

    class Line(nn.Module):
        def forward(self, x, level):
            return (x @ weight)[:, None]

    made = DiffusionPrior(DiffusionSettings(levels=1, bound=None, loss_weight=weighting), space(1, 2)).double()
    made.energy = Line()
    monkeypatch.setattr(made, "recover", lambda v, level, sampling: Chain(there.expand_as(v)))
    u = here.expand(rows, DIM)
    made.begin_stage(1, context(u, Langevin(LangevinSettings(steps=1))))
    value = made._loss(Latents(u), Step(1, 10, seeded(1))).value
    truth = weight @ (there - made.schedule.signal[0] * here)
    assert abs(value - truth) < 5 * 0.01 * weight.norm() / math.sqrt(rows)


def test_step_sizes_are_chosen_anew_as_training_goes_on():
    """At each `retune`-th step from the first on, and at no other."""
    made = DiffusionPrior(DiffusionSettings(levels=2, retune=3), space(1, 2))
    u = torch.randn(64, DIM, generator=seeded())
    made.begin_stage(1, context(u, Mala(MalaSettings(steps=2, pilot_steps=5))))
    chosen = []
    for index in range(8):
        made.size.fill_(1e-3)
        made._loss(Latents(u), Step(index, 8, seeded(index)))
        chosen.append(float(made.size) != pytest.approx(1e-3))
    assert chosen == [index % 3 == 0 for index in range(8)]


def test_the_loss_is_nothing_where_the_energies_are_the_datas():
    """Positives and negatives then have the same law: the difference is within 5 of its standard errors."""
    made, n = exact(), 4_000
    mean, covariance = MEAN, COVARIANCE
    u = torch.distributions.MultivariateNormal(mean, covariance)
    torch.manual_seed(0)
    batch = Latents(u.sample((n,)))
    made.begin_stage(1, context(batch.u, Mala(MalaSettings(steps=40))))
    loss = made._loss(batch, Step(0, 10, seeded(4)))
    assert float(made.size) > 0, "a pilot run has chosen the paces"
    assert abs(loss.value.item()) < 5 * 1.5 * math.sqrt(2 / n), "F has a standard deviation below 1.5 here"
    assert loss.metrics["level_loss"].shape == (3,)


def test_separable_energies_are_sums_over_layers():
    made = mixed(energy={"coupling": "separable", "width": 8, "network": "mlp"})
    u = torch.randn(5, DIM, generator=seeded(), dtype=torch.float64)
    by_layer = made.layer_log_ratio(u)
    torch.testing.assert_close(by_layer.sum(1), made.log_ratio(u))
    changed = u.clone()
    changed[:, 1:] += 1
    assert torch.equal(made.layer_log_ratio(changed)[:, 0], by_layer[:, 0]), "a layer's term reads its layer alone"
    assert mixed().layer_log_ratio(u) is None


def test_energies_read_z_where_asked():
    u = torch.randn(5, DIM, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(mixed(energy_input="z").log_ratio(u), mixed().log_ratio(2 * u))


def test_energies_tell_the_levels_apart_and_start_at_nothing():
    u = torch.randn(5, DIM, generator=seeded(), dtype=torch.float64)
    made = mixed()
    assert not torch.allclose(made.energies(u, levels_of(5, 0)), made.energies(u, levels_of(5, 1)))
    fresh = DiffusionPrior(DiffusionSettings(), space(1, 2)).double()
    assert torch.equal(fresh.log_ratio(u), torch.zeros(5, dtype=torch.float64))


def test_a_bound_limits_the_energies():
    made = mixed(bound=0.1)
    u = 30 * torch.randn(50, DIM, generator=seeded(), dtype=torch.float64)
    assert made.log_ratio(u).abs().max() <= 0.1


@pytest.mark.parametrize("chain", ["sampler", "paper"])
def test_fixed_columns_stay_and_the_others_follow_them(chain):
    """Conditional on u_0's first column the others are Gaussian with a known mean; a long chain at level 0 finds it, and
    with the sampler it is exact."""
    made, n = exact(1, chain=chain), 4_000
    if chain == "paper":
        made.step_sizes = OnDevice(torch.full((made.settings.levels,), 0.05))
        made.energy = Scaled(made.energy, 0.05)
    mean, covariance = GaussianEnergy(made.schedule).noised(0)
    top = torch.full((n, 1), 1.6, dtype=torch.float64)
    sampler = Mala(MalaSettings(steps=300 if chain == "paper" else 60, step_size=0.5))
    u = made.draw(n, Sampling(sampler, seeded(7), condition=Condition(top=top))).u
    assert torch.equal(u[:, :1], top.to(u))
    gain = covariance[1:, :1] / covariance[0, 0]
    rest = covariance[1:, 1:] - gain @ covariance[:1, 1:]
    moments_agree(u[:, 1:], mean[1:] + gain[:, 0] * (1.6 - mean[0]), rest)


class Sign(nn.Module):
    """Logits -u and u of the last column."""

    def forward(self, x):
        return torch.stack([-x[:, 2], x[:, 2]], dim=1)


class AboveZero(nn.Module):
    """Of N(-1, 1) and N(1, 1) in the last column the energy of the levels above 0, log cosh(A_t u)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, level):
        energy = torch.log(torch.cosh(self.schedule.signal[level] * x[:, 2]))
        return torch.where(level > 0, energy, 0.0)[:, None]


def labelled(levels):
    """A prior of N(-1, 1) and N(1, 1), labelled: at level 0 its energy is the labels' evidence, log cosh u."""
    chosen = DiffusionSettings.model_validate({"levels": levels, "bound": None, "labels": [{"name": "sign", "classes": 2}]})
    made = DiffusionPrior(chosen, space(1, 2)).double()
    made.energy, made.labels.nets = AboveZero(made.schedule), nn.ModuleList([Sign()])
    return made


@pytest.mark.parametrize("levels", [1, 2])
def test_labels_give_what_bayes_rule_gives(levels):
    """With the label N(1, 1), where there is one level.  With two the level above is drawn without the label, mean 0, and
    p(u_0 | v, y) is N(sigma^2 + a v, sigma^2): its mean over v is sigma^2, its variance sigma^2 + a^2 E v^2."""
    made, n = labelled(levels), 4_000
    sampler = Mala(MalaSettings(steps=50, step_size=0.8))
    asked = Condition(labels={"sign": torch.ones(n, dtype=torch.int64)})
    u = made.draw(n, Sampling(sampler, seeded(8), condition=asked)).u
    a, sigma = (made.schedule.a[1], made.schedule.sigma[1]) if levels == 2 else (0.0, 1.0)
    deviation = sigma**2 + a**2 * (1 + made.schedule.signal[1] ** 2)
    covariance = torch.diag(torch.tensor([1.0, 1.0, deviation], dtype=torch.float64))
    moments_agree(u, torch.tensor([0.0, 0.0, sigma**2], dtype=torch.float64), covariance)


def test_without_a_label_both_classes_come():
    made, n = labelled(2), 4_000
    u = made.draw(n, Sampling(Mala(MalaSettings(steps=50, step_size=0.8)), seeded(9))).u[:, 2]
    assert abs(u.mean()) < 5 * math.sqrt(2 / n)
    assert abs(u.square().mean() - 2) < 5 * math.sqrt(6 / n)


def test_a_label_that_nobody_has_learnt_is_refused():
    made, sampler = labelled(1), Mala(MalaSettings())
    with pytest.raises(UsageError, match="label 'colour'"):
        made.draw(2, Sampling(sampler, condition=Condition(labels={"colour": torch.zeros(2, dtype=torch.int64)})))


def test_labels_are_learnt_at_level_0():
    made = labelled(2)
    made.labels = DiffusionPrior(made.settings, space(1, 2)).double().labels
    u = torch.randn(64, DIM, generator=seeded(), dtype=torch.float64)
    made.begin_stage(1, context(u, Mala(MalaSettings(steps=2, choose="fixed"))))
    loss = made._loss(Latents(u, labels=(u[:, 2] > 0).long()), Step(0, 1, seeded()))
    assert loss.metrics["label_loss"].item() == pytest.approx(math.log(2)), "an untrained head knows nothing"
    with pytest.raises(UsageError, match=r"prior\.labels"):
        made._loss(Latents(u), Step(0, 1, seeded()))
    # A batch may have no row at level 0.
    level = torch.ones(64, dtype=torch.int64)
    assert _label_loss(made, u, level, (u[:, 2] > 0).long()).item() == 0
    level[:8] = 0
    wanted = made.labels.loss(u[:8], (u[:8, 2] > 0).long())
    torch.testing.assert_close(_label_loss(made, u, level, (u[:, 2] > 0).long()), wanted)


def test_a_learning_step_is_a_function_of_the_saved_state():
    """Two priors of the same state see the same loss in the middle of a phase, as after a resume."""
    first, second = (DiffusionPrior(DiffusionSettings(retune=3), space(1, 2)) for _ in range(2))
    u = torch.randn(64, DIM, generator=seeded())
    sampler = Mala(MalaSettings(steps=4, pilot_steps=10))
    first.begin_stage(1, context(u, sampler))
    first._loss(Latents(u), Step(0, 9, seeded(1)))
    second.load_state_dict(first.state_dict())
    second.begin_stage(1, context(u, sampler))
    losses = [one._loss(Latents(u), Step(1, 9, seeded(2))).value for one in (first, second)]
    assert torch.equal(*losses)
    assert first.training, "a chain's evaluation mode must not last"


def test_the_end_of_training_says_how_each_level_fits():
    made = exact()
    torch.manual_seed(1)
    u = torch.distributions.MultivariateNormal(MEAN, COVARIANCE).sample((2_000,))
    figures = made.end_stage(1, context(u, Mala(MalaSettings(steps=40))))
    assert set(figures) == {"heldout_loss_0", "heldout_loss_1", "heldout_loss_2"}
    assert max(abs(value) for value in figures.values()) < 5 * 1.5 * math.sqrt(2 / 2_000)
    assert float(made.pace.min()) > 0.5


def test_the_papers_network_is_an_energy_a_layer():
    """Shapes down to 2 x 2; after power iterations each weight has a largest singular value of 1, which the iteration
    approaches from below: 5 %.  Vectors have no such network."""
    shapes = Layout(((3, 8, 8), (2, 16, 16)))
    settings = DiffusionSettings(levels=3, network="paper", energy={"channels": 4})
    made = DiffusionPrior(settings, LatentSpace(shapes, lambda u: u, lambda batch: None))
    u = torch.randn(4, shapes.dim, generator=seeded())
    with torch.no_grad():
        for _ in range(30):
            by_layer = made.layer_log_ratio(u)
    assert by_layer.shape == (4, 2)
    torch.testing.assert_close(by_layer.sum(1), made.eval().log_ratio(u), atol=0.05, rtol=0.05)
    assert not torch.allclose(made.energies(u, levels_of(4, 0)), made.energies(u, levels_of(4, 2)))
    for block in made.energy.nets[1].blocks:
        assert torch.linalg.matrix_norm(block.plain.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    # As in the released code.
    assert not [name for name, _ in made.energy.named_parameters() if name.endswith("bias") and "first" not in name]
    with pytest.raises(UsageError, match=r"prior\.network"):
        DiffusionPrior(settings, space(1, 2))


def test_more_proposals_start_chains_nearer_to_where_they_go():
    """Of p(u_t | v) with the data's energies; with 200 proposals the start alone has its mean, to 5 standard errors and the
    200th of a deviation that resampling is off by."""
    made, n = exact(1, proposals=200), 4_000
    v = torch.randn(n, DIM, generator=seeded(5), dtype=torch.float64)
    nowhere = Langevin(LangevinSettings(steps=1, step_size=1e-12))
    u = made.recover(v, levels_of(n, 0), Sampling(nowhere, seeded(6))).u
    moments_agree(u, *made.energy.noised(0))


def test_the_last_kept_state_of_each_chain_is_where_it_ends():
    made, n = exact(), 5
    v = torch.randn(n, DIM, generator=seeded(3), dtype=torch.float64)
    chain = made.recover(v, levels_of(n, 1), Sampling(Mala(MalaSettings(steps=4, step_size=0.5)), seeded(4), keep_every=1))
    torch.testing.assert_close(chain.trajectory[-1], chain.u)


def test_the_linear_stage_adds_its_shortcut():
    stage = _LinearStage(8).double().eval()
    x, embedding = (torch.randn(3, size, generator=seeded(size), dtype=torch.float64) for size in (8, 128))
    active = torch.nn.functional.silu(x)
    hidden = torch.nn.functional.silu(stage.first(active) + stage.level(torch.nn.functional.silu(embedding)))
    torch.testing.assert_close(stage(x, embedding) - stage.shortcut(active), stage.second(hidden))


def test_each_level_has_the_pace_that_was_chosen_for_it(monkeypatch):
    made = DiffusionPrior(DiffusionSettings(levels=2), space(1, 2))
    monkeypatch.setattr(learning, "paces", lambda sampler, pilots, generator: (0.3, [2.0, 5.0]))
    u = torch.randn(20, DIM, generator=seeded())
    learning.choose_paces(made, Mala(MalaSettings()), u, seeded(1))
    torch.testing.assert_close(made.size, torch.tensor(0.3))
    torch.testing.assert_close(made.pace, torch.tensor([2.0, 5.0]))
