"""The Metropolis step: a proposal is accepted or the state stays, so that the density is exactly stationary."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.mcmc.chain_recorder import ChainRecorder, per_coordinate
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.gradient import value_and_gradient

__all__ = ["State", "accept", "metropolis_chain", "state_at"]


@dataclass(frozen=True)
class State:
    """A point of each chain, with its log density."""

    u: Tensor
    """(B, D)."""
    value: Tensor
    """log p(u), (B,)."""
    gradient: Tensor
    """(B, D)."""

    def __getitem__(self, rows: Tensor) -> "State":
        """The chosen chains."""
        return State(self.u[rows], self.value[rows], self.gradient[rows])


def state_at(log_prob: LogProb, u: Tensor) -> State:
    """Returns the state at u (B, D), which the caller leaves unchanged from now on."""
    return State(u, *value_and_gradient(log_prob, u))


def accept(state: State, proposal: State, log_ratio: Tensor, generator: Generator | None) -> tuple[State, Tensor]:
    """Returns each row's proposal with probability min(1, e^log_ratio), else its state, and those probabilities, (B,).

    A proposal whose log density is not finite, or whose ratio is NaN, is never accepted.
    """
    ratio = log_ratio.masked_fill(~proposal.value.isfinite(), -torch.inf)
    ratio = ratio.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    chance = torch.rand(len(ratio), generator=generator, dtype=ratio.dtype, device=ratio.device)
    taken = chance.log() < ratio
    rows = taken[:, None]
    following = State(
        torch.where(rows, proposal.u, state.u),
        torch.where(taken, proposal.value, state.value),
        torch.where(rows, proposal.gradient, state.gradient),
    )
    return following, ratio.exp().clamp(max=1)


@torch.no_grad()
def metropolis_chain(
    step: Callable[[State], tuple[State, Tensor]], state: State, steps: int, record: ChainRecorder | None = None
) -> tuple[State, Tensor]:
    """Returns the state after `steps` steps and the mean acceptance probability, a scalar tensor.

    `step` gives the next state and the acceptance probability of each row, (B,).
    """
    acceptances = []
    for _ in range(steps):
        following, acceptance = step(state)
        acceptances.append(acceptance.mean())
        if record is not None:
            record.step(
                following.u,
                energy=state.value,
                gradient_norm=torch.linalg.vector_norm(state.gradient, dim=1),
                displacement=per_coordinate(following.u - state.u),
                reached=following.value,
                acceptance=acceptance,
            )
        state = following
    return state, torch.stack(acceptances).mean()
