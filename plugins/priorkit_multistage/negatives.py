"""The negatives of a stage: samples of the previous stages, of all layers or of each layer given those above."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from priorkit.core import Latents, Sampler, Sampling, StageContext, Step
from priorkit_multistage.judgement import Judgement, judge
from priorkit_multistage.pool import draw_chunks, draw_pool, redraw_chunks, redraw_pool, tuned_sampler
from priorkit_multistage.ratios import RatioProduct

__all__ = ["Negatives"]

JUDGED = 2_000
"""Number of held-out points evaluated at once."""


@dataclass(frozen=True)
class Negatives:
    """The negatives of one stage."""

    prior: RatioProduct
    stage: int
    sampler: Sampler | None = None
    """The sampler with step sizes for the distribution after the previous stage."""
    drawn: Latents | None = None
    """Drawn once for the stage; None if they are drawn at every step."""
    above: Latents | None = None
    """With conditional energies: the posterior points, one per row of `drawn`, given whose layers they were drawn."""
    compared: list[Tensor] = field(default_factory=list)
    """Held-out negatives for comparing the stage's weights with each other, once they are drawn."""

    @classmethod
    def of_stage(cls, prior: RatioProduct, stage: int, context: StageContext) -> Self:
        """Return the negatives at the start of a stage: none for the first ratio, whose negatives are exact samples."""
        settings = prior.settings
        if stage <= 1 + prior.first_ratio:
            return cls(prior, stage, context.sampler)
        sampler = tuned_sampler(prior, stage - 1, context)
        if settings.negatives == "chain":
            return cls(prior, stage, sampler)
        if settings.negatives == "posterior":
            return cls(prior, stage, sampler, context.positives)
        if prior.conditional:
            above, drawn = redraw_pool(prior, stage, settings.pool_size, sampler, context)
            return cls(prior, stage, sampler, drawn, above)
        return cls(prior, stage, sampler, draw_pool(prior, stage, settings.pool_size, sampler, context))

    def beside(self, count: int, step: Step) -> Latents | Tensor:
        """Return `count` samples of all layers: of the base, of the pool, or new ones."""
        if self.drawn is not None:
            return self.drawn[_chosen(self.drawn, count, step)]
        if self.stage == 1 + self.prior.first_ratio:
            return self.prior.base_draw(count, self._before(step))
        return self.prior.draw(count, self._before(step)).u

    def under(self, batch: Latents, step: Step) -> tuple[Latents, Tensor]:
        """Return points of the posterior, from the batch or the pool, and each of their layers sampled given those above,
        (B, D)."""
        if self.drawn is not None:
            index = _chosen(self.drawn, len(batch), step)
            return (batch if self.above is None else self.above[index]), self.drawn.u[index]
        # Before the first ratio these are exact samples; later a chain at every step.
        return batch, self.prior.redraw(batch.u, self._before(step), features=batch.features)

    @torch.no_grad()
    def judged(self, context: StageContext, *, comparing: bool = False) -> Judgement:
        """Evaluate the new ratio at held-out points and at as many negatives not used in the stage.

        With `comparing`, for comparisons of the stage's weights with each other, the negatives are the same each time.
        """
        drawn = self._compared(context) if comparing else self._heldout(context, "held-out negatives")
        return judge(*self._logits(context.heldout, drawn), joint=not self.prior.by_layer)

    def _compared(self, context: StageContext) -> Tensor:
        """Return the negatives for comparisons, drawn once: the previous stages are frozen."""
        if not self.compared:
            name = f"multistage-compared-{self.stage}"
            kept = context.cache(name, lambda: {"u": self._heldout(context, "comparing negatives")})
            self.compared.append(kept["u"].to(context.heldout.u.device))
        return self.compared[0]

    def _heldout(self, context: StageContext, name: str) -> Tensor:
        """Return as many negatives as there are held-out points, from the stream of that name, (N, D)."""
        prior, heldout, before = self.prior, context.heldout, self.stage - 1
        sampler = self.sampler or context.sampler
        if not prior.conditional:
            return draw_chunks(prior, before, len(heldout), sampler, context, name)
        return redraw_chunks(prior, heldout, before, sampler, context, name)

    def _logits(self, heldout: Latents, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new ratio's logits at held-out points and at negatives (N, D), (N, 1) or (N, L) each."""
        prior = self.prior
        if not prior.conditional:
            ratio = self.stage - 1 - prior.first_ratio
            positive, negative = (prior.logits(prior.inputs(x), [ratio])[0] for x in (heldout, drawn))
            return positive, negative
        rows = [slice(start, start + JUDGED) for start in range(0, len(heldout), JUDGED)]
        logits = torch.cat(
            [prior.conditional_pair(self.stage, heldout[part], heldout.u[part], drawn[part]) for part in rows]
        )
        return logits[:, 0], logits[:, 1]

    def _before(self, step: Step) -> Sampling:
        """Return the sampling request for the previous stages."""
        return Sampling(self._sampler(), step.generator, stages=self.stage - 1)

    def _sampler(self) -> Sampler:
        if self.sampler is None:
            raise RuntimeError("MultistagePrior: begin_stage was not called before its loss")
        return self.sampler


def _chosen(latents: Latents, count: int, step: Step) -> Tensor:
    return torch.randint(len(latents), (count,), generator=step.generator, device=latents.u.device)
