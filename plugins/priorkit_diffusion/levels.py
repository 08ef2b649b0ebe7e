"""The densities of the levels: an energy for each, conditional on the level above, and a chain on each."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from priorkit.core import Chain, Latents, LatentSpace, Sampling, for_rows
from priorkit.energies import LabelHeads, LabelledPrior, bounded, precise
from priorkit.runtime.on_device import OnDevice
from priorkit.runtime.on_host import OnHost
from priorkit_diffusion.conditional import Conditional
from priorkit_diffusion.energy import LevelEnergy
from priorkit_diffusion.langevin import LevelLangevin
from priorkit_diffusion.paper_energy import PaperEnergy
from priorkit_diffusion.recovery import sampled, started
from priorkit_diffusion.schedule import Schedule
from priorkit_diffusion.settings import DiffusionSettings

__all__ = ["LevelDensities"]


class LevelDensities(LabelledPrior):
    """F(u, t) and p(u_t | u_{t+1}) of the levels t = 0 ... T - 1, independent of training and generation."""

    settings: DiffusionSettings
    labels: LabelHeads
    pace: Tensor
    """rho_t of the levels, see `priorkit_diffusion.step_sizes`; a buffer, (T,)."""
    size: Tensor
    """The step size that the paces refer to, a scalar buffer; 0 before the first pilot run."""

    def __init__(self, settings: DiffusionSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.schedule = Schedule.of(settings.levels)
        self.step_sizes = OnDevice(self.schedule.step_sizes(settings.base_step))
        self.separable = settings.network == "paper" or settings.energy.separable(space.layout)
        self.energy: PaperEnergy | LevelEnergy
        if settings.network == "paper":
            self.energy = PaperEnergy(space.layout, settings.energy.channels)
        else:
            self.energy = LevelEnergy(settings.energy, space.layout, settings.levels)
        self.labels = LabelHeads(settings.labels, space.layout, zero=True)
        self.register_buffer("pace", torch.ones(settings.levels))
        self.register_buffer("size", torch.zeros(()))
        self._size = OnHost()

    @property
    def step_size(self) -> float | None:
        """The sampler's step size that the paces refer to; None before the first pilot run."""
        return float(self._size(self.size)) or None

    def energies(self, u: Tensor, level: Tensor) -> Tensor:
        """Return F of rows at levels (B,), by layer if they are separable: (B, D) -> (B, 1) or (B, L)."""
        x = self.inputs(u)
        outputs = cast(Tensor, self.energy(x, level))
        energies = precise(outputs)
        if self.settings.chain == "paper":
            energies = energies / self.step_sizes(energies)[level][:, None]
        energies = bounded(energies, self.settings.bound)
        if self.settings.labels:
            evidence = torch.where(level == 0, self.labels.evidence(x), 0.0)
            energies = energies + evidence[:, None] / energies.shape[1]
        return energies

    def inputs(self, latents: Latents | Tensor) -> Tensor:
        """Return the networks' input, from u alone: batches do not contain z of noised points."""
        u = latents if isinstance(latents, Tensor) else latents.u
        return self.space.latents(u) if self.settings.energy_input == "z" else u

    def recover(self, v: Tensor, level: Tensor, sampling: Sampling) -> Chain:
        """Return a chain on p(u_t | v) for each row v = u_{t+1} (B, D) at level t (B,).

        A condition's labels apply to u_t at every level; its fixed columns are those of u_t.
        """
        conditional, condition = Conditional.of(self.schedule, level, v), sampling.condition

        def energy(u: Tensor, level: Tensor) -> Tensor:
            value = self.energies(u, level).sum(1)
            if not sampling.labels:
                return value
            labels = {name: for_rows(y, len(u)) for name, y in sampling.labels.items()}
            return value + self.label_log_prob(u, labels)

        paper = self.settings.chain == "paper"
        if paper or self.settings.start == "noised":
            start = v if condition is None else condition.fix(v)
        else:
            proposals = self.settings.proposals
            start = started(energy, conditional, proposals, condition=condition, generator=sampling.generator)
        if not paper:
            return sampled(energy, conditional, self.pace, start, sampling)
        sizes = self.step_sizes(v)[level][:, None]
        chain = LevelLangevin(sizes, steps=getattr(sampling.sampler.settings, "steps", 50))
        return replace(sampling, sampler=chain).run(lambda u: energy(u, level) + conditional.log_kernel(u), start)
