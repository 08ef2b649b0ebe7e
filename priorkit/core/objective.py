"""The losses that a training step minimises.

A learner (a backbone, a prior) lists its objectives; the engine does the backward pass, precision, clipping, averaging
over processes, the update and the checkpoint. One step of the engine processes the objectives in their order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, pi
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Generator, Tensor, nn

from priorkit.core.settings import Settings

__all__ = ["Loss", "Objective", "OptimiserSettings", "Step"]


Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimiserSettings(Settings):
    """An optimiser of torch and a learning-rate schedule in closed form (it needs no state to resume)."""

    name: Literal["adam", "adamw", "adamax"] = "adam"
    """Optimiser: torch.optim's Adam, AdamW or Adamax."""
    lr: float = Field(default=1e-3, ge=0)
    """Peak learning rate."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of the first and second moments."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator (Adamax: to |g| inside the infinity norm)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 (adam, adamax) or decoupled (adamw) weight decay."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the phase in which the learning rate rises linearly from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning-rate schedule after the warm-up."""
    lr_min: float = Field(default=0.0, ge=0)
    """Final learning rate of the cosine schedule."""
    clip: float | None = Field(default=None, gt=0)
    """Largest 2-norm of the gradient; none: no clipping."""

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of step `step` (from 0) of a phase of `total` steps."""
        warm = self.warmup * total
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        if self.schedule == "constant":
            return self.lr
        share = (step - warm) / max(1.0, total - warm)
        return self.lr_min + (self.lr - self.lr_min) * 0.5 * (1 + cos(pi * min(1.0, share)))


@dataclass(frozen=True)
class Step:
    """The position of a step in its phase, and its random generator."""

    index: int
    """Number of steps of the phase before this one."""
    total: int
    """Number of steps of the phase."""
    generator: Generator
    """Seeded by (seed, phase, step, shard): the same step always gets the same random numbers."""
    shard: int = 0
    """Index of the shard of the batch."""
    shards: int = 1
    """Number of shards of every batch, whatever the number of processes."""

    @property
    def rows(self) -> slice:
        """The rows of a tensor of `Objective.rows` that only this shard reads and updates."""
        return slice(self.shard, None, self.shards)


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise and detached metrics to log (scalars, or vectors with one entry per layer)."""

    value: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """A loss and the parameters that its gradient updates."""

    name: str
    parameters: Sequence[nn.Parameter]
    optimiser: OptimiserSettings
    loss: Callable[[Any, Step], Loss]
    buffers: Sequence[Tensor] = ()
    """Floating-point tensors, in addition to the learner's registered buffers, that the loss updates in place. They are
    saved in every checkpoint and restored when a step is rejected. Each shard of a batch updates the values from before
    the step; the step ends with the mean of the updates, as for registered buffers."""
    rows: Sequence[Tensor] = ()
    """Like `buffers`, for tensors whose rows are divided among the shards: a shard reads and updates only its
    `Step.rows`."""
