r"""log Z of :math:`p(u) = b(u)\, r(u) / Z` from exact draws of the base b: :math:`Z = E_b[r(u)]`."""

from dataclasses import dataclass

import torch
from torch import Generator

from priorkit.core import BaseDensity, LogProb, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.errors import UsageError
from priorkit.metrics.annealed import log_mean

__all__ = ["WeightedLogZ", "weighted_log_z"]

CHUNK = 2_000
"""Draws weighed at once."""


@dataclass(frozen=True)
class WeightedLogZ:
    """log Z in nats, half its 95 % interval, and what it was computed from."""

    value: float
    error: float
    draws: int
    effective: float
    """Effective number of draws, (sum r)^2 / sum r^2."""

    def figures(self) -> dict[str, Metric]:
        """Return '' (with half the interval), in nats, and '_effective', the effective share of the draws."""
        how = f"log of the mean ratio to the base at {self.draws:,} exact draws of it"
        told = f"log Z, nats: {how}; effective draws {self.effective:.0f}; spread: half a 95 % interval"
        share = f"effective share of the draws, (sum r)^2 / (n sum r^2): {how}"
        return {
            "": Metric(self.value, self.error, told),
            "_effective": Metric(self.effective / self.draws, None, share),
        }


@torch.no_grad()
def weighted_log_z(
    log_ratio: LogProb,
    base: BaseDensity,
    *,
    draws: int = 20_000,
    generator: Generator | None = None,
    progress: Progress = no_progress,
) -> WeightedLogZ:
    """Return log Z of exp(log_ratio(u)) N(u; 0, I), where log_ratio maps (B, D) -> (B,) and includes the base.

    The interval is right only if `effective` is not small. Raises UsageError for a log ratio that is not finite.
    """
    parts = []
    for first in progress(range(0, draws, CHUNK), -(-draws // CHUNK), "draws of the base"):
        u = base.draw(min(CHUNK, draws - first), generator)
        parts.append((log_ratio(u) - base.log_ratio(u)).double())
    log_w = torch.cat(parts)
    if not bool(log_w.isfinite().all()):
        raise UsageError("log Z: the log ratio is not finite at some draws of the base; the energy has diverged")
    value, error = log_mean(log_w)
    return WeightedLogZ(value, error, draws, float((2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()))
