"""The multi-stage prior with conditional energies, on two layers whose aggregated posterior is a known Gaussian."""

import pytest
import torch
from priorkit_mcmc import Mala, MalaSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from priorkit_multistage.judgement import judge
from seeding import seeded
from test_ncp_hierarchy import LAYOUT, Quadratic, aggregated_posterior, space, true_classifiers
from torch import nn

from priorkit.core import Condition, Latents, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError

DIM = LAYOUT.dim
CONDITIONAL = {"coupling": "conditional", "width": 8}
NORMAL = {"kind": "normal"}


def sampler(steps=60):
    return Mala(MalaSettings(steps=steps, step_size=0.8, choose="fixed"))


def scaled(net, factor):
    return Quadratic(*(factor * part.detach() for part in (net.matrix, net.vector, net.constant)))


def prior(*factors, active=None, **options):
    """Stages whose conditional log ratios are the given multiples of the true ones."""
    made = (
        MultistagePrior(MultistageSettings(stages=max(1, len(factors)), energy=CONDITIONAL, base=NORMAL, **options), space())
        .double()
        .eval()
    )
    for energy, factor in zip(made.energies, factors, strict=False):
        energy.nets = nn.ModuleList([scaled(net, factor) for net in true_classifiers(aggregated_posterior())])
    made.active.fill_(len(factors) if active is None else active)
    return made


def points(n, seed):
    joint = aggregated_posterior()
    noise = torch.randn(n, DIM, generator=seeded(seed), dtype=torch.float64)
    return joint.mean + noise @ torch.linalg.cholesky(joint.covariance_matrix).T


def assert_moments(u, mean, covariance):
    """Within 5 standard errors; of independent draws of a Gaussian."""
    n, variance = len(u), covariance.diagonal()
    assert ((u.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    error = (variance[:, None] * variance + covariance.square()).div(n).sqrt()
    assert ((u.T.cov() - covariance).abs() < 5 * error).all()


def bench(u):
    return StageContext(Latents(u), Latents(u), sampler(), Streams(0))


def test_stages_add_up_and_draws_follow_the_aggregated_posterior():
    """A third and two thirds of the true conditional log ratios, drawn from the top down, are the aggregated posterior."""
    joint, made = aggregated_posterior(), prior(1 / 3, 2 / 3)
    drawn = made.draw(6_000, Sampling(sampler(), seeded(1)))
    assert_moments(drawn.u, joint.mean, joint.covariance_matrix)
    assert len(drawn.chains) == len(LAYOUT)
    u = points(50, 2)
    standard = -0.5 * u.square().sum(1)
    known = joint.log_prob(u) - standard
    found = made.log_ratio(u)
    torch.testing.assert_close(found - found[0], known - known[0])


def test_layers_are_drawn_anew_under_the_layers_above_them():
    """Half the log ratio of N(m, v) over N(0, 1) tilts N(0, 1) to the Gaussian of precision (1 + 1/v)/2, and the layers
    above are those of the points that were given, not of the draws."""
    made, u = prior(0.5), points(8_000, 3)
    drawn = made.redraw(u, Sampling(sampler(), seeded(4), stages=1))
    joint = aggregated_posterior()
    mean, covariance = joint.mean, joint.covariance_matrix
    precision = (1 + 1 / covariance[0, 0]) / 2
    assert_moments(drawn[:, :1], mean[:1] / covariance[0, 0] / 2 / precision, 1 / precision.view(1, 1))
    gain = covariance[1:, :1] / covariance[0, 0]
    lower = covariance[1:, 1:] - gain @ covariance[:1, 1:]
    tilted = torch.linalg.inv((torch.eye(2).double() + torch.linalg.inv(lower)) / 2)
    conditional = (mean[1:] + (u[:, :1] - mean[0]) @ gain.T) @ (tilted @ torch.linalg.inv(lower) / 2).T
    assert_moments(drawn[:, 1:] - conditional, torch.zeros(2).double(), tilted)


def test_the_loss_of_a_later_stage_is_least_at_what_is_left_of_the_ratio():
    """p_1 with half of the log ratio leaves the log ratio of q to p_1, which is half of it less log Z_1(u_<i).  There the
    loss has a zero gradient in each layer's scale and offset: within 5 standard errors over 40,000 points."""
    made, u = prior(0.5, 0.5, active=1), points(40_000, 5)
    negatives = made.redraw(u, Sampling(sampler(), seeded(6), stages=1))
    for i in range(2):
        grow, shift = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
        logits = made.conditional_pair(2, Latents(u), u, negatives)[..., i]
        normaliser = log_normaliser(i, u)
        value = (1 + grow) * (logits - normaliser[:, None]) + shift
        terms = torch.nn.functional.softplus(-value[:, 0]) + torch.nn.functional.softplus(value[:, 1])
        per_row = [torch.autograd.grad(terms.mean(), part, retain_graph=True)[0] for part in (grow, shift)]
        spread = [3 / len(u) ** 0.5, 1 / len(u) ** 0.5]
        assert all(abs(float(found)) < 5 * error for found, error in zip(per_row, spread, strict=True))


def log_normaliser(layer, u):
    """log of E_N(0, I)[r^(1/2) ...]: what is left of log q / p_1 beside half the log ratio, log Z_1 of the layer, by its
    closed form from the Gaussians' precisions."""
    joint = aggregated_posterior()
    mean, covariance = joint.mean, joint.covariance_matrix
    if layer == 0:
        means, own = mean[:1].expand(len(u), 1), covariance[:1, :1]
    else:
        gain = covariance[1:, :1] / covariance[0, 0]
        means = mean[1:] + (u[:, :1] - mean[0]) @ gain.T
        own = covariance[1:, 1:] - gain @ covariance[:1, 1:]
    inverse = torch.linalg.inv(own)
    mixed = (torch.eye(len(own)).double() + inverse) / 2
    half = means @ inverse / 2
    quadratic = (half @ torch.linalg.inv(mixed) * half).sum(1) / 2 - (means @ inverse * means).sum(1) / 4
    # E_N[r^(1/2)] with r = N(m, S) / N(0, I); the loss's optimum is log q / p_1 = log(r) / 2 + log Z.
    return -(quadratic - torch.logdet(own) / 4 - torch.logdet(mixed) / 2)


def test_a_layer_that_learnt_nothing_is_left_out():
    """Of a layer whose classifier was rejected the log ratio is 0 and draws are those of N(0, I); the others stay."""
    made, joint = prior(1.0), aggregated_posterior()
    made.trust[0, 1] = 0
    u = points(5, 7)
    terms = made.layer_log_ratio(u)
    assert torch.equal(terms[:, 1], torch.zeros(5).double()) and (terms[:, 0] != 0).all()
    drawn = made.draw(6_000, Sampling(sampler(), seeded(8)))
    assert_moments(drawn.u[:, 1:], torch.zeros(2).double(), torch.eye(2).double())
    assert_moments(drawn.u[:, :1], joint.mean[:1], joint.covariance_matrix[:1, :1])


def test_terms_of_a_layer_after_each_stage():
    """Stages with a half and a quarter of the true log ratio: after one its terms are a half, after two three quarters."""
    made, whole, u = prior(0.5, 0.25), prior(1.0), points(5, 12)
    truth = whole.layer_log_ratio(u)
    for stages, share in ((0, 0.0), (1, 0.5), (2, 0.75), (None, 0.75)):
        torch.testing.assert_close(made.layer_log_ratio(u, stages=stages), share * truth)


def test_classifiers_are_judged_layer_by_layer():
    """Points of q against N(0, I): the true classifiers are better than chance.  With the sign turned they are worse, and
    the stage, and all after it, are given up."""
    u = points(4_000, 9)
    good, bad = prior(1.0, active=0), prior(-1.0, active=0)
    for made, wanted in ((good, True), (bad, False)):
        made._stage = 1
        figures = made.end_stage(1, bench(u))
        assert made.trust[0].tolist() == pytest.approx([float(wanted)] * 2, abs=0.15)
        assert (made.trained_stages, made.should_train(2)) == (int(wanted), wanted)
        assert (figures["heldout_auc_layer_0"] > 0.5) == wanted


def test_a_later_stage_is_judged_against_the_one_before():
    """The true classifiers tell q from N(0, I) in each layer, and not from the first stage, which is q.  Of 4,000 points and
    as many draws an AUC's standard error is below 0.007."""
    made, u = prior(1.0, 1.0, active=0, pool_size=10, adaptive=False), points(4_000, 18)
    found = []
    for stage in (1, 2):
        made.begin_stage(stage, bench(u))
        figures = made.end_stage(stage, bench(u))
        found.append([figures[f"heldout_auc_layer_{i}"] for i in range(2)])
    assert min(found[0]) > 0.55
    assert found[1] == pytest.approx([0.5, 0.5], abs=0.035)


def test_a_judgement_is_that_of_its_definition():
    positive, negative = torch.randn(300, 2, generator=seeded(1)) + 0.5, torch.randn(200, 2, generator=seeded(2))
    found = judge(positive, negative)
    slow = (positive[:, None] > negative[None]).double().mean((0, 1))
    torch.testing.assert_close(found.auc, slow)
    loss = -(torch.sigmoid(positive.double()).log().mean(0) + torch.sigmoid(-negative.double()).log().mean(0))
    torch.testing.assert_close(found.loss, loss)
    figures, single = found.figures(), judge(positive, negative, joint=True).figures()
    assert figures["heldout_loss"] == pytest.approx(loss.sum().item()) and figures["heldout_auc"] == slow.mean().item()
    assert [figures[f"heldout_auc_layer_{i}"] for i in range(2)] == slow.tolist()
    assert {*single} == {"heldout_loss", "heldout_auc", "heldout_weighted_loss"}


def test_a_classifier_that_is_too_sure_is_given_the_factor_that_mends_it():
    """Logits three times the log ratio of N(1, 1) to N(0, 1) are worse than chance and are mended by a third; logits that
    say nothing, or the contrary, by 0."""
    u, v = torch.randn(20_000, 1, generator=seeded(3)) + 1, torch.randn(20_000, 1, generator=seeded(4))
    logits = [torch.cat([3 * (x - 0.5), -(x - 0.5)], dim=1) for x in (u, v)]
    found = judge(*logits)
    assert found.trust(0.52).tolist() == pytest.approx([1 / 3, 0], abs=0.02)
    right = judge(u - 0.5, v - 0.5)
    assert right.weight.item() > 0.97
    torch.testing.assert_close(found.weighted_loss[0], right.loss[0], atol=2e-4, rtol=0)


def test_upper_layers_stay_fixed():
    joint, made, top = aggregated_posterior(), prior(1.0), torch.full((4_000, 1), 0.7, dtype=torch.float64)
    drawn = made.draw(4_000, Sampling(sampler(), seeded(10), condition=Condition(top=top)))
    gain = joint.covariance_matrix[1:, 0] / joint.covariance_matrix[0, 0]
    lower = joint.covariance_matrix[1:, 1:] - gain[:, None] * joint.covariance_matrix[:1, 1:]
    assert torch.equal(drawn.u[:, :1], top)
    assert_moments(drawn.u[:, 1:], joint.mean[1:] + gain * (0.7 - joint.mean[0]), lower)


@pytest.mark.parametrize("negatives", ["pool", "chain"])
def test_it_learns_two_stages(negatives):
    """A few steps of each stage lower the loss, and the saved state is read back."""
    torch.manual_seed(0)
    u = points(2_000, 11).float()
    made = MultistagePrior(
        MultistageSettings(stages=2, energy=CONDITIONAL, base=NORMAL, negatives=negatives, pool_size=500),
        space().__class__(LAYOUT, lambda u: u, None),
    )
    for stage in (1, 2):
        made.begin_stage(stage, bench(u))
        objective = made.objectives()[0]
        optimiser, losses = torch.optim.Adam(objective.parameters, lr=1e-2), []
        for k in range(60):
            optimiser.zero_grad()
            loss = objective.loss(
                Latents(u[torch.randint(len(u), (200,), generator=seeded(k))]), Step(k, 60, seeded(k))
            ).value
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        if stage == 1:
            assert sum(losses[-10:]) < 0.97 * sum(losses[:10])
        made.eval()
        made.end_stage(stage, bench(u))
    again = MultistagePrior(made.settings, made.space)
    again.load_state_dict(made.state_dict())
    draws = [one.eval().draw(5, Sampling(sampler(3), seeded(1))).u for one in (made, again)]
    assert torch.equal(*draws)


def test_labels_are_known_from_the_layers_down_to_each():
    """Two classes, N(+-m, I) over two layers: p(y | u_<=i) is a logistic function of the layers down to i, and draws that
    are asked for a class are those of its Gaussian, though no layer but the heads knows of it."""
    shift = torch.tensor([1.0, 0.5, -0.8], dtype=torch.float64)
    made = (
        MultistagePrior(
            MultistageSettings(stages=1, energy=CONDITIONAL, base=NORMAL, labels=({"classes": 2, "energy": {"width": 4}},)),
            space(),
        )
        .double()
        .eval()
    )
    made.active.fill_(1)
    for net, mixture in zip(range(2), (Mixture(shift[:1]), Mixture(shift[1:], shift[:1])), strict=True):
        made.energies[0].nets[net] = mixture
    made.labels.heads[0].nets[0] = Logistic(shift[:1])
    made.labels.heads[1].nets[0] = Logistic(shift)
    asked = Condition({"label": torch.ones(6_000, dtype=torch.int64)})
    drawn = made.draw(6_000, Sampling(sampler(80), seeded(12), condition=asked))
    assert_moments(drawn.u, shift, torch.eye(3).double())
    with pytest.raises(UsageError, match="colour"):
        made.draw(2, Sampling(sampler(), condition=Condition({"colour": torch.zeros(2, dtype=torch.int64)})))


class Logistic(nn.Module):
    """p(y = 1 | u) = sigmoid(2 m u)."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, x):
        value = x @ self.shift
        return torch.stack([-value, value], dim=1)


class Mixture(nn.Module):
    """log of (w N(m, I) + (1 - w) N(-m, I)) / N(0, I), w = sigmoid(2 m' u_<i) from the layers above."""

    def __init__(self, shift, above=None):
        super().__init__()
        self.shift, self.above = nn.Parameter(shift), above

    def given(self, context):
        return None if context is None else context @ self.above

    def logits(self, x, given):
        value = x @ self.shift
        told = torch.zeros(1, 1).double() if given is None else given[:, None]
        return torch.logaddexp(value + told, -value - told) - torch.logaddexp(told, -told)


class Follows(nn.Module):
    """log N(u_1; c u_0, I) / N(u_1; 0, I) up to a function of u_0: the layer follows the one above."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def given(self, context):
        return context

    def logits(self, x, context):
        return self.slope * (x.sum(2) * context)


def test_redrawn_layers_follow_the_points_that_were_given():
    """u_1 ~ N(u_0, I) under the u_0 that was given, whatever is drawn for u_0; in a draw under the u_0 that was drawn."""
    made, u = prior(1.0), points(8_000, 13)
    made.energies[0].nets[1] = Follows(1.0)
    drawn = made.redraw(u, Sampling(sampler(), seeded(14), stages=1))
    assert_moments(drawn[:, 1:] - u[:, :1], torch.zeros(2).double(), torch.eye(2).double())
    drawn = made.draw(8_000, Sampling(sampler(), seeded(15))).u
    assert_moments(drawn[:, 1:] - drawn[:, :1], torch.zeros(2).double(), torch.eye(2).double())


def test_a_pool_keeps_its_negatives_beside_the_points_they_were_drawn_under():
    made = prior(1.0, 0.0, active=1, pool_size=6_000)
    made.energies[0].nets[1] = Follows(1.0)
    u = points(6_000, 16)
    made.begin_stage(2, bench(u))
    above, negatives = made._negatives.under(Latents(u[:6_000]), Step(0, 1, seeded(17)))
    assert all((row == u).all(1).any() for row in above.u[:5])
    left = negatives[:, 1:] - above.u[:, :1]
    # Rows are chosen with replacement, so that 6,000 of them are about 3,800 different ones.
    assert (left.mean(0).abs() < 5 * (2 / 6_000) ** 0.5).all()
    assert ((left.T.cov() - torch.eye(2)).abs() < 5 * (4 / 6_000) ** 0.5).all()


@pytest.mark.parametrize(("kind", "ratios"), [("conditional", 1), ("normal", 3)])
def test_a_trained_base_is_followed_by_one_ratio(kind, ratios):
    """`stages: auto` gives the base the steps of the second and third ratio."""
    made = MultistagePrior(MultistageSettings(energy=CONDITIONAL, base={"kind": kind}), space())
    assert len(made.energies) == ratios
    assert made.stages == ratios + (kind == "conditional")
