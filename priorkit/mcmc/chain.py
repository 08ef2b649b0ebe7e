"""The record of a batch of Markov chains."""

from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Chain"]


@dataclass(frozen=True)
class Chain:
    """Where the chains ended and how they went.  A chain's figures are means over the batch, one entry per step."""

    u: Tensor
    """(B, D), detached."""
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
    """Such as `energy`, `gradient_norm`, `displacement`, `acceptance`: (steps,) each."""
    trajectory: Tensor | None = None
    """(kept states, B, D), the start first, where it was asked for."""
    calls: int = 0
    """Evaluations of the log density (with or without gradient) for each sample."""
