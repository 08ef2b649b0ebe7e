r"""A prior on the top layers of a hierarchy, with N(0, I) below: :math:`p(u) \propto r(u_{<k})\, N(u; 0, I)`.

On images most of the hole is in the upper layers (the metric `hole` measures it), which are small, while the lower ones have
most of the latents. A prior of all of them spends its steps and its chains on latents that change little.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from priorkit.core.backbone import LatentSpace
from priorkit.core.latents import Latents
from priorkit.core.layout import Layout
from priorkit.core.objective import Loss, Objective, Step
from priorkit.core.prior import Draw, Prior, StageContext
from priorkit.core.sampler import Sampler
from priorkit.core.sampling import Sampling
from priorkit.core.settings import Settings
from priorkit.errors import UsageError
from priorkit.mcmc.chain import Chain
from priorkit.mcmc.tilted_normal import BaseDensity

__all__ = ["TopLayersPrior", "TopLayersSettings", "on_its_layers"]

BatchLoss = Callable[[Latents, Step], Loss]

LARGE = 512
"""Number of latents from which `layers: auto` leaves out a layer and those below it."""


class TopLayersSettings(Settings):
    """Base of the options of priors that can be limited to the top layers."""

    earlier: ClassVar[Mapping[str, Any]] = {"layers": "all"}

    layers: str = "auto"
    """Layers that the prior models: all or top:k; the layers below keep N(0, I). auto: the top layers down to the first one
    with 512 latents or more, or all if that is the top one. On images of 28 and 32 pixels, most of the hole is there."""

    def layer_count(self, layout: Layout) -> int:
        """Return the number of top layers that the prior models. Raises UsageError for another selection."""
        if self.layers == "auto":
            small = [size < LARGE for size in layout.sizes]
            return small.index(False) or len(layout) if False in small else len(layout)
        if self.layers != "all" and not self.layers.startswith("top:"):
            raise UsageError(f"prior.layers: expected auto, all or top:k, got {self.layers!r}")
        return len(layout.select(self.layers))


def on_its_layers(prior: type[Prior], settings: Settings, space: LatentSpace) -> Prior:
    """Return `prior(settings, space)`, on the layers that its settings select if they are `TopLayersSettings`."""
    if not isinstance(settings, TopLayersSettings):
        return prior(settings, space)
    count = settings.layer_count(space.layout)
    if count == len(space.layout):
        return prior(settings, space)
    return TopLayersPrior(prior(settings, space.top(count)), space)


class TopLayersPrior(Prior):
    """Another prior on the top layers; the layers below are N(0, I) and independent of it."""

    def __init__(self, inner: Prior, space: LatentSpace) -> None:
        """`inner` is a prior on `space.top(k)`."""
        super().__init__(inner.settings, space)
        self.inner = inner
        self.dim = inner.layout.dim
        self.stages, self.energy_input, self.beside = inner.stages, inner.energy_input, inner.beside
        self.draws_follow_log_ratio, self.normalised = inner.draws_follow_log_ratio, inner.normalised
        self.first_signal = inner.first_signal
        self._feature_columns: int | None = None

    @property
    def implementation(self) -> type[Prior]:
        """The inner prior's."""
        return self.inner.implementation

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return the inner prior's log ratio at the top layers, (B, D) -> (B,)."""
        return self.inner.log_ratio(u[:, : self.dim], stages=stages)

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """Return the inner prior's terms, and 0 for the layers below, (B, D) -> (B, L)."""
        terms = self.inner.layer_log_ratio(u[:, : self.dim], stages=stages)
        if terms is None:
            return None
        return torch.cat([terms, terms.new_zeros(len(u), len(self.layout) - terms.shape[1])], dim=1)

    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n points: the inner prior's, with N(0, I) below; its chains have whole states."""
        u, condition = sampling.fix(self.standard_normal(n, sampling.generator)), sampling.condition
        if condition is not None and condition.fixed >= self.dim:
            if sampling.labels:
                self.inner.label_log_prob(u[:, : self.dim], sampling.labels)  # unknown ones are rejected
            return Draw(u)
        drawn = self.inner.draw(n, self._own(sampling))
        below = u[:, self.dim :]
        return Draw(torch.cat([drawn.u, below], dim=1), [_whole(chain, below) for chain in drawn.chains])

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """Return the sampler with its step size chosen for the inner prior."""
        return self.inner.tuned(sampler, stages=stages, generator=generator)

    @property
    def base_stages(self) -> int:
        """The inner prior's."""
        return self.inner.base_stages

    def base_density(self, sampling: Sampling) -> BaseDensity | None:
        """Return the inner prior's base, with N(0, I) below."""
        own = self.inner.base_density(self._own(sampling))
        if own is None:
            return None

        def log_ratio(u: Tensor) -> Tensor:
            return own.log_ratio(u[:, : self.dim])

        def draw(n: int, generator: Generator | None) -> Tensor:
            return sampling.fix(self._above_noise(own.draw(n, generator), generator))

        return BaseDensity(log_ratio, draw)

    def base_draw(self, n: int, sampling: Sampling) -> Tensor:
        """Return n draws of the inner prior's base, with N(0, I) below, (n, D)."""
        return sampling.fix(self._above_noise(self.inner.base_draw(n, self._own(sampling)), sampling.generator))

    def is_normalised(self, stages: int | None = None) -> bool:
        """The inner prior's."""
        return self.inner.is_normalised(stages)

    def takes_steps(self, stage: int) -> bool:
        """The inner prior's."""
        return self.inner.takes_steps(stage)

    @property
    def attributes(self) -> Mapping[str, int]:
        """The inner prior's."""
        return self.inner.attributes

    def label_log_prob(self, u: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Return the inner prior's, (B, D) -> (B,)."""
        return self.inner.label_log_prob(u[:, : self.dim], labels)

    @property
    def trained_stages(self) -> int:
        """The inner prior's."""
        return self.inner.trained_stages

    def objectives(self) -> list[Objective]:
        """Return the inner prior's, on the top layers of a batch."""
        return [replace(one, loss=self._on_top(one.loss)) for one in self.inner.objectives()]

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Set up the inner prior's stage."""
        self.inner.begin_stage(stage, self._context(context))

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Close the inner prior's stage."""
        return self.inner.end_stage(stage, self._context(context))

    def heldout_loss(self, context: StageContext) -> float | None:
        """Return the inner prior's."""
        return self.inner.heldout_loss(self._context(context))

    def should_train(self, stage: int) -> bool:
        """Return the inner prior's."""
        return self.inner.should_train(stage)

    def _own(self, sampling: Sampling) -> Sampling:
        """Return the request for the top layers."""
        condition = sampling.condition
        if condition is None or condition.top is None:
            return sampling
        return replace(sampling, condition=replace(condition, top=condition.top[:, : self.dim]))

    def _above_noise(self, top: Tensor, generator: Generator | None) -> Tensor:
        """Return points of the top layers with N(0, I) below, (n, D)."""
        return torch.cat([top, self.standard_normal(len(top), generator)[:, self.dim :]], dim=1)

    def _on_top(self, loss: BatchLoss) -> BatchLoss:
        def own(batch: Latents, step: Step) -> Loss:
            return loss(self._top(batch), step)

        return own

    def _context(self, context: StageContext) -> StageContext:
        return replace(context, positives=self._top(context.positives), heldout=self._top(context.heldout))

    def _top(self, latents: Latents) -> Latents:
        """Return the columns of the top layers, and the features before them."""

        def columns(rows: Tensor | None) -> Tensor | None:
            return None if rows is None else rows[:, : self.dim]

        features = latents.features
        if features is not None:
            features = features[:, : self._features()]
        u, moments = latents.u[:, : self.dim], {"mean": columns(latents.mean), "scale": columns(latents.scale)}
        return Latents(u, columns(latents.z), latents.labels, **moments, features=features)

    def _features(self) -> int:
        """Return the number of columns of the features before the top layers."""
        if self._feature_columns is None:
            found = self.inner.space.features(self.inner.standard_normal(2, None))
            self._feature_columns = 0 if found is None else found.shape[1]
        return self._feature_columns


def _whole(chain: Chain, below: Tensor) -> Chain:
    """Return a chain on the top layers with the layers below beside its states."""
    kept = chain.trajectory
    states = None if kept is None else torch.stack([torch.cat([state, below], dim=1) for state in kept])
    return replace(chain, u=torch.cat([chain.u, below], dim=1), trajectory=states)
