r"""log Z of :math:`p(u) = e^{f(u)} N(u; 0, I) / Z` by annealed importance sampling (Neal 2001), from below and above.

The distributions between N(0, I) and p are :math:`p_\beta \propto e^{\beta f} N(u; 0, I)` at :math:`0 = \beta_0 < \dots <
\beta_T = 1`. A chain starts at :math:`u_0 \sim N(0, I)`, and a transition that leaves :math:`p_{\beta_t}` invariant takes
u_{t-1} to u_t;

.. math:: \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1})\, f(u_{t-1}), \qquad E[w] = Z .

The logarithm of the mean weight is too low on average.  A chain that starts in p and runs backwards has :math:`E[1 / w] =
1 / Z`, and the logarithm of that mean's inverse is too high (Grosse et al. 2015).  Without exact samples of p the backward
chains start at the ends of the forward chains, resampled by their weights and moved under p.

A pilot run, whose points are used for nothing else, chooses the temperatures and each one's step size, so that the
expectations above are exact.  Intervals are those of independent chains; since chains start more evenly spread than
independent points, they can only be too wide.
"""

from dataclasses import dataclass
from math import ceil, log

import torch
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine
from torch.utils.flop_counter import FlopCounterMode

from priorkit.core import LogProb, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.errors import UsageError
from priorkit.mcmc.gaussian_hmc import LEAPS, evaluate, transition
from priorkit.mcmc.metropolis import State
from priorkit.metrics.temperatures import MIN_CHAINS, Temperatures, affordable, pilot_temperatures, resampled_rows

__all__ = ["LogZ", "annealed_log_z", "log_mean"]

QUANTILE = 1.96
PILOT = 128
"""Number of chains of the pilot run."""
EQUILIBRATION = 20
"""Number of moves under p before the way back, if it does not start at exact samples."""


@dataclass(frozen=True)
class LogZ:
    """log Z in nats with a 95 % interval, and the two one-sided estimates from which it is computed."""

    value: float
    """The mean of `lower` and `upper`."""
    low: float
    high: float
    lower: float
    """Estimate of the forward chains; at most log Z on average."""
    upper: float
    """Estimate of the backward chains; at least log Z on average if they start at exact samples."""
    chains: int
    temperatures: int
    effective: float
    """Effective number of forward chains, (sum w)^2 / sum w^2."""
    acceptance: float
    exact: bool
    """True if the backward chains started at exact samples."""

    @property
    def error(self) -> float:
        """Return the distance of `value` to the farther end of the interval."""
        return max(self.high - self.value, self.value - self.low)

    @property
    def protocol(self) -> str:
        """Return a short description of the computation."""
        start = "exact draws" if self.exact else "the way up's resampled ends, an upper bound only as far as they are in p"
        return (
            f"annealed importance sampling from N(0, I), {self.chains} chains, {self.temperatures} temperatures, one "
            f"Hamiltonian move of {LEAPS} rotations each (accepted: {self.acceptance:.2f}); effective chains "
            f"{self.effective:.0f}; up and down, the way down from {start}; a mode that no chain has found is in neither"
        )

    def figures(self) -> dict[str, Metric]:
        """Return '' (with half the interval), '_lower' and '_upper', in nats."""
        ends = "the two one-sided 95 % intervals together"
        return {
            "": Metric(self.value, self.error, f"log Z, nats: {self.protocol}; spread: farther end of {ends}"),
            "_lower": Metric(self.lower, self.lower - self.low, f"way up: {self.protocol}; spread: half a 95 % interval"),
            "_upper": Metric(self.upper, self.high - self.upper, f"way down: {self.protocol}; spread: half a 95 % interval"),
        }


@torch.no_grad()
def annealed_log_z(
    log_ratio: LogProb,
    dim: int,
    *,
    chains: int = 512,
    samples: Tensor | None = None,
    budget: float = 1e12,
    dtype: torch.dtype = torch.float32,
    generator: Generator | None = None,
    progress: Progress = no_progress,
) -> LogZ:
    """Return log Z of exp(log_ratio(u)) N(u; 0, I), where log_ratio maps (B, dim) -> (B,) and may be -inf.

    `samples` (N, dim) are exact samples of the density, if available. `budget` is the largest number of floating-point
    operations (of matrix products and convolutions) of the pilot run, and of both directions after it; to stay within it,
    first the number of temperatures, then the number of chains is reduced. Raises UsageError for a log ratio that is not
    finite, is too far from N(0, I), or costs too much.
    """
    if chains < MIN_CHAINS:
        raise UsageError(f"log Z: expected at least {MIN_CHAINS} chains, got {chains}")
    device = torch.device("cpu") if generator is None else generator.device
    gradients = budget / _operations(log_ratio, torch.zeros(1, dim, dtype=dtype, device=device))
    pilot = pilot_temperatures(log_ratio, _normal_points(PILOT, dim, generator).to(device, dtype), gradients, generator)
    parts, chains = affordable(pilot, chains, gradients)
    ladder = pilot.refined(parts)
    start = _normal_points(chains, dim, generator).to(device, dtype)
    ends, up, accepted = _anneal(log_ratio, evaluate(log_ratio, start), ladder, generator, progress, upwards=True)
    if bool(up.isneginf().all()):
        raise UsageError("log Z: no chain from N(0, I) reached the density; it is too far away")
    if samples is None:
        start_down = _equilibrated(log_ratio, ends, up, ladder, generator)
    else:
        start_down = _chosen(log_ratio, samples.to(start), chains, generator)
    _, down, _ = _anneal(log_ratio, start_down, ladder, generator, progress, upwards=False)
    lower, below = log_mean(up)
    inverse, above = log_mean(-down)
    # Paths of weight 0 never occur in the backward direction, so E[1 / w] there is P(w > 0) / Z.
    upper = log(float(up.isfinite().double().mean())) - inverse
    value = (lower + upper) / 2
    low, high = min(lower - below, upper - above), max(lower + below, upper + above)
    effective = float((2 * up.logsumexp(0) - (2 * up).logsumexp(0)).exp())
    return LogZ(value, low, high, lower, upper, chains, len(ladder.angles), effective, accepted, samples is not None)


def _normal_points(count: int, dim: int, generator: Generator | None) -> Tensor:
    """Return points that are each N(0, I), (count, dim), float64, and together more even than independent ones: a scrambled
    Sobol net, which changes no expectation, and whose means are no worse, and in few dimensions far better (Owen 1997)."""
    device = None if generator is None else generator.device
    if dim > SobolEngine.MAXDIM:
        return torch.randn(count, dim, generator=generator, dtype=torch.float64, device=device)
    seed = int(torch.randint(2**31, (1,), generator=generator, device=device))
    engine = SobolEngine(dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points: Tensor = torch.special.ndtri(engine.draw(count, dtype=torch.float64).clamp(2**-32, 1 - 2**-32))
    return points


def _operations(f: LogProb, point: Tensor) -> float:
    """Return the floating-point operations of one gradient of f at one point."""
    with FlopCounterMode(display=False) as counter:
        f(point)
    return 3.0 * max(1, int(counter.get_total_flops()))


def _anneal(
    f: LogProb, state: State, ladder: Temperatures, generator: Generator | None, progress: Progress, *, upwards: bool
) -> tuple[State, Tensor, float]:
    """Run one direction of the temperatures: the ends, log w of the path as in the forward direction (B,), mean
    acceptance."""
    log_w = torch.zeros_like(state.value)
    accepted = 0.0
    rungs = range(1, len(ladder.betas))
    title = f"annealing {'up' if upwards else 'down'}"
    for t in progress(rungs if upwards else reversed(rungs), len(rungs), title):
        step = ladder.betas[t] - ladder.betas[t - 1]
        if upwards:
            log_w += step * state.value
        state, acceptance = transition(f, state, ladder.betas[t], ladder.angles[t - 1], generator)
        accepted += float(acceptance.mean())
        if not upwards:
            log_w += step * state.value
    return state, log_w, accepted / len(rungs)


def _equilibrated(f: LogProb, ends: State, log_w: Tensor, ladder: Temperatures, generator: Generator | None) -> State:
    """Return as many points approximately from p: ends resampled by their weights and moved."""
    state = ends[resampled_rows(log_w, len(log_w), generator)]
    for _ in range(EQUILIBRATION):
        state, _ = transition(f, state, 1.0, ladder.angles[-1], generator)
    return state


def _chosen(f: LogProb, samples: Tensor, count: int, generator: Generator | None) -> State:
    """Return `count` of the exact samples, without repetition if there are enough."""
    order = torch.randperm(len(samples), generator=generator, device=samples.device)
    return evaluate(f, samples[order.repeat(ceil(count / len(samples)))[:count]])


def log_mean(log_w: Tensor) -> tuple[float, float]:
    """Return log of the mean of w = exp(log_w), and half its 95 % interval.

    The interval is the larger of the delta method's and of that for log-normal weights: a sample of skewed weights seldom
    includes the large ones that determine their variance.
    """
    count = len(log_w)
    value = log_w.logsumexp(0) - log(count)
    relative = (log_w - value).exp()
    variance = relative.var() / count
    finite = log_w[log_w.isfinite()]
    spread = finite.var()
    normal = spread / len(finite) + spread.square() / (2 * max(1, len(finite) - 1)) + (count / len(finite) - 1) / count
    return float(value), QUANTILE * float(torch.maximum(variance, normal)) ** 0.5
