"""The Gaussian prior: r = 1, nothing to learn.  The baseline of every comparison."""

from torch import Generator, Tensor

from priorkit.core import Condition, Draw, Prior, Sampler

__all__ = ["GaussianPrior"]


class GaussianPrior(Prior):
    """The backbone's own prior, N(0, I) in u-space."""

    stages = 0

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Exactly zero, (B, D) -> (B,)."""
        return u.new_zeros(len(u))

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Exactly zero, (B, D) -> (B, L)."""
        return u.new_zeros(len(u), len(self.layout))

    def draw(
        self,
        n: int,
        *,
        sampler: Sampler,
        generator: Generator | None = None,
        keep_every: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
    ) -> Draw:
        """n exact draws; the sampler has nothing to do."""
        u = self.standard_normal(n, generator)
        if condition is None:
            return Draw(u)
        if condition.labels:
            self.label_log_prob(u, condition.labels)  # refuses them
        return Draw(condition.fix(u))
