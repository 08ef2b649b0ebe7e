"""The group `hole_nats`: bounds on the nats that a prior can gain over N(0, I), and what each prior gains."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from priorkit.core import Examples, Streams
from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.metrics.hole_nats import Hole, gain, log_sums, mixture
from priorkit.runtime.memory import in_parts
from priorkit.workflows.measuring.density import tilts_of
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.measuring.variants import defined

__all__ = ["figures_of_hole_nats"]

POINTS = 500
"""Largest number of held-out images, and of training images, whose posterior samples are points."""
IMAGES, FEWEST = 2_000, 100
"""Largest and smallest number of training images in the mixture, if there are as many."""
NUMBERS = 4e9
"""POINTS x training images x latents, to which the number of training images is reduced."""
BLOCK = 100
"""Images encoded at once; part of the meaning of a seed, since each block has its own random stream."""


@dataclass(frozen=True)
class Sampled:
    """Observed images with one posterior sample of each."""

    x: Tensor
    """(M, *data shape)."""
    u: Tensor
    """(M, D)."""
    own: Tensor
    """log q(u | x) - log N(u; 0, I), (M,), float64."""


def figures_of_hole_nats(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield 'hole_nats_...' and 'information_nats_...' if the backbone has `posterior_density`, and 'gain_nats' of each
    prior whose log Z is known, at the same points. Raises UsageError without held-out data."""
    heldout = work.heldout()
    bounds = defined("hole_nats", partial(_bounds, work))
    yield from bounds.items()
    known = work.model.chain is None and bool(bounds)
    u = (_sampled(work, heldout, "heldout").u if known else work.heldout_u(1)[:POINTS]).to(work.model.backbone.device)
    for ending, tilt in tilts_of(work).items():
        if tilt.kind != "Gaussian":
            with torch.no_grad():
                ratios = torch.cat([tilt.log_ratio(part).double() for part in torch.split(u, POINTS)])
            yield f"gain_nats{ending}", gain(ratios, tilt.log_z, tilt.error)


def _bounds(work: SharedWork) -> dict[str, Metric]:
    """Return the bounds. Raises UsageError if log q(u | x) is not known at points of other images."""
    data = work.data
    if work.model.chain is not None or not _is_known(work):
        raise UsageError("the backbone has no log q(u | x) at points of other images (posterior_density)")
    if len(data.train) < 2:
        raise UsageError("it needs two training images, one for the mixture without the other's own posterior")
    held = _sampled(work, data.heldout, "heldout")
    train = _sampled(work, data.train, "train")
    seen = torch.arange(min(POINTS, len(train.x)))
    points = torch.cat([held.u, train.u[seen]])
    # Held-out points have no posterior of their own among the training images.
    numbers = torch.cat([torch.full((len(held.u),), -1), seen])
    sums = _sums(work, train.x, points, numbers, "posteriors of training images")
    split = len(held.u)
    return Hole(
        held.own,
        mixture(sums[:, :split], len(train.x)),
        mixture(_sums(work, held.x, held.u, None, "posteriors of held-out images"), len(held.x)),
        mixture(sums[:, split:], len(train.x) - 1),
        len(train.x),
    ).figures()


@torch.no_grad()
def _is_known(work: SharedWork) -> bool:
    """Return whether the backbone has the density of q(u | x)."""
    backbone = work.model.backbone
    return backbone.posterior_density(work.data.heldout.batch(torch.tensor([0])).to(backbone.device)) is not None


def _sampled(work: SharedWork, examples: Examples, split: str) -> Sampled:
    """Return the first held-out images, or as many training images at random, observed, with a posterior sample of each."""
    backbone, streams = work.model.backbone, Streams(work.seed)
    indices = torch.arange(min(len(examples), POINTS))
    if split == "train":
        affordable = int(NUMBERS / (POINTS * backbone.layout.dim))
        order = torch.randperm(len(examples), generator=streams.generator("hole_nats.images"))
        indices = order[: min(IMAGES, max(FEWEST, affordable))]
    parts = torch.split(indices, BLOCK)

    @torch.no_grad()
    def sampled(number: int) -> dict[str, Tensor]:
        generator = streams.generator(f"hole_nats.{split}", number, device=backbone.device)
        x = backbone.observe(examples.batch(parts[number]).to(backbone.device), generator=generator)

        def both(part: Tensor) -> Tensor:
            posterior = backbone.infer(part, generator=generator)
            assert posterior.log_ratio is not None  # it has a posterior_density
            return torch.cat([posterior.u, posterior.log_ratio[:, None]], dim=1)

        rows = in_parts(both, x, "examples to encode")
        return {"x": x, "u": rows[:, :-1], "own": rows[:, -1].double()}

    found = work.model.parallel_map(sampled, len(parts), progress=work.progress, title=f"posterior of {split} images")
    return Sampled(found["x"], found["u"], found["own"])


def _sums(work: SharedWork, x: Tensor, points: Tensor, own: Tensor | None, title: str) -> Tensor:
    """Return `log_sums` at the points (M, D) for each block of images x (N, *data shape), (blocks, M); `own` (M,) has the
    number of the image that is left out for each point."""
    backbone = work.model.backbone
    blocks = torch.split(x, BLOCK)

    @torch.no_grad()
    def block(number: int) -> dict[str, Tensor]:
        density = backbone.posterior_density(blocks[number].to(backbone.device))
        assert density is not None
        left_out = None if own is None else own - number * BLOCK
        return {"sums": log_sums(density, points.to(backbone.device), left_out)[None]}

    return work.model.parallel_map(block, len(blocks), progress=work.progress, title=title)["sums"]
