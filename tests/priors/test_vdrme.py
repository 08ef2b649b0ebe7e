"""The VDRME prior against Gaussians, of which every conditional, entropy and optimum is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from linear import space
from priorkit_vdrme import VdrmePrior, VdrmeSettings
from priorkit_vdrme.losses import _shared_information, energy_loss
from priorkit_vdrme.modes import evaluation_mode, fixed_parameters
from seeding import seeded
from torch import nn

from priorkit.core import Condition, Latents, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError

DIM = 3


def prior(dim=DIM, **options):
    """Networks that are given a form below stand for the log ratio itself, so none is bounded unless it is asked for."""
    torch.manual_seed(0)
    return VdrmePrior(VdrmeSettings(**{"scales": 3, "bound": None} | options), space(dim)).double()


def randomised(made):
    """The same prior with no network at its zero start, judging."""
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


class Tilt(nn.Module):
    """f(x, i) = w . x, so that E(x, i) = |x|^2 / 2 - w . x."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x, level):
        return (x @ self.weight)[:, None]


class Shrink(nn.Module):
    """f(x, i) = (1 - 1/v) |x|^2 / 2, so that E is that of N(0, v I)."""

    def __init__(self, variance):
        super().__init__()
        self.variance = variance

    def forward(self, x, level):
        return 0.5 * (1 - 1 / self.variance) * x.square().sum(1, keepdim=True)


class Affine(nn.Module):
    """Network outputs for which a prior that predicts the noise steps to m_i x_{i+1} + c_i z."""

    def __init__(self, schedule, means, scales):
        super().__init__()
        self.schedule = schedule
        self.means, self.scales = (nn.Parameter(torch.as_tensor(v, dtype=torch.float64)) for v in (means, scales))

    def generate(self, above, noise, level, labels=None):
        wanted = self.means[level, None] * above + self.scales[level, None] * noise
        ratio = self.schedule.signal[level, None] / self.schedule.signal[level + 1, None]
        slope = self.schedule.noise[level, None] - ratio * self.schedule.noise[level + 1, None]
        return (wanted - ratio * above) / slope


def conditionals(schedule, variance):
    """The exact x_i | x_{i+1} = N(m x_{i+1}, c^2) for data N(0, variance): lists of m and c."""
    means, scales = [], []
    for i in range(schedule.scales):
        marginal = schedule.signal[i] ** 2 * variance + schedule.noise[i] ** 2
        precision = 1 / marginal + (schedule.carry[i] / schedule.spread[i]) ** 2
        means.append(float(schedule.carry[i] / schedule.spread[i] ** 2 / precision))
        scales.append(float(precision**-0.5))
    return means, scales


def test_the_start_is_the_gaussian_prior():
    """Energies exactly; draws of N(0, I) by N(0, I)'s own conditionals: 20,000 of them, 5 standard errors."""
    made = prior()
    u = made.draw(20_000, Sampling(None, seeded(14))).u
    assert torch.equal(made.log_ratio(u), torch.zeros(20_000, dtype=torch.float64))
    torch.testing.assert_close(made.log_prob(u), -0.5 * u.square().sum(1))
    assert (u.T @ u / 20_000 - torch.eye(DIM)).abs().max() < 5 * math.sqrt(2 / 20_000)


def test_a_silent_start_ignores_the_noise():
    u = torch.randn(6, DIM, dtype=torch.float64)
    made = randomised(prior(start="silent"))
    for parameter in made.generator.inject.second.parameters():
        nn.init.zeros_(parameter)
    level = torch.arange(6) % 3
    first, second = (made.step(u, torch.randn_like(u), level) for _ in range(2))
    assert torch.equal(first, second)


def test_log_prob_is_minus_the_energy_of_scale_0():
    made = randomised(prior())
    u = torch.randn(6, DIM, dtype=torch.float64)
    zeros = torch.zeros(6, dtype=torch.int64)
    torch.testing.assert_close(made.log_prob(u), -made.energies(u, zeros))
    assert not torch.allclose(made.energies(u, zeros), made.energies(u, zeros + 1))


def test_a_bound_limits_the_ratio():
    made = randomised(prior(bound=0.5))
    assert made.log_ratio(10 * torch.randn(50, DIM, dtype=torch.float64)).abs().max() <= 0.5


def test_both_outputs_make_the_same_generator():
    """A network v under `velocity` steps where the network e = S x + A v steps under `noise`."""
    made = randomised(prior(predicts="velocity", start="silent"))
    above, noise, level = torch.randn(6, DIM).double(), torch.randn(6, DIM).double(), torch.arange(6) % 3
    v = made.generator.generate(above, noise, level)
    e = made.schedule.noise[level + 1, None] * above + made.schedule.signal[level + 1, None] * v
    below = made.schedule.below(above, e, level)
    torch.testing.assert_close(made.step(above, noise, level), below)
    gaussian = VdrmePrior(VdrmeSettings(scales=3), space(DIM)).double()
    gaussian.generator = made.generator
    start = made.schedule.below(above, made.schedule.noise[level + 1, None] * above, level)
    moved = made.schedule.carry[level, None] * above + made.schedule.spread[level, None] * noise + below - start
    torch.testing.assert_close(gaussian.step(above, noise, level), moved, rtol=1e-6, atol=1e-6)
    x0 = made.schedule.signal[level + 1, None] * above - made.schedule.noise[level + 1, None] * v
    # The schedule is kept in single precision: S^2 + A^2 is 1 to 1e-7, and the top scale divides by A = 0.006.
    torch.testing.assert_close(made.schedule.clean(above, e, level), x0, rtol=1e-5, atol=1e-3)


def test_exact_conditionals_draw_the_data():
    """Data N(0, 0.3): with its exact conditionals K calls give A_0^2 0.3 + S_0^2; 20,000 draws, 5 standard errors.  The
    start N(0, I) stands for level K, whose variance is off by A_K^2 = 4e-5 and whose effect is smaller still."""
    made = prior(predicts="noise", start="silent", scales=4)
    made.generator = Affine(made.schedule, *conditionals(made.schedule, 0.3))
    n = 20_000
    drawn = made.draw(n, Sampling(None, seeded(1)))
    truth = float(made.schedule.signal[0] ** 2 * 0.3 + made.schedule.noise[0] ** 2)
    assert (drawn.u.var(0) - truth).abs().max() < 5 * truth * math.sqrt(2 / n)
    assert drawn.u.mean(0).abs().max() < 5 * math.sqrt(truth / n)
    assert drawn.chains[0].calls == 4


def generator_optimum(**options):
    """What the generator's objective makes of a linear generator under energies of N(0, v) at a single scale."""
    made = prior(2, scales=1, predicts="noise", start="silent", energy_weight=1.0, **options)
    made.energy = Shrink(0.4)
    made.generator = Affine(made.schedule, [0.1], [0.5])
    objective = next(o for o in made.objectives() if o.name == "generator")
    optimiser = torch.optim.LBFGS(objective.parameters, max_iter=60, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    data = Latents(torch.randn(20_000, 2, generator=seeded(2), dtype=torch.float64))

    def closure():
        optimiser.zero_grad()
        loss = objective.loss(data, Step(0, 1, seeded(3))).value
        loss.backward()
        return loss

    optimiser.step(closure)
    return made


def test_the_generator_learns_the_conditional_gaussian():
    """E + quadratic is Gaussian with precision 1/v + a^2/b^2, and the entropy of m x + c z is D log c + constant for any
    draws.  20,000 rows: second moments are known to sqrt(2 / 40,000) = 0.007; 4 of these."""
    made = generator_optimum(entropy="nearest", draws=4)
    precision = 1 / 0.4 + float((made.schedule.carry[0] / made.schedule.spread[0]) ** 2)
    mean = float(made.schedule.carry[0] / made.schedule.spread[0] ** 2) / precision
    assert float(made.generator.scales.detach().abs()) == pytest.approx(precision**-0.5, rel=0.03)
    assert float(made.generator.means.detach()) == pytest.approx(mean, abs=0.03)


def test_weights_of_energy_recovery_and_entropy():
    """Doubling all three leaves the optimum; doubling the entropy's alone widens it by sqrt 2."""
    widths = [
        float(generator_optimum(entropy="nearest", entropy_weight=w).generator.scales.detach().abs()) for w in (1.0, 2.0)
    ]
    assert widths[1] == pytest.approx(math.sqrt(2) * widths[0], rel=1e-3)


def test_gradient_penalty_and_contrast():
    """f = w.x, E = |x|^2/2 - w.x: the loss is the difference of mean energies plus the weight times |w|^2 = 5.25."""
    made = prior(gradient_penalty=0.7)
    made.energy = Tilt(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))
    batch = Latents(torch.randn(50, DIM, generator=seeded(4), dtype=torch.float64))
    loss = energy_loss(made, batch, Step(0, 1, seeded(5)))
    real = made.pairs(batch, seeded(5))
    assert float(loss.metrics["slope"]) == pytest.approx(5.25)
    assert float(loss.value.detach()) == pytest.approx(float(loss.metrics["real"] - loss.metrics["fake"]) + 0.7 * 5.25)
    torch.testing.assert_close(loss.metrics["real"], made.energies(real.x, real.level).mean().detach())


def test_energies_have_nothing_to_learn_from_exact_fakes():
    """With the exact conditionals fakes have the law of real points at each scale: variances agree to 5 standard errors."""
    made = prior(predicts="noise", start="silent", scales=4)
    made.generator = Affine(made.schedule, *conditionals(made.schedule, 0.3))
    n = 40_000
    real = made.pairs(Latents(math.sqrt(0.3) * torch.randn(n, DIM, generator=seeded(6), dtype=torch.float64)), seeded(7))
    fake = made.step(real.above, torch.randn(n, DIM, generator=seeded(8), dtype=torch.float64), real.level)
    for level in range(4):
        chosen = real.level == level
        ratio = fake[chosen].var() / real.x[chosen].var()
        assert abs(float(ratio.detach()) - 1) < 5 * 2 / math.sqrt(DIM * n / 4)


@pytest.mark.parametrize("entropy", ["nearest", "jsd"])
def test_each_objective_moves_its_own_networks_alone(entropy):
    made = randomised(prior(entropy=entropy, classes=2))
    batch = Latents(torch.randn(12, DIM).double(), labels=torch.arange(12) % 2)
    objectives = made.objectives()
    assert [o.name for o in objectives] == ["energy", "generator", "entropy"][: 2 + (entropy == "jsd")]
    owned = [id(p) for o in objectives for p in o.parameters]
    assert sorted(owned) == sorted(id(p) for p in made.parameters())
    for objective in objectives:
        made.zero_grad(set_to_none=True)
        objective.loss(batch, Step(0, 1, seeded(9))).value.backward()
        moved = {id(p) for p in made.parameters() if p.grad is not None}
        assert moved == {id(p) for p in objective.parameters} or objective.name == "entropy"
        assert {id(p) for p in objective.parameters} <= moved
    assert all(p.requires_grad for p in made.parameters())


def test_frozen_networks_learn_again_after_an_error():
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    with pytest.raises(RuntimeError), fixed_parameters(net, None):
        assert not net.weight.requires_grad
        raise RuntimeError
    assert net.weight.requires_grad and not net.bias.requires_grad


def test_judging_networks_train_again_after_an_error():
    net = nn.Sequential(nn.Dropout())
    with pytest.raises(RuntimeError), evaluation_mode(net):
        assert not net[0].training
        raise RuntimeError
    assert net.training and net[0].training


def test_fixed_upper_layers_stay_and_guide_the_rest():
    """Data N(0, C) with correlation 0.8 and exact conditionals: given the first coordinate t = 1.5 the other is
    N(0.8 t, 0.36).  Replacing the diffused column at each scale is known to underestimate how much the rest depends on it,
    so the mean is between 0 (unguided) and 1.2, and at least half of that, and the spread between 0.6 and 1."""
    made = prior(2, predicts="noise", start="silent", scales=20)
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)

    def step(above, noise, level, labels=None):
        i = int(level[0])
        marginal = made.schedule.signal[i] ** 2 * cov + made.schedule.noise[i] ** 2 * eye
        a, b = made.schedule.carry[i], made.schedule.spread[i]
        inverse = torch.linalg.inv(torch.linalg.inv(marginal) + (a / b) ** 2 * eye)
        return above @ (a / b**2 * inverse) + noise @ torch.linalg.cholesky(inverse).T

    made.step = step
    top = torch.full((4_000, 1), 1.5, dtype=torch.float64)
    drawn = made.draw(4_000, Sampling(None, seeded(10), condition=Condition(top=top))).u
    assert torch.equal(drawn[:, :1], top)
    assert 0.6 < float(drawn[:, 1].mean()) < 1.25
    assert 0.55 < float(drawn[:, 1].std()) < 1


def test_draws_repeat_and_keep_their_path():
    made = randomised(prior(scales=4))
    first, second = (made.draw(5, Sampling(None, seeded(11), keep_every=1)) for _ in range(2))
    assert torch.equal(first.u, second.u)
    assert first.chains[0].trajectory.shape == (5, 5, DIM)
    assert torch.equal(first.chains[0].trajectory[-1], first.u)


def test_labels_that_were_not_learnt_are_refused():
    made = prior()
    one = torch.zeros(2, dtype=torch.int64)
    assert not made.attributes
    with pytest.raises(UsageError, match=r"prior\.classes"):
        made.draw(2, Sampling(None, seeded(), condition=Condition(labels={"label": one})))
    made = prior(classes=3)
    assert made.attributes == {"label": 3}
    for labels, words in (({"colour": one}, "colour"), ({"label": one + 3}, "from 0 to 2")):
        with pytest.raises(UsageError, match=words):
            made.draw(2, Sampling(None, seeded(), condition=Condition(labels=labels)))


def test_labels_reach_generator_and_classifier():
    made = randomised(prior(classes=3))
    labels = [torch.full((4,), y) for y in range(3)]
    drawn = [made.draw(4, Sampling(None, seeded(12), condition=Condition(labels={"label": y}))).u for y in labels]
    assert not torch.allclose(drawn[0], drawn[1])
    u = torch.randn(4, DIM, dtype=torch.float64)
    total = sum(made.label_log_prob(u, {"label": y}).exp() for y in labels)
    torch.testing.assert_close(total, torch.ones(4, dtype=torch.float64), atol=1e-6, rtol=0)


def test_classes_are_drawn_as_often_as_in_the_data():
    made = prior(classes=2)
    labels = torch.tensor([0, 1, 1, 1])
    latents = Latents(torch.randn(4, DIM).double(), labels=labels)
    made.begin_stage(1, StageContext(latents, latents, None, Streams(0)))
    torch.testing.assert_close(made.frequencies, torch.tensor([0.25, 0.75], dtype=torch.float64))
    drawn = made._labels(10_000, None, torch.empty(0), seeded(13))
    assert float(drawn.double().mean()) == pytest.approx(0.75, abs=5 * math.sqrt(0.1875 / 10_000))
    with pytest.raises(UsageError, match="has no labels"):
        made.begin_stage(1, StageContext(Latents(latents.u), latents, None, Streams(0)))
    with pytest.raises(UsageError, match="a class 5"):
        made.pairs(Latents(latents.u, labels=labels + 4 * (labels > 0)), seeded())


def test_draws_and_density_are_learnt_apart():
    assert not VdrmePrior.draws_follow_log_ratio


def test_the_entropy_network_reads_the_noise_between_the_levels():
    """Of a real pair it is the noise that was added, so that x_{i+1} is reached from x_i."""
    made, seen = prior(entropy="jsd"), []

    class Recorder(torch.nn.Module):
        def forward(self, x, level, beside):
            seen.append((x, beside))
            return torch.zeros(len(x), 1, dtype=x.dtype)

    made.information = Recorder()
    below = torch.randn(50, DIM, generator=seeded(1), dtype=torch.float64)
    level, noise = torch.arange(50) % made.settings.scales, torch.randn(50, DIM, generator=seeded(2), dtype=torch.float64)
    above = made.schedule.diffuse(below, level, noise)
    _shared_information(made, below, noise, SimpleNamespace(above=above, level=level), Step(0, 1, seeded(3)))
    assert len(seen) == 2
    for up, beside in seen:
        torch.testing.assert_close(up, noise)
        assert torch.equal(beside[:, :DIM], above)
