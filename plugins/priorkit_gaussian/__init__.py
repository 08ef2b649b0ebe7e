"""The Gaussian prior: r = 1, nothing is trained. The baseline of every comparison."""

from torch import Tensor

from priorkit.core import Draw, Prior, Sampling

__all__ = ["GaussianPrior"]


class GaussianPrior(Prior):
    """The backbone's prior, N(0, I) in u-space."""

    stages = 0
    normalised = True

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return zero, (B, D) -> (B,)."""
        return u.new_zeros(len(u))

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return zero, (B, D) -> (B, L)."""
        return u.new_zeros(len(u), len(self.layout))

    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n exact samples; the sampler is not used."""
        u = self.standard_normal(n, sampling.generator)
        if sampling.labels:
            self.label_log_prob(u, sampling.labels)  # rejects them
        return Draw(sampling.fix(u))
