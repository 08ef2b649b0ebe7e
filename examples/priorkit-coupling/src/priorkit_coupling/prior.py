r"""Affine coupling layers over u (Dinh et al. 2017, "Density estimation using Real NVP"), fitted by maximum likelihood.

A layer keeps every second coordinate and transforms the others, :math:`v_j = u_j e^{s_j} + t_j`, with s and t functions of
the coordinates that are kept; the next layer keeps those that were transformed.  With e the result of all layers,
:math:`\log r(u) = |u|^2 / 2 - |e|^2 / 2 + \sum s`.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from priorkit.core import Draw, Latents, LatentSpace, Loss, Objective, OptimiserSettings, Prior, Sampling, Settings, Step

__all__ = ["CouplingPrior", "CouplingSettings"]


class CouplingSettings(Settings):
    """Affine coupling layers."""

    couplings: PositiveInt = 6
    """Number of layers."""
    hidden: PositiveInt = 64
    """Width of each layer's network."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, clip=10.0)
    """How the layers are fitted."""


class CouplingPrior(Prior):
    """A density without a normaliser to estimate, and draws without a chain."""

    Config = CouplingSettings
    settings: CouplingSettings
    normalised = True

    def __init__(self, settings: CouplingSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        dim, hidden = space.layout.dim, settings.hidden
        self.nets = nn.ModuleList()
        for _ in range(settings.couplings):
            last = nn.Linear(hidden, 2 * dim)
            # With outputs of 0 every layer is the identity, so that training starts at the Gaussian prior.
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.nets.append(nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last))

    def _scale_and_shift(self, i: int, u: Tensor) -> tuple[Tensor, Tensor]:
        """s and t of layer i at u (B, D), (B, D) each, 0 at the coordinates that it keeps."""
        moved = (torch.arange(u.shape[1], device=u.device) + i) % 2
        scale, shift = self.nets[i](u * (1 - moved)).chunk(2, dim=1)
        return moved * torch.tanh(scale), moved * shift

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """log p(u) - log N(u; 0, I), (B, D) -> (B,); 0 after no stage."""
        value = 0.5 * u.square().sum(1)
        if stages == 0:
            return torch.zeros_like(value)
        for i in range(len(self.nets)):
            scale, shift = self._scale_and_shift(i, u)
            u, value = u * scale.exp() + shift, value + scale.sum(1)
        return value - 0.5 * u.square().sum(1)

    @torch.no_grad()
    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Returns n exact draws; below fixed layers, the ends of the sampler's chains."""
        if sampling.labels or (sampling.condition is not None and sampling.condition.top is not None):
            return super().draw(n, sampling)  # a chain on log_prob; labels are refused there
        u = self.standard_normal(n, sampling.generator)
        if sampling.stages != 0:
            for i in reversed(range(len(self.nets))):
                scale, shift = self._scale_and_shift(i, u)
                u = (u - shift) * (-scale).exp()
        return Draw(u)

    def objectives(self) -> list[Objective]:
        """Maximum likelihood: log N(u; 0, I) does not depend on the weights."""
        return [Objective("likelihood", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        gain = self.log_ratio(batch.u).mean()
        return Loss(-gain, {"gain": gain.detach()})
