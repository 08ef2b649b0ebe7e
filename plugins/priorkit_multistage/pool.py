"""Negatives of a stage: samples of the distribution of the previous stages, drawn in chunks and stored for the stage."""

import torch
from torch import Tensor

from priorkit.core import Latents, Sampler, Sampling, StageContext
from priorkit.energies import ConditionalPrior
from priorkit.errors import DivergedError, UsageError

__all__ = ["check_pool", "draw_chunks", "draw_pool", "redraw_chunks", "redraw_pool", "tuned_sampler"]

CHUNK = 2_000
"""Number of chains run at once; part of the definition of the pool, since each chunk has a separate random stream."""
LARGEST_POOL = 4 * 2**30
"""Largest size in bytes."""


def check_pool(size: int, dim: int) -> None:
    """Raise UsageError if a pool of `size` points of `dim` latents is too large."""
    if size * dim * 4 > LARGEST_POOL:
        raise UsageError(
            f"prior.pool_size: {size} points of {dim} latents would take {size * dim * 4 / 2**30:.0f} GiB. Use "
            f"--set prior.pool_size={LARGEST_POOL // (4 * dim)} or less, or --set prior.negatives=chain, which draws them "
            "at every step."
        )


def tuned_sampler(prior: ConditionalPrior, stages: int, context: StageContext) -> Sampler:
    """Return the context's sampler with its step size chosen for the distribution after `stages` stages."""
    generator = context.streams.generator("multistage.pilot", stages, device=context.positives.u.device)
    return prior.tuned(context.sampler, stages=stages, generator=generator)


def draw_chunks(
    prior: ConditionalPrior, stages: int, size: int, sampler: Sampler, context: StageContext, name: str
) -> Tensor:
    """Return `size` points of the distribution after `stages` stages, (size, D).

    Raises DivergedError if a chain is no longer finite.
    """

    def chunk(index: int) -> dict[str, Tensor]:
        generator = context.streams.generator(f"multistage.{name}", stages, index, device=context.positives.u.device)
        n = min(CHUNK, size - index * CHUNK)
        return {"u": prior.draw(n, Sampling(sampler, generator, stages=stages)).u}

    title = f"{name} after {stages} stages"
    return _finite(context.parallel_map(chunk, -(-size // CHUNK), progress=context.progress, title=title)["u"], stages)


def redraw_chunks(
    prior: ConditionalPrior, above: Latents, stages: int, sampler: Sampler, context: StageContext, name: str
) -> Tensor:
    """Return each layer of N posterior points sampled again given the layers above it after `stages` stages, (N, D).

    Raises DivergedError if a chain is no longer finite.
    """

    def chunk(index: int) -> dict[str, Tensor]:
        generator = context.streams.generator(f"multistage.{name}", stages, index, device=above.u.device)
        part = above[index * CHUNK : (index + 1) * CHUNK]
        drawn = prior.redraw(part.u, Sampling(sampler, generator, stages=stages), features=part.features)
        return {"u": drawn}

    title = f"{name} after {stages} stages"
    return _finite(context.parallel_map(chunk, -(-len(above) // CHUNK), progress=context.progress, title=title)["u"], stages)


def _finite(u: Tensor, stages: int) -> Tensor:
    lost = int((~torch.isfinite(u)).any(1).sum())
    if lost:
        raise DivergedError(
            f"{lost} of {len(u)} chains on the density after stage {stages} have non-finite states. "
            "Decrease the sampler's step size (sampler.step_size), use --sampler mala, or regularise the "
            "energies (prior.optimiser.weight_decay)."
        )
    return u


def redraw_pool(
    prior: ConditionalPrior, stage: int, size: int, sampler: Sampler, context: StageContext
) -> tuple[Latents, Latents]:
    """Return `size` of the positives (at most all), and each of their layers drawn from p_{stage-1} given those above."""
    order = torch.randperm(len(context.positives), generator=context.streams.generator("multistage.pool", stage))
    above = context.positives[order[:size].to(context.positives.u.device)]

    def make() -> dict[str, Tensor]:
        return {"u": redraw_chunks(prior, above, stage - 1, sampler, context, "negatives")}

    kept = context.cache(f"multistage-pool-{stage}", make)
    return above, Latents(kept["u"].to(above.u.device))


def draw_pool(prior: ConditionalPrior, stage: int, size: int, sampler: Sampler, context: StageContext) -> Latents:
    """Return `size` points of p_{stage-1}, with z if the energies read z."""

    def make() -> dict[str, Tensor]:
        u = draw_chunks(prior, stage - 1, size, sampler, context, "negatives")
        if prior.energy_input == "u":
            return {"u": u}
        parts = torch.split(u, CHUNK)
        with torch.no_grad():
            return {"u": u} | context.parallel_map(lambda index: {"z": prior.space.latents(parts[index])}, len(parts))

    kept = context.cache(f"multistage-pool-{stage}", make)
    device = context.positives.u.device
    return Latents(**{name: value.to(device) for name, value in kept.items()})
