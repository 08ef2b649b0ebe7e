r"""A distribution over u-space, :math:`p(u) \propto r(u)\, N(u; 0, I)`.

r is the density ratio that the prior learns; the Gaussian prior has r = 1.  A prior may learn its ratio to another prior,
its base b, so that r is b / N(0, I) times that ratio.  Positive sign throughout: a large
`log_ratio` means more likely.  A prior sees a `LatentSpace` and no backbone, so any prior runs on any backbone.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, final

import torch
from torch import Generator, Tensor, nn

from priorkit.core.backbone import LatentSpace
from priorkit.core.base_density import base_density, base_draw, without_chains
from priorkit.core.condition import for_rows, resampled_start
from priorkit.core.latents import Latents
from priorkit.core.layout import Layout
from priorkit.core.objective import Objective
from priorkit.core.sampler import Sampler
from priorkit.core.sampling import Sampling
from priorkit.core.settings import Settings
from priorkit.errors import UsageError
from priorkit.mcmc.chain import Chain
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.tilted_normal import BaseDensity, TiltedNormal
from priorkit.runtime.cache import Cache, ParallelMap, Progress, no_cache, no_progress, serial_map
from priorkit.runtime.streams import Streams

__all__ = ["Draw", "Prior", "StageContext", "unlabelled"]

FEW = 16
"""Free latents up to which every chain's start is chosen among points of N(0, I)."""
PILOTS = 200
"""Chains of a pilot run that chooses a step size."""


@dataclass(frozen=True)
class Draw:
    """n points from the prior."""

    u: Tensor
    """(n, D)."""
    chains: list[Chain] = field(default_factory=list)
    """The chains that led there, in order; empty for exact draws."""


@dataclass(frozen=True)
class StageContext:
    """What a prior may use while a stage is set up and closed."""

    positives: Latents
    """Samples of the aggregated posterior of the training data; some of them where a trainer keeps more than fits."""
    heldout: Latents
    """The same of held-out data; never trained on."""
    sampler: Sampler
    streams: Streams
    cache: Cache = no_cache
    progress: Progress = no_progress
    parallel_map: ParallelMap = serial_map


class Prior(nn.Module, ABC):
    """A prior over u.  Built as `cls(settings, space)`."""

    Config: ClassVar[type[Settings]] = Settings
    settings: Settings
    space: LatentSpace
    energy_input: Literal["u", "z"] = "u"
    """What the energies read; 'z' has the trainer put T(u) beside u in every batch."""
    beside: frozenset[Literal["moments", "features"]] = frozenset()
    """What the trainer puts beside u in every batch, as far as the backbone has it: `mean` and `scale` of the posterior; the
    generator's `features`.  A prior must do without where they are None."""
    stages: int = 1
    """Stages of training, one after the other; 0 where nothing is learnt."""
    takes_negatives: bool = False
    """Whether the prior's objective uses `Latents.negatives`, where they are given, in place of chains of its own."""
    draws_follow_log_ratio: bool = True
    """Whether a long enough chain makes `draw` a draw of the density that `log_ratio` states; False where the two are
    learnt apart, or draws leave out what `log_ratio` cannot know, so that they agree only as far as training has come."""
    normalised: bool = False
    """Whether r(u) N(u; 0, I) integrates to 1 exactly, after any stage; then log Z is 0 and is not estimated."""

    first_signal: float | None = None
    """A_1, the share of u that is left at the first noise level of a prior that has noise levels, A_1 u + S_1 e with
    A_1^2 + S_1^2 = 1; the score `denoised` noises to it.  None where there are none."""

    base_prior: "Prior | None"
    """The normalised prior that the ratio is learnt against, trained in the first stages; None for N(0, I)."""

    def __init__(self, settings: Settings, space: LatentSpace) -> None:
        super().__init__()
        self.base_prior = None
        self.settings = settings
        self.space = space

    @property
    def layout(self) -> Layout:
        """The shapes of the layers."""
        return self.space.layout

    @property
    def implementation(self) -> "type[Prior]":
        """The class that errors name: that of the plugin."""
        return type(self)

    @abstractmethod
    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """log r(u) up to a constant, (B, D) -> (B,); `stages` as in `draw`."""

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """The terms of `log_ratio` after `stages`, one per layer, (B, D) -> (B, L), each a function of its layer and those
        above; None where log r is no such sum."""
        return None

    @final
    def log_prob(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """log p(u) up to a constant, (B, D) -> (B,): log r(u) - |u|^2 / 2.  Override `log_ratio`; chains read that."""
        return self.density(stages=stages)(u)

    def density(self, *, stages: int | None = None) -> TiltedNormal:
        """`log_prob` as a function that tells its ratio, with which chains are quicker, and its base."""
        return TiltedNormal(partial(self.log_ratio, stages=stages), self.base_density(without_chains(stages)))

    @property
    def base_stages(self) -> int:
        """Stages that train `base_prior`, before those of the ratio."""
        return 0 if self.base_prior is None else self.base_prior.stages

    def base_density(self, sampling: Sampling) -> BaseDensity | None:
        """Returns the base given the fixed columns; None where it is N(0, I), as it is after no stage."""
        return None if self.base_prior is None or sampling.stages == 0 else base_density(self.base_prior, sampling)

    def base_draw(self, n: int, sampling: Sampling) -> Tensor:
        """Returns n exact draws of the base with the fixed columns in place, (n, D): where chains start."""
        if self.base_prior is None or sampling.stages == 0:
            return sampling.fix(self.standard_normal(n, sampling.generator))
        return base_draw(self.base_prior, n, sampling)

    def is_normalised(self, stages: int | None = None) -> bool:
        """Whether r(u) N(u; 0, I) integrates to 1 after `stages` stages: always, or as long as it is the base."""
        count = self.trained_stages if stages is None else min(stages, self.trained_stages)
        return self.normalised or (self.base_prior is not None and count <= self.base_stages)

    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Returns n points; unless a prior knows better, by one chain of the sampler from the base on `log_prob`.

        Raises UsageError for labels that the prior has not learnt.
        """
        u = self.base_draw(n, sampling)
        if sampling.stages is not None and sampling.stages <= self.base_stages and not sampling.labels:
            return Draw(u)
        chain = self.chain(u, sampling)
        return Draw(chain.u, [chain])

    def chain(self, start: Tensor, sampling: Sampling, *, choose_start: bool = True, ratio: LogProb | None = None) -> Chain:
        """Returns one chain of the sampler on `log_prob`, and on the labels that are asked for, from start (n, D).

        Args:
            start: (n, D).  Where labels are asked for, or no more than `FEW` latents are free, points of the base compete
                with it, if `choose_start`.
            sampling: The request.
            choose_start: False keeps the start.
            ratio: (B, D) -> (B,), in place of `log_ratio` after `sampling.stages` stages.
        """
        labels, condition = sampling.labels, sampling.condition

        def log_ratio(u: Tensor) -> Tensor:
            value = self.log_ratio(u, stages=sampling.stages) if ratio is None else ratio(u)
            asked = {name: for_rows(values, len(u)) for name, values in labels.items()}
            return value + self.label_log_prob(u, asked) if asked else value

        log_prob = TiltedNormal(log_ratio, self.base_density(sampling))
        with torch.autocast(start.device.type, enabled=False):
            free = start.shape[1] - (0 if condition is None else condition.fixed)
            if choose_start and (labels or free <= FEW):
                start = resampled_start(log_prob, start, condition, generator=sampling.generator)
            return sampling.run(log_prob, start)

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """The sampler with its step size chosen for `draw` after `stages` stages, on a pilot run of `PILOTS` chains."""
        start = self.base_draw(PILOTS, Sampling(sampler, generator, stages=stages))
        return sampler.tuned(self.density(stages=stages), start, generator=generator)

    @property
    def attributes(self) -> Mapping[str, int]:
        """The labels that can be asked for: the number of values of each attribute, by its name."""
        return {}

    def label_log_prob(self, u: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Sum over the asked attributes of log p(y | u), (B, D) -> (B,), for labels of shape (B,) each.

        Where p(u | y) is known only as p(u) p(y | u), `log_prob` plus this is its log density up to a constant.
        """
        raise UsageError(unlabelled(self, "train it with prior.labels, or leave the label out."))

    @property
    def trained_stages(self) -> int:
        """Stages that count in `log_ratio` and `draw`."""
        return self.stages

    def objectives(self) -> list[Objective]:
        """What a training step on a batch of `Latents` minimises in the current stage; asked for once `begin_stage` has run.

        Empty where `begin_stage` or `end_stage` fits everything at once.
        """
        return []

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Set up stage `stage` (from 1).

        Called again, with the same numbers, when a killed run resumes in it.  Parameters and buffers are those of the
        checkpoint by then, so that what steps have moved must not be set anew.
        """

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Close a stage; gives figures on held-out points."""
        return {}

    def heldout_loss(self, context: StageContext) -> float | None:
        """How far the present weights of the stage in training are from `context.heldout`, of at most some thousand points:
        lower is better; None where the prior cannot tell.

        Asked now and then between steps, in evaluation mode and without gradients, to compare a stage's weights with each
        other: every question must use the same random numbers, from a stream of `context.streams` with a name of its own.
        Nothing that is trained or saved may change.  Of several processes all ask at the same time.
        """
        return None

    def should_train(self, stage: int) -> bool:
        """False if training stage `stage` would add nothing, as an earlier one found; a function of the saved state."""
        return True

    def takes_steps(self, stage: int) -> bool:
        """Whether steps train stage `stage`, so that it has a share of them; False where `begin_stage` or `end_stage` fits
        everything at once."""
        return True

    def inputs(self, latents: Latents | Tensor) -> Tensor:
        """What the energies read, u or z as `energy_input` says, of latents or of u (B, D) alone: (B, D)."""
        u, z = (latents, None) if isinstance(latents, Tensor) else (latents.u, latents.z)
        if self.energy_input == "u":
            return u
        return self.space.latents(u) if z is None else z

    def standard_normal(self, n: int, generator: Generator | None) -> Tensor:
        """n draws of N(0, I), (n, D), of the prior's type, on the generator's device (without one: the prior's)."""
        state = itertools.chain(self.parameters(), self.buffers())
        like = next((tensor for tensor in state if tensor.is_floating_point()), torch.empty(0))
        device = like.device if generator is None else generator.device
        return torch.randn(n, self.layout.dim, generator=generator, dtype=like.dtype, device=device)


def unlabelled(prior: Prior, advice: str) -> str:
    """What to say of labels that a prior has not learnt; `advice` is for priors that have the option `labels`."""
    if "labels" in type(prior.settings).model_fields:
        return f"this prior has learnt no labels; {advice}"
    return "this prior has learnt no labels, and has no option `labels`; leave the label out."
