r"""A masked autoregressive flow over u, fitted by maximum likelihood.

With f a flow that maps u to noise, :math:`\log p(u) = \log N(f(u); 0, I) + \log |\det \partial f / \partial u|`, and the
ratio that priorkit asks for is :math:`\log r(u) = \log p(u) - \log N(u; 0, I)`.
"""

import math

import torch
import zuko
from pydantic import PositiveInt
from torch import Tensor

from priorkit.core import (
    Draw,
    Latents,
    LatentSpace,
    Loss,
    Objective,
    OptimiserSettings,
    Prior,
    Sampling,
    Settings,
    Step,
)

__all__ = ["FlowPrior", "FlowSettings"]


class FlowSettings(Settings):
    """A masked autoregressive flow."""

    transforms: PositiveInt = 3
    """Affine autoregressive transforms, one after the other, each in the order of coordinates opposite to the last."""
    hidden: PositiveInt = 64
    """Width of each transform's network."""
    depth: PositiveInt = 2
    """Hidden layers of each transform's network."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=10.0)
    """How the flow is fitted."""


class FlowPrior(Prior):
    """A normalising flow: exact density, exact draws."""

    Config = FlowSettings
    settings: FlowSettings
    normalised = True

    def __init__(self, settings: FlowSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        hidden = (settings.hidden,) * settings.depth
        self.flow = zuko.flows.MAF(space.layout.dim, transforms=settings.transforms, hidden_features=hidden)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """log p(u) - log N(u; 0, I), (B, D) -> (B,); 0 after no stage."""
        if stages == 0:
            return u.new_zeros(len(u))
        noise, log_volume = self.flow().transform.call_and_ladj(u)
        return 0.5 * (u.square() - noise.square()).sum(1) + log_volume

    @torch.no_grad()
    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Returns n exact draws; below fixed layers, the ends of the sampler's chains."""
        u = self.standard_normal(n, sampling.generator)
        if sampling.labels:
            self.label_log_prob(u, sampling.labels)  # refuses them
        if sampling.stages == 0:
            return Draw(sampling.fix(u))
        # Noise comes from the generator, which zuko's own `sample` does not take.
        u = self.flow().transform.inv(u)
        if sampling.condition is None or sampling.condition.top is None:
            return Draw(u)
        chain = sampling.run(self.log_prob, sampling.fix(u))
        return Draw(chain.u, [chain])

    def objectives(self) -> list[Objective]:
        """Maximum likelihood."""
        return [Objective("likelihood", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        nats = self.log_prob(batch.u).mean() - 0.5 * self.layout.dim * math.log(2 * math.pi)
        return Loss(-nats, {"log_density": nats.detach()})
