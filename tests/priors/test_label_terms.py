"""What labels add to a ratio: once in all, and to no layer's term that does not read what they read."""

import pytest
import torch
from priorkit_diffusion import DiffusionPrior, DiffusionSettings
from priorkit_jointebm import JointEbmPrior, JointEbmSettings
from priorkit_mcmc import Mala, MalaSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from torch import nn
from torch.nn.functional import cross_entropy

from priorkit.core import Latents, LatentSpace, Layout, StageContext, Step, Streams

SEPARABLE = {"width": 16, "coupling": "separable", "network": "mlp"}
LABELS = ({"classes": 3, "energy": {"width": 16, "network": "mlp"}},)
PRIORS = {
    "jointebm": (JointEbmPrior, JointEbmSettings, {}),
    "diffusion": (DiffusionPrior, DiffusionSettings, {"levels": 2}),
    "multistage, a joint logit": (MultistagePrior, MultistageSettings, {"logit": "joint"}),
    "multistage, a logit per layer": (MultistagePrior, MultistageSettings, {"logit": "layer"}),
}


def space(*sizes):
    return LatentSpace(Layout(tuple((size,) for size in sizes)), lambda u: u, lambda batch: None)


def made(name, *sizes, labels=LABELS):
    """A prior with random weights, one stage of it trained, in double precision."""
    kind, settings, options = PRIORS[name]
    torch.manual_seed(1)
    prior = kind(settings(energy=SEPARABLE, labels=labels, **options), space(*sizes)).double().eval()
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.4)
    if hasattr(prior, "active"):
        prior.active.fill_(1)
    return prior


@pytest.mark.parametrize("sizes", [(4, 4), (2, 3, 4), (5,)], ids=str)
@pytest.mark.parametrize("name", PRIORS)
def test_with_labels_a_layers_term_reads_that_layer_alone_or_there_is_none(name, sizes):
    prior, u = made(name, *sizes), torch.randn(5, sum(sizes), dtype=torch.float64)
    terms = prior.layer_log_ratio(u)
    if terms is None:
        assert len(sizes) > 1, "with one layer the whole log ratio is its term"
        assert made(name, *sizes, labels=()).layer_log_ratio(u) is not None
        return
    torch.testing.assert_close(terms.sum(1), prior.log_ratio(u))
    for i, start in enumerate(prior.layout.offsets):
        changed = u.clone()
        changed[:, start : start + sizes[i]] += 1
        moved = (prior.layer_log_ratio(changed) != terms).any(0)
        assert moved.tolist() == [j == i for j in range(len(sizes))]


def test_only_a_logit_per_layer_keeps_its_terms_beside_labels():
    kept = {name for name in PRIORS if made(name, 4, 4).layer_log_ratio(torch.zeros(1, 8, dtype=torch.float64)) is not None}
    assert kept == {"multistage, a logit per layer"}


class Quadratic(nn.Module):
    """(B, 2) -> (B, outputs): linear in the monomials of degree 2 of both columns, and in 1."""

    def __init__(self, outputs):
        super().__init__()
        self.linear = nn.Linear(3, outputs).double()
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, u):
        return self.linear(torch.stack([u[:, 0] ** 2, u[:, 1] ** 2, u[:, 0] * u[:, 1]], dim=1))


class Marginals(nn.Module):
    """(B, 2) -> (B, 2): of each column a multiple of its square and a constant."""

    def __init__(self):
        super().__init__()
        self.slope, self.offset = (nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2))

    def forward(self, u):
        return self.slope * u**2 + self.offset


def fitted(logit, energy, u, labels):
    """Multistage with one stage and labels at its optimum on u (N, 2) of two layers."""
    settings = MultistageSettings(stages=1, bound=None, logit=logit, energy=SEPARABLE, labels=({"classes": 2},))
    prior = MultistagePrior(settings, space(1, 1)).double()
    prior.energies, prior.labels.nets = nn.ModuleList([energy]), nn.ModuleList([Quadratic(2)])
    prior.begin_stage(1, StageContext(Latents(u), Latents(u[:0]), Mala(MalaSettings()), Streams(0)))
    objective = prior.objectives()[0]
    optimiser = torch.optim.LBFGS(objective.parameters, max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = objective.loss(Latents(u, labels=labels), Step(0, 1, torch.Generator().manual_seed(1))).value
        loss.backward()
        return loss

    optimiser.step(closure)
    prior.active.fill_(1)
    return prior


CORRELATION = 0.6


def correlated(n, seed=0):
    """N(0, S) with unit variances and correlation 0.6, (n, 2)."""
    normal = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    normal[:, 1] = CORRELATION * normal[:, 0] + (1 - CORRELATION**2) ** 0.5 * normal[:, 1]
    return normal


def slope(prior, u):
    """Of the learned on the true log ratio of N(0, S) to N(0, I) over points u (N, 2)."""
    covariance = torch.tensor([[1, CORRELATION], [CORRELATION, 1]], dtype=torch.float64)
    wanted = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance).log_prob(u)
    wanted = wanted + 0.5 * u.square().sum(1)
    with torch.no_grad():
        learned = prior.log_ratio(u)
    wanted, learned = wanted - wanted.mean(), learned - learned.mean()
    return float((wanted * learned).sum() / wanted.square().sum())


@pytest.mark.parametrize(("logit", "right"), [("layer", 0.0), ("joint", 1.0)])
def test_labels_that_say_nothing_are_counted_once(logit, right):
    """Positives N(0, S) with unit variances, and labels by the toss of a coin.  The marginals' ratios are 1, so that a logit
    per layer has nothing to learn; a joint logit, whose heads see both layers, has the whole ratio.  Counted once per layer
    the ratio's square has a slope of 2.  40,000 points, of which the slope's standard error is about 0.02."""
    u = correlated(40_000)
    labels = torch.randint(2, (len(u),), generator=torch.Generator().manual_seed(2))
    prior = fitted(logit, Marginals(), u, labels)
    assert slope(prior, correlated(4_000, seed=3)) == pytest.approx(right, abs=0.1)


def test_beside_a_logit_per_layer_the_heads_learn_by_their_cross_entropy_alone():
    prior = made("multistage, a logit per layer", 2, 3)
    u, labels = torch.randn(50, 5, dtype=torch.float64), torch.arange(50) % 3
    prior.begin_stage(1, StageContext(Latents(u), Latents(u[:0]), Mala(MalaSettings()), Streams(0)))
    prior.eval()
    loss = prior.objectives()[0].loss(Latents(u, labels=labels), Step(0, 1, torch.Generator())).value
    head = list(prior.labels.parameters())
    learned = torch.autograd.grad(loss, head)
    alone = torch.autograd.grad(cross_entropy(prior.labels.logits(u)["label"], labels), head)
    torch.testing.assert_close(learned, alone)
