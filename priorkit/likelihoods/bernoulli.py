"""Independent binary pixels."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from priorkit.core import Likelihood
from priorkit.likelihoods.decoder_output import crop_note, cropped, widened

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    """p(x = 1) = sigmoid(logits) for each entry; logits (B, *shape), or (B, C, H + 2 crop, W + 2 crop) with a crop.

    For x strictly between 0 and 1, `log_prob` is the expectation over a random binarisation of x.
    """

    discrete = True

    def __init__(self, logits: Tensor, *, crop: int = 0) -> None:
        self.logits = cropped(widened(logits), crop)
        self.protocol = f"log-probability of binary values{crop_note(crop)}"

    @property
    def mean(self) -> Tensor:
        """The probability of a one, (B, *shape)."""
        return self.logits.sigmoid()

    def entry_log_prob(self, x: Tensor) -> Tensor:
        """log p of each entry, (B, *shape)."""
        return x * self.logits - F.softplus(self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B,), nats."""
        return self.entry_log_prob(x).flatten(1).sum(1)

    def sample(self, generator: Generator | None = None) -> Tensor:
        """Zeros and ones, (B, *shape)."""
        return torch.bernoulli(self.mean, generator=generator)
