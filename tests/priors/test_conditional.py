"""Class-conditional sampling against Bayes' rule, where the labelled density is known.

A mixture of four Gaussians in the plane; the networks are replaced by what perfect training would make of them: the energy
by log p(u) / N(u; 0, I), the heads by log p(y | u).
"""

import math

import pytest
import torch
from linear import space
from priorkit_gaussian import GaussianPrior
from priorkit_identity import IdentityBackbone, IdentitySettings
from priorkit_mcmc import Mala, MalaSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from priorkit_twolayer import TwoLayer, TwoLayerSettings
from torch import nn

from priorkit.core import Condition, DataSpec, LatentSpace, Layout, Sampling, Settings
from priorkit.errors import UsageError
from priorkit.model import Model

MEANS = torch.tensor([[-1.2, -0.5], [-0.4, 0.9], [0.5, -0.8], [1.3, 0.6]], dtype=torch.float64)
SIGMA = 0.6
SHARES = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
COLUMN, ROW = [0, 0, 1, 1], [0, 1, 0, 1]
N = 3_000


def component_log_densities(u):
    """log share_k N(u; m_k, sigma^2), (B, 4)."""
    distance = (u[:, None] - MEANS).square().sum(2) / (2 * SIGMA**2)
    return SHARES.log() - distance - math.log(2 * math.pi * SIGMA**2)


class Ratio(nn.Module):
    """log p(u) - log N(u; 0, I) - evidence, (B, 1): with the heads' term the logit of a perfect classifier."""

    def forward(self, u):
        normal = -0.5 * u.square().sum(1) - math.log(2 * math.pi)
        return (component_log_densities(u).logsumexp(1) - normal)[:, None]


class Posterior(nn.Module):
    """log p(y | u) + log K, whose mean of exponentials is 1: (B, K) of an attribute of the components."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, u):
        posterior = component_log_densities(u).softmax(1)
        classes = int(self.values.max()) + 1
        shares = [posterior[:, self.values == value].sum(1) for value in range(classes)]
        return torch.stack(shares, dim=1).log() + math.log(classes)


def perfect(**attributes):
    """The prior that knows the mixture, with these attributes of its components."""
    labels = [{"name": name, "classes": max(values) + 1} for name, values in attributes.items()]
    made = MultistagePrior(MultistageSettings(stages=1, bound=None, labels=labels), space(2)).double()
    made.energies = nn.ModuleList([Ratio()])
    made.labels.nets = nn.ModuleList(Posterior(values) for values in attributes.values())
    made.active.fill_(1)
    return made


def drawn(prior, **labels):
    asked = Condition({name: torch.full((N,), value) for name, value in labels.items()})
    sampler = Mala(MalaSettings(steps=80, step_size=0.35, choose="fixed"))
    return prior.draw(N, Sampling(sampler, torch.Generator().manual_seed(3), condition=asked)).u


@pytest.mark.parametrize("component", range(4))
def test_a_class_is_drawn_from_its_own_gaussian(component):
    """p(u | y) = N(m_y, sigma^2 I) exactly; 3,000 chains, 5 standard errors."""
    u = drawn(perfect(component=list(range(4))), component=component)
    assert (u.mean(0) - MEANS[component]).abs().max() < 5 * SIGMA / math.sqrt(N)
    assert (u.T.cov() - SIGMA**2 * torch.eye(2)).abs().max() < 5 * SIGMA**2 * math.sqrt(2 / N)


def by_quadrature(weight):
    """Cells' shares (6, 6) on [-3, 3]^2 of the density p(u) weight(u), from a fine grid."""
    side = torch.linspace(-3, 3, 361, dtype=torch.float64)
    centres = (side[1:] + side[:-1]) / 2
    u = torch.cartesian_prod(centres, centres)
    density = component_log_densities(u).exp().sum(1) * weight(u)
    cells = density.view(6, 60, 6, 60).sum((1, 3))
    return cells / cells.sum()


def histogram(u):
    inside = u[(u.abs() < 3).all(1)]
    index = (inside + 3).long()
    return torch.bincount(index[:, 0] * 6 + index[:, 1], minlength=36).view(6, 6) / len(inside)


def largest_z_score(u, expected):
    """Of cells that expect at least 5 points."""
    error = (expected * (1 - expected) / N).sqrt()
    return ((histogram(u) - expected).abs() / error)[expected * N >= 5].max()


def test_an_attribute_of_several_components_is_their_mixture():
    """p(u | column = 1) by Bayes' rule: components 2 and 3 with shares 3 : 4.  35 cells: 4.5 standard errors."""
    u = drawn(perfect(column=COLUMN, row=ROW), column=1)
    expected = by_quadrature(lambda u: component_log_densities(u).softmax(1)[:, 2:].sum(1))
    assert largest_z_score(u, expected) < 4.5


def test_a_composition_is_the_product_of_energies():
    """Two attributes: p(u) p(column | u) p(row | u), which is what adding energies means."""

    def weight(u):
        posterior = component_log_densities(u).softmax(1)
        return posterior[:, 2:].sum(1) * posterior[:, 1::2].sum(1)

    u = drawn(perfect(column=COLUMN, row=ROW), column=1, row=1)
    assert largest_z_score(u, by_quadrature(weight)) < 4.5


def test_without_labels_the_whole_mixture_is_drawn():
    assert largest_z_score(drawn(perfect(column=COLUMN)), by_quadrature(lambda u: torch.ones(len(u)))) < 4.5


def test_progressive_chains_honour_labels_and_fixed_layers():
    layered = LatentSpace(Layout(((1,), (1,))), lambda u: u, lambda batch: None)
    settings = MultistageSettings(stages=1, bound=None, labels=[{"classes": 4}], sampling="progressive")
    made = MultistagePrior(settings, layered).double()
    made.energies, made.labels.nets = nn.ModuleList([Ratio()]), nn.ModuleList([Posterior(list(range(4)))])
    made.active.fill_(1)
    top = torch.full((N, 1), 0.4)
    asked = Condition({"label": torch.full((N,), 3)}, top)
    sampler = Mala(MalaSettings(steps=80, step_size=0.35, choose="fixed"))
    u = made.draw(N, Sampling(sampler, torch.Generator().manual_seed(4), condition=asked)).u
    assert torch.equal(u[:, :1], top)
    # Of a round Gaussian the second coordinate does not depend on the first.
    assert abs(u[:, 1].mean() - MEANS[3, 1]) < 5 * SIGMA / math.sqrt(N)
    assert abs(u[:, 1].var() - SIGMA**2) < 5 * SIGMA**2 * math.sqrt(2 / N)


def model(prior):
    backbone = IdentityBackbone(IdentitySettings(), DataSpec("plane", (2,), None)).double()
    return Model(backbone, prior, Mala(MalaSettings(steps=60, step_size=0.35, choose="fixed")), backbone.spec)


def test_the_model_takes_labels_by_value_name_or_sample():
    made = model(perfect(component=list(range(4))))
    by_value = made.sample(30, labels=2)
    assert torch.equal(by_value, made.sample(30, labels={"component": 2}))
    assert torch.equal(by_value, made.sample(30, labels={"component": [2] * 30}))
    assert torch.equal(by_value[:7], made.sample(7, labels=2))
    mixed = made.sample(200, labels={"component": torch.arange(200) % 4})
    errors = [(mixed[k::4].mean(0) - MEANS[k]).abs().max() for k in range(4)]
    assert max(errors) < 5 * SIGMA / math.sqrt(50)


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (4, "0 to 3"),
        ({"component": -1}, "0 to 3"),
        ({"shape": 1}, "has only component"),
        ({"component": [1, 2]}, "one value or 5"),
        ({"component": torch.ones(5)}, "integers"),
    ],
)
def test_labels_that_cannot_be_asked_are_refused(labels, part):
    with pytest.raises(UsageError, match=part):
        model(perfect(component=list(range(4)))).sample(5, labels=labels)


def test_a_bare_value_of_several_attributes_is_refused():
    with pytest.raises(UsageError, match="column=1"):
        model(perfect(column=COLUMN, row=ROW)).sample(5, labels=1)


def test_one_layer_leaves_nothing_to_keep():
    with pytest.raises(UsageError, match="more than one layer"):
        model(perfect(column=COLUMN)).sample(5, keep_top=1)


@pytest.mark.parametrize("k", [1, 2])
def test_layers_below_kept_ones_are_drawn_anew_under_the_gaussian_prior(k):
    backbone = TwoLayer(TwoLayerSettings(latents=(2, 3, 4), hidden=8), DataSpec("test", (1, 8, 8), 17)).eval()
    prior = GaussianPrior(Settings(), backbone.space())
    made = Model(backbone, prior, Mala(MalaSettings()), backbone.spec)
    top = made.tops(k, 2, seed=5)
    assert torch.equal(top, made.sample_latents(2, seed=5)[:, : top.shape[1]])
    n = 2_000
    u = made.sample_latents(n, seed=5, condition=Condition(top=top.repeat(n // 2, 1)))
    assert torch.equal(u[:, : top.shape[1]], top.repeat(n // 2, 1))
    assert u[:, top.shape[1] :].mean(0).abs().max() < 5 / math.sqrt(n)
    for outside in (0, 3):
        with pytest.raises(UsageError, match="number from 1 to 2"):
            made.tops(outside, 1)
