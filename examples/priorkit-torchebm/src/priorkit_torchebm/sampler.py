"""torchebm's Hamiltonian Monte Carlo behind priorkit's contract of a sampler."""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor
from torchebm.core import BaseModel
from torchebm.samplers import HamiltonianMonteCarlo

from priorkit.core import Chain, LogProb, Sampler, Settings

__all__ = ["TorchEbmHmc", "TorchEbmHmcSettings"]


class TorchEbmHmcSettings(Settings):
    """Hamiltonian Monte Carlo of torchebm."""

    steps: PositiveInt = 20
    """Steps of a chain; each draws a momentum, follows it, and accepts or refuses the end."""
    leapfrog_steps: PositiveInt = 5
    """Leapfrog steps in each."""
    step_size: PositiveFloat = 0.2
    """Time of a leapfrog step; leapfrog_steps of them should stay well below half an oscillation of the density, which is 3
    on N(0, I), or chains swing to and fro."""


class Energy(BaseModel):
    """Minus a log density, as torchebm reads it; counts the rows it is asked for."""

    def __init__(self, log_prob: LogProb, like: Tensor) -> None:
        super().__init__(dtype=like.dtype, device=like.device)
        self.log_prob = log_prob
        self.rows = 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        self.rows += len(x)
        return -self.log_prob(x)


class TorchEbmHmc(Sampler):
    """Hamiltonian Monte Carlo of torchebm.  Diagnostics of step t: `energy` (log density) and `acceptance`."""

    Config = TorchEbmHmcSettings
    settings: TorchEbmHmcSettings

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Chains from start (B, D)."""
        own = self.settings
        # A caller's inference mode would make tensors that no gradient can be taken of.
        with torch.inference_mode(False), torch.enable_grad():
            begin = start.detach().clone()
            energy = Energy(log_prob, begin)
            sampler = HamiltonianMonteCarlo(
                energy, step_size=own.step_size, n_leapfrog_steps=own.leapfrog_steps, dtype=begin.dtype, device=begin.device
            )
            states, told = sampler.sample(
                begin, n_steps=own.steps, return_trajectory=True, return_diagnostics=True, generator=generator
            )
        path = torch.cat([begin[None], states.transpose(0, 1)])
        diagnostics = {"energy": -told["energy"], "acceptance": told["acceptance_rate"]}
        return Chain(path[-1], diagnostics, path[::keep_every] if keep_every else None, energy.rows // max(1, len(begin)))
