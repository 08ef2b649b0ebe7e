"""Sampling-importance-resampling of one layer for a batch of contexts."""

from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings, TiltedNormal
from priorkit.mcmc import resample

__all__ = ["Resampling"]


class Resampling(Sampler):
    """Selects one of `proposals` samples of N(0, I) per row, with probability proportional to the density's ratio to it."""

    def __init__(self, proposals: int, chunk: int) -> None:
        super().__init__(Settings())
        self._proposals, self._chunk = proposals, chunk

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Return a point for each row of start (B, d), which defines shape, type and device."""
        if not isinstance(log_prob, TiltedNormal):
            raise TypeError("Resampling: needs a density with a known ratio to N(0, I)")
        ratio = log_prob.log_ratio

        def log_weight(u: Tensor) -> Tensor:
            return ratio(u.flatten(0, 1)).view(u.shape[:2])

        found = resample(log_weight, start, self._proposals, chunk=self._chunk, generator=generator)
        return found.chain(start, min(1, keep_every))  # so that a prior without chains has states to show
