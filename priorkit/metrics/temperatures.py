"""The temperatures of annealed importance sampling: chosen by a pilot run, reduced to fit a budget."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Generator, Tensor

from priorkit.core import LogProb
from priorkit.errors import UsageError
from priorkit.mcmc.gaussian_hmc import LEAPS, MAX_STEP, adapted, evaluate, transition

__all__ = ["MIN_CHAINS", "Temperatures", "affordable", "pilot_temperatures", "resampled_rows"]

TUNING = 4
"""Number of moves of the pilot run at each temperature."""
OVERLAP = 0.9
"""Effective share of the chains after a step of the pilot run's temperatures."""
WANTED = 0.3
"""Target variance of log w of the temperatures."""
MAX_LEVELS = 300
MIN_CHAINS = 32


@dataclass(frozen=True)
class Temperatures:
    """Powers of the ratio, from 0 to 1, and the size of a move at each."""

    betas: list[float]
    """beta_0 = 0 ... beta_T = 1."""
    angles: list[float]
    """Angles of the moves at beta_1 ... beta_T."""
    variance: float
    """Variance of log w if every move were independent of its starting point."""

    def refined(self, parts: int) -> "Temperatures":
        """Return the temperatures with each step divided into `parts`."""
        betas, angles = [0.0], []
        before = [self.angles[0], *self.angles]
        for t, angle in enumerate(self.angles):
            for part in range(1, parts + 1):
                share = part / parts
                betas.append((1 - share) * self.betas[t] + share * self.betas[t + 1])
                angles.append((1 - share) * before[t] + share * angle)
        return Temperatures(betas, angles, self.variance / parts)


def pilot_temperatures(f: LogProb, start: Tensor, gradients: float, generator: Generator | None) -> Temperatures:
    """Return temperatures at which OVERLAP of the chains stay effective, and the angle of each, found in the forward
    direction."""
    state, angle, variance = evaluate(f, start), MAX_STEP, 0.0
    betas, angles = [0.0], []
    while betas[-1] < 1:
        if len(betas) > MAX_LEVELS:
            told = f"after {MAX_LEVELS} temperatures the pilot run has only reached {betas[-1]:.2g} times the log ratio"
            raise UsageError(f"log Z: {told}; the density is too far from N(0, I)")
        if len(betas) * TUNING * LEAPS * len(start) > gradients:
            raise _too_costly(len(betas) * TUNING * LEAPS * len(start), gradients)
        finite = state.value[state.value.isfinite()]
        if not len(finite):
            raise UsageError("log Z: no sample of N(0, I) is in the support of the density")
        rise = _rise(finite, 1 - betas[-1])
        variance += float((rise * finite).var())
        state = state[resampled_rows(rise * state.value, len(state.value), generator)]
        betas.append(1.0 if betas[-1] + rise > 1 - 1e-9 else betas[-1] + rise)
        for _ in range(TUNING):
            state, acceptance = transition(f, state, betas[-1], angle, generator)
            angle = adapted(angle, acceptance)
        angles.append(angle)
    return Temperatures(betas, angles, variance)


def _rise(values: Tensor, most: float) -> float:
    """Return the largest step of beta, up to `most`, that leaves OVERLAP of chains at these values (N,) effective."""

    def overlap(step: float) -> float:
        return float((2 * (step * values).logsumexp(0) - (2 * step * values).logsumexp(0)).exp()) / len(values)

    if overlap(most) >= OVERLAP:
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if overlap(middle) >= OVERLAP else (low, middle)
    return max(low, 1e-9)


def affordable(pilot: Temperatures, chains: int, gradients: float) -> tuple[int, int]:
    """Return the number of parts into which each step of the temperatures is divided, and the number of chains, for so many
    gradients at a point."""
    climb = 2 * LEAPS * len(pilot.angles)
    parts = ceil(pilot.variance / WANTED) or 1
    if climb * parts * chains > gradients:
        parts = max(1, int(gradients / (climb * chains)))
    if climb * parts * chains > gradients:
        chains = int(gradients / climb)
    if chains < MIN_CHAINS:
        raise _too_costly(climb * MIN_CHAINS, gradients)
    return parts, chains


def _too_costly(wanted: float, gradients: float) -> UsageError:
    return UsageError(
        f"log Z: more than {wanted:.2g} gradients of the log ratio would be needed, but the budget of floating-point "
        f"operations allows {gradients:.2g}"
    )


def resampled_rows(log_w: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Return `count` rows by systematic resampling, each as often as its weight requires, rounded up or down."""
    shares = (log_w - log_w.logsumexp(0)).exp().cumsum(0)
    shift = torch.rand((), generator=generator, dtype=shares.dtype, device=shares.device)
    places = (torch.arange(count, dtype=shares.dtype, device=shares.device) + shift) / count
    return torch.searchsorted(shares / shares[-1], places).clamp(max=len(shares) - 1)
