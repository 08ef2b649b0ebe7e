"""The pool of negatives of a stage: samples of the distribution of the stages before it, drawn once and kept."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from priorkit.core import Latents, StageContext

if TYPE_CHECKING:
    from priorkit_multistage.prior import MultistagePrior

__all__ = ["draw_pool"]

CHUNK = 2_000
"""Chains run at once; part of the definition of the pool, since each chunk has its own random stream."""


def draw_pool(prior: "MultistagePrior", stage: int, size: int, context: StageContext) -> Latents:
    """`size` points of p_{stage-1}, with z where the energies read z."""

    def chunk(index: int) -> Tensor:
        n = min(CHUNK, size - index * CHUNK)
        generator = context.streams.generator("multistage.pool", stage, index, device=context.positives.u.device)
        return prior.draw(n, sampler=context.sampler, generator=generator, stages=stage - 1).u

    def make() -> dict[str, Tensor]:
        count = -(-size // CHUNK)
        u = torch.cat([chunk(i) for i in context.progress(range(count), count, f"negatives of stage {stage}")])
        if prior.reads == "u":
            return {"u": u}
        with torch.no_grad():
            return {"u": u, "z": torch.cat([prior.space.latents(part) for part in torch.split(u, CHUNK)])}

    kept = context.keep(f"multistage-pool-{stage}", make)
    device = context.positives.u.device
    return Latents(**{name: value.to(device) for name, value in kept.items()})
