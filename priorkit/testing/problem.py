"""The small problem for checks of priors: three latents in two layers, and a posterior that is a known mixture.

Layers have the sizes 1 (top) and 2, so that the axis of layers cannot be confused with that of latents. T is affine,
:math:`z_0 = 0.5 + 2 u_0` and :math:`z_1 = (1, -1)\\, z_0 / 2 + (0.5, 1.5)\\, u_1`. A density of three variables can be
integrated on a grid, for comparison with samples.
"""

from functools import cache

import torch
from torch import Tensor

from priorkit.core import Context, Latents, LatentSpace, Layout, Sampler, StageContext, Streams, TopDown
from priorkit.core.likelihood import Likelihood
from priorkit.registry import installed

__all__ = ["CENTRES", "LAYOUT", "distance", "grid", "positives", "sampler", "space", "stage_context", "weighted_moments"]

LAYOUT = Layout(((1,), (2,)))
CENTRES = ((0.8, -0.7, 0.5), (-0.8, 0.7, 0.2))
SHARES = (0.6, 0.4)
WIDTH = 0.6
"""The mixture's means, weights and standard deviation; the component is the label."""

SLOPE, SCALE = (0.5, -0.5), (0.5, 1.5)
REACH, NODES = 5.0, 41


class AffineWalk(TopDown):
    """The walk of the affine T; nothing is decoded."""

    def __init__(self, batch: int) -> None:
        self._z = [torch.empty(batch, 0)]

    def context(self) -> Context:
        """Return mean and scale of z_0, or those of z_1 given z_0 with z_0 as features."""
        last = self._z[-1]
        if len(self._z) == 1:
            return Context(last.new_full((len(last), 1), 0.5), last.new_full((len(last), 1), 2.0), None)
        return Context(last * last.new_tensor(SLOPE), last.new_tensor(SCALE).expand(len(last), 2), last)

    def take(self, z: Tensor) -> None:
        """Fix the next layer."""
        self._z.append(z)

    def decode(self) -> Likelihood:
        """There are no data here."""
        raise NotImplementedError("the kit's latent space has no decoder")


def transform(u: Tensor) -> Tensor:
    """Apply T, (B, 3) -> (B, 3)."""
    top, bottom = LAYOUT.columns(u)
    z = 0.5 + 2 * top
    return torch.cat([z, z * u.new_tensor(SLOPE) + u.new_tensor(SCALE) * bottom], dim=1)


def space() -> LatentSpace:
    """Return the latent space for building priors."""
    return LatentSpace(LAYOUT, transform, AffineWalk)


def positives(count: int, seed: int) -> Latents:
    """Return `count` points of the mixture with their labels and z."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=generator) >= SHARES[0]).long()
    u = torch.tensor(CENTRES)[labels] + WIDTH * torch.randn(count, LAYOUT.dim, generator=generator)
    return Latents(u, transform(u), labels)


def sampler(steps: int = 40) -> Sampler:
    """Return the sampler for priors: priorkit's default, with its step size chosen for each density."""
    kind = installed().load("sampler", "priorkit:mala")
    return kind(kind.Config.model_validate({"steps": steps, "pilot_steps": 30}))


def stage_context(seed: int) -> StageContext:
    """Return the context in which a stage begins and ends."""
    return StageContext(positives(1_000, seed), positives(300, seed + 1), sampler(10), Streams(seed))


@cache
def grid() -> Tensor:
    """Return nodes of a regular grid over the cube of half-width 5, (41^3, 3); N(0, 1) has 6e-7 of its mass beyond."""
    axis = torch.linspace(-REACH, REACH, NODES)
    return torch.cartesian_prod(axis, axis, axis)


def weighted_moments(points: Tensor, log_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and standard deviations, (D,) each, of points (N, D) weighted by exp(log_weight), (N,)."""
    weight = (log_weight.double() - log_weight.double().max()).exp()
    weight = (weight / weight.sum())[:, None]
    mean = (weight * points).sum(0)
    return mean, (weight * (points - mean).square()).sum(0).sqrt()


def distance(x: Tensor, y: Tensor) -> float:
    """Return the energy distance between two sets of points, (N, D) and (M, D); 0 for equal distributions."""
    across, within = torch.cdist(x, y).mean(), _mean_distance(x) + _mean_distance(y)
    return float(2 * across - within)


def _mean_distance(x: Tensor) -> Tensor:
    """Return the mean distance between two different points of x."""
    return torch.pdist(x).mean()
