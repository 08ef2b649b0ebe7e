"""The exact negative log-likelihood of an unnormalised density in two dimensions, by quadrature.

The trapezoid rule on a tensor grid: for a smooth density that vanishes at the edges it converges faster than any
power of the step, and every second point of the grid is a grid again, which gives the error at no cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot

import torch
from torch import Tensor

from priorkit.core.metric import Metric
from priorkit.errors import UsageError

__all__ = ["Box", "LogNormaliser", "enclosing_box", "heldout_nll", "log_normaliser"]

Box = tuple[tuple[float, float], tuple[float, float]]
"""Lower and upper end of each axis."""

LogDensity = Callable[[Tensor], Tensor]
"""(N, 2) -> (N,), up to a constant; -inf where there is no mass."""

CHUNK = 65_536
PILOT_POINTS = 201
REACH = 4.0
NEGLIGIBLE = 25.0
"""exp(-25) of the highest density counts as zero when a box is chosen."""


@dataclass(frozen=True)
class LogNormaliser:
    """log of the integral of exp(log_prob) over a box."""

    value: float
    error: float
    """Estimated absolute error: the difference to the grid of half the points, plus the mass at the box's edge."""
    edge: float
    """Share of the mass in the outermost ring of grid points; large if the box truncates the density."""


def log_normaliser(log_prob: LogDensity, box: Box, *, points: int = 601) -> LogNormaliser:
    """Integrate over the box with points x points evaluations; points is odd, 5 or more."""
    if points < 5 or points % 2 == 0:
        raise UsageError(f"log_normaliser: expected an odd number of points from 5, got {points}")
    weighted = _grid_log_prob(log_prob, box, points) + _log_weights(box, points)
    value = float(weighted.flatten().logsumexp(0))
    if value == float("-inf"):
        raise UsageError(f"log_normaliser: the density is zero everywhere in the box {box}; choose another box")
    # On every second point the weights are 4 times as large, inside as well as at edges and corners.
    coarse = float(weighted[::2, ::2].flatten().logsumexp(0)) + float(torch.tensor(4.0).log())
    inside = float((weighted[1:-1, 1:-1].flatten().logsumexp(0) - value).exp())
    edge = max(0.0, 1 - inside)
    return LogNormaliser(value, abs(value - coarse) + edge, edge)


def enclosing_box(log_prob: LogDensity, x: Tensor) -> Box:
    """Return a box around points x (N, 2) and all other mass within 4 times their range, found on a coarse grid."""
    low, high = x.double().amin(0), x.double().amax(0)
    centre, half = (low + high) / 2, ((high - low) / 2).clamp(min=1e-6)
    wide = _box(centre - REACH * half, centre + REACH * half)
    heights = _grid_log_prob(log_prob, wide, PILOT_POINTS)
    found = (heights > heights.max() - NEGLIGIBLE).nonzero()
    if not len(found):
        raise UsageError("heldout_nll: the density is zero in the whole region of the data")
    step = 2 * REACH * half / (PILOT_POINTS - 1)
    start = centre - REACH * half
    reached_low, reached_high = start + (found.amin(0) - 1) * step, start + (found.amax(0) + 1) * step
    return _box(torch.minimum(reached_low, low - step), torch.maximum(reached_high, high + step))


def heldout_nll(
    log_prob: LogDensity,
    x: Tensor,
    *,
    box: Box | None = None,
    points: int = 601,
    same_integral: LogDensity | None = None,
) -> Metric:
    """Return minus the mean normalised log density at x (N, 2), in nats; without a box one is found around x.

    `same_integral` is a cheaper function whose exponential is known to have the same integral; it is integrated instead.
    The spread is the standard error over x and the quadrature's error, added in squares.
    """
    integrated = log_prob if same_integral is None else same_integral
    if x.ndim != 2 or x.shape[1] != 2 or len(x) < 2:
        raise UsageError(f"heldout_nll: expected at least 2 points (N, 2), got {tuple(x.shape)}")
    chosen = enclosing_box(integrated, x) if box is None else box
    if any(bool((x[:, i] < low).any() or (x[:, i] > high).any()) for i, (low, high) in enumerate(chosen)):
        raise UsageError(f"heldout_nll: some points are outside the box {chosen}; enlarge it")
    normaliser = log_normaliser(integrated, chosen, points=points)
    values = normaliser.value - _evaluate(log_prob, x)
    (left, right), (bottom, top) = chosen
    protocol = (
        f"minus the mean log density at {len(x)} points, nats; normalised by the trapezoid rule, {points} x {points} points "
        f"on [{left:.3g}, {right:.3g}] x [{bottom:.3g}, {top:.3g}], error {normaliser.error:.1e}; "
        "spread: standard error over the points, with that error"
    )
    return Metric(float(values.mean()), hypot(float(values.std() / len(x) ** 0.5), normaliser.error), protocol)


def _grid_log_prob(log_prob: LogDensity, box: Box, points: int) -> Tensor:
    axes = [torch.linspace(low, high, points, dtype=torch.float64) for low, high in box]
    return _evaluate(log_prob, torch.cartesian_prod(*axes).float()).view(points, points)


@torch.no_grad()
def _evaluate(log_prob: LogDensity, x: Tensor) -> Tensor:
    """Evaluate log_prob in chunks: (N,), float64, on the CPU."""
    values = torch.cat([log_prob(part).double().cpu() for part in torch.split(x, CHUNK)])
    if bool((values.isnan() | values.isposinf()).any()):
        raise UsageError("The log density is not finite at some points; the energy diverged, or its input is out of range.")
    return values


def _log_weights(box: Box, points: int) -> Tensor:
    """Return logarithms of the trapezoid rule's weights, (points, points)."""
    axes = []
    for low, high in box:
        if not low < high:
            raise UsageError(f"log_normaliser: expected a box of (low, high) with low < high, got {box}")
        weights = torch.full((points,), (high - low) / (points - 1), dtype=torch.float64)
        weights[[0, -1]] /= 2
        axes.append(weights.log())
    return axes[0][:, None] + axes[1][None, :]


def _box(low: Tensor, high: Tensor) -> Box:
    return ((float(low[0]), float(high[0])), (float(low[1]), float(high[1])))
