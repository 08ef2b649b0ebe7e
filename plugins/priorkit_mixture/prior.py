r"""A Gaussian mixture fitted to the aggregated posterior, or an independent one per layer.

In u-space the backbone's prior is N(0, I); one component with mean 0 and covariance I is exactly that prior.
"""

from functools import partial

import torch
from torch import Generator, Tensor, nn

from priorkit.core import Draw, LatentSpace, Prior, Sampling, StageContext
from priorkit_mixture.fit import fitted
from priorkit_mixture.mixture import Mixture
from priorkit_mixture.settings import MixtureSettings

__all__ = ["MixturePrior"]


class MixturePrior(Prior):
    """Mixtures with exact densities and exact samples. They are fitted at once, without training steps."""

    Config = MixtureSettings
    settings: MixtureSettings
    normalised = True

    def __init__(self, settings: MixtureSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        sizes = self.layout.sizes
        self.blocks = [list(sizes)] if settings.joint(self.layout) else [[size] for size in sizes]
        """Layers of each part."""
        self.mixtures = nn.ModuleList(Mixture(sum(block)) for block in self.blocks)

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return log p(u_i | u_<i) - log N(u_i; 0, I), exact, (B, D) -> (B, L)."""
        if stages == 0:
            return u.new_zeros(len(u), len(self.layout))
        parts = zip(self._mixtures(), self.blocks, self._columns(u), strict=True)
        return torch.cat([mixture.log_ratios(own, block) for mixture, block, own in parts], dim=1)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return log p(u) - log N(u; 0, I), exact and normalised, (B, D) -> (B,)."""
        return self.layer_log_ratio(u, stages=stages).sum(1)

    @torch.no_grad()
    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n exact samples, of the lower layers given those that are fixed; the sampler is not used."""
        noise = self.standard_normal(n, sampling.generator)
        if sampling.labels:
            self.label_log_prob(noise, sampling.labels)  # rejects them
        if sampling.stages == 0:
            return Draw(sampling.fix(noise))
        fixed = 0 if sampling.condition is None else sampling.condition.fixed
        given, drawn = self._columns(sampling.fix(noise)), []
        for mixture, own in zip(self._mixtures(), given, strict=True):
            # If the fixed columns end inside a part, some of its columns are given.
            columns = max(0, min(fixed, own.shape[1]))
            fixed -= columns
            drawn.append(mixture.draw(own, own[:, :columns] if columns else None, generator=sampling.generator))
        return Draw(sampling.fix(torch.cat(drawn, dim=1)))

    def takes_steps(self, stage: int) -> bool:
        """Return False: the fit takes none."""
        return False

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Fit the mixtures, in one of several processes."""
        points, heldout = context.positives[: self.settings.points].u, context.heldout.u
        parts = list(zip(self._mixtures(), self._columns(points), self._columns(heldout), strict=True))
        for i in context.progress(range(len(parts)), len(parts), "Gaussian mixtures"):
            mixture, own, unseen = parts[i]
            make = partial(self._fitted, own, unseen, context.streams.generator("mixture.fit", i))
            mixture.set(context.cache(f"mixture-{i}", make))

    def _fitted(self, points: Tensor, heldout: Tensor, generator: Generator) -> dict[str, Tensor]:
        own = self.settings
        return fitted(
            points,
            heldout,
            components=own.components,
            kind=own.covariance_of(points.shape[1]),
            iterations=own.iterations,
            floor=own.floor,
            seed=generator.initial_seed() % 2**32,
        )

    @torch.no_grad()
    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return the gain over N(0, I) on held-out points, in nats, and the number of components of each part."""
        counts = {f"components_{i}": float(len(mixture.means)) for i, mixture in enumerate(self._mixtures())}
        if not len(context.heldout):
            return counts
        return {"heldout_gain": float(self.log_ratio(context.heldout.u).mean()), **counts}

    def _mixtures(self) -> list[Mixture]:
        return [mixture for mixture in self.mixtures if isinstance(mixture, Mixture)]

    def _columns(self, u: Tensor) -> list[Tensor]:
        """Return the columns of each part."""
        return list(torch.split(u, [sum(block) for block in self.blocks], dim=1))
