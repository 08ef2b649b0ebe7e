"""What a chain tells of itself: its diagnostics stay on the device until the chain has ended."""

from math import sqrt

import torch
from torch import Tensor

from priorkit.mcmc.chain import Chain
from priorkit.runtime.chain_steps import step_taken

__all__ = ["ChainRecorder", "per_coordinate"]


class ChainRecorder:
    """Collects the diagnostics of every step and every k-th state, without waiting for the device."""

    def __init__(self, start: Tensor, keep_every: int = 0) -> None:
        """`start` (B, D); with keep_every = k > 0 it and the state after every k-th step are kept."""
        self._keep_every = keep_every
        self._states = [start.clone()] if keep_every > 0 else []
        self._steps: list[dict[str, Tensor]] = []

    def step(
        self,
        u: Tensor,
        *,
        energy: Tensor,
        gradient_norm: Tensor,
        displacement: Tensor,
        reached: Tensor | None = None,
        **more: Tensor,
    ) -> None:
        """Note a step that has led to u (B, D).

        Args:
            u: The state after the step; copied where it is kept.
            energy: Log density of the state that the step left, (B,).
            gradient_norm: Of the same state, (B,).
            displacement: Root mean square over the coordinates of the move, (B,).
            reached: Log density of u, (B,), where it is known.
            more: Other diagnostics, such as the acceptance probability, (B,) each.
        """
        # A state that is not finite has neither a finite density nor a finite move; looking at its entries would cost a
        # third of a step.
        finite = ((energy if reached is None else reached) + displacement).isfinite()
        self.note(u, energy=energy, gradient_norm=gradient_norm, displacement=displacement, finite=finite, **more)

    def note(self, u: Tensor, **diagnostics: Tensor) -> None:
        """Note a state (B, D) and diagnostics, (B,) each, of which the mean over the batch is kept."""
        step_taken()
        self._steps.append({name: values.float().mean() for name, values in diagnostics.items()})
        if self._keep_every > 0 and len(self._steps) % self._keep_every == 0:
            self._states.append(u.clone())

    def chain(self, u: Tensor, calls: int) -> Chain:
        """Returns the finished chain; `calls` counts evaluations of the log density for each sample."""
        names = self._steps[0] if self._steps else {}
        diagnostics = {name: torch.stack([step[name] for step in self._steps]) for name in names}
        return Chain(u, diagnostics, torch.stack(self._states) if self._states else None, calls)


def per_coordinate(vectors: Tensor) -> Tensor:
    """Returns the root mean square over the coordinates of each row, (B, D) -> (B,)."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return norms / sqrt(vectors.shape[1])
