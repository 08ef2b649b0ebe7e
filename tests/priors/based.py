"""Priors on a known Gaussian mixture as their base, with a known linear ratio to it."""

import torch
from linear import Linear
from priorkit_jointebm import JointEbmPrior, JointEbmSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from priorkit_tre import TrePrior, TreSettings
from torch import nn

from priorkit.core import LatentSpace, Layout

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-6.0, 1.0, 0.5], [6.0, -1.0, 0.0]], dtype=torch.float64)
"""Modes so far apart that no chain crosses, and no draw of N(0, I) is near."""
SCALES = torch.tensor([[0.5, 0.8, 0.6], [0.7, 0.4, 1.0]], dtype=torch.float64)
KINDS = ("multistage", "jointebm", "tre")


class Bridge(nn.Module):
    """The linear energy as the only bridge of a telescoping prior, (B, D) -> (B, 1, 1)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)[:, None]


def space(*sizes):
    return LatentSpace(Layout(tuple((size,) for size in sizes)), lambda u: u, lambda batch: None)


def known(prior, dim):
    """Give the base its components, the first `dim` columns of the known ones."""
    (mixture,) = prior.base_prior.mixtures
    mixture.set({"log_weights": WEIGHTS.log(), "means": MEANS[:, :dim], "factors": SCALES[:, :dim]})
    return prior


def on_mixture(kind, *sizes, ratio=None, **options):
    """A prior of this kind in double precision on the known mixture; `ratio` (D,) makes log r = ratio . u."""
    base = {"base_prior": "mixture", "bound": None} | options
    if kind == "multistage":
        prior = MultistagePrior(MultistageSettings(stages=1, **base), space(*sizes)).double()
        prior.active.fill_(prior.stages)
    elif kind == "jointebm":
        prior = JointEbmPrior(JointEbmSettings(**base), space(*sizes)).double()
    else:
        prior = TrePrior(TreSettings(waymarks=1, **base), space(*sizes)).double()
    if ratio is not None:
        net = Linear(ratio)
        if kind == "multistage":
            prior.energies = nn.ModuleList([net])
        else:
            prior.net = net if kind == "jointebm" else Bridge(net)
    return known(prior, sum(sizes)).eval()


def tilted(ratio):
    """The mixture times e^(ratio . u), which is a mixture again: its weights, its means, and log Z."""
    variances = SCALES[:, : len(ratio)].square()
    means = MEANS[:, : len(ratio)]
    logs = WEIGHTS.log() + means @ ratio + 0.5 * variances @ ratio.square()
    return logs.softmax(0), means + variances * ratio, logs.logsumexp(0)
