"""Priors whose energies are known functions, for truth tests."""

import torch
from priorkit_multistage import MultistagePrior, MultistageSettings
from torch import nn

from priorkit.core import LatentSpace, Layout


class Linear(nn.Module):
    """(B, D) -> (B, 1): w . x + b."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float64))
        self.bias = nn.Parameter(torch.as_tensor(bias, dtype=torch.float64))

    def forward(self, x):
        return (x @ self.weight + self.bias)[:, None]


def space(dim):
    """A latent space of one layer in which z = 2 u."""
    return LatentSpace(Layout(((dim,),)), lambda u: 2 * u, lambda batch: None)


def prior(dim, energies, **options):
    """A multi-stage prior with the given energies, all of them trained; its logits are free, so that truths are exact."""
    made = MultistagePrior(MultistageSettings(stages=len(energies), **{"bound": None} | options), space(dim)).double()
    made.energies = nn.ModuleList(energies)
    made.active.fill_(len(energies))
    return made
