"""What one training step minimises.

A learner (a backbone, a prior) lists its objectives; the engine alone owns backward, precision, clipping, averaging
over processes, the update and the checkpoint.  One step of the engine goes through the objectives in their order.
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
    """One of torch's optimisers and a learning-rate schedule in closed form (it needs no state to resume)."""

    name: Literal["adam", "adamw", "adamax"] = "adam"
    """torch.optim's Adam, AdamW or Adamax."""
    lr: float = Field(default=1e-3, ge=0)
    """Peak learning rate."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of the running moments."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator (Adamax: to |g| inside the infinity norm)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 (adam, adamax) or decoupled (adamw) weight decay."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Share of the phase over which the rate rises linearly from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What the rate does after the warm-up."""
    lr_min: float = Field(default=0.0, ge=0)
    """Where the cosine ends."""
    clip: float | None = Field(default=None, gt=0)
    """Largest 2-norm of the gradient; None does not clip."""

    def rate(self, step: int, total: int) -> float:
        """The learning rate of step `step` (from 0) of a phase of `total` steps."""
        warm = self.warmup * total
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        if self.schedule == "constant":
            return self.lr
        share = (step - warm) / max(1.0, total - warm)
        return self.lr_min + (self.lr - self.lr_min) * 0.5 * (1 + cos(pi * min(1.0, share)))


@dataclass(frozen=True)
class Step:
    """Where in its phase the engine stands, and the randomness of this very step."""

    index: int
    """Steps done before this one in the phase."""
    total: int
    """Steps of the phase."""
    generator: Generator
    """Seeded by (seed, phase, step, shard): the same step always sees the same numbers."""
    shard: int = 0
    """Which part of the step's batch this is."""
    shards: int = 1
    """Parts that every step's batch is cut into, however many processes there are."""

    @property
    def rows(self) -> slice:
        """The rows of a tensor of `Objective.rows` that this part alone reads and moves."""
        return slice(self.shard, None, self.shards)


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise and detached figures worth logging (scalars, or vectors of one entry per layer)."""

    value: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """One loss and the parameters that its gradient moves."""

    name: str
    parameters: Sequence[nn.Parameter]
    optimiser: OptimiserSettings
    loss: Callable[[Any, Step], Loss]
    buffers: Sequence[Tensor] = ()
    """Floating-point tensors, beside the learner's own buffers, that the loss updates in place; they are saved with every
    checkpoint and put back with a refused step.  Each part of a batch moves them from where the step found them; they end
    where the mean of these moves leads, as the learner's own buffers do."""
    rows: Sequence[Tensor] = ()
    """The same of tensors whose rows are shared out: a part of the batch reads and moves its `Step.rows` alone."""
