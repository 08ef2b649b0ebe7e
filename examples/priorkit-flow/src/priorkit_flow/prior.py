r"""A masked autoregressive flow over u, fitted by maximum likelihood.

With f a flow that maps u to noise, :math:`\log p(u) = \log N(f(u); 0, I) + \log |\det \partial f / \partial u|`, and the
ratio that priorkit asks for is :math:`\log r(u) = \log p(u) - \log N(u; 0, I)`.
"""

import math

import torch
import zuko
from pydantic import PositiveInt
from torch import Generator, Tensor

from priorkit.core import (
    Condition,
    Draw,
    Latents,
    LatentSpace,
    Loss,
    Objective,
    OptimiserSettings,
    Prior,
    Sampler,
    Settings,
    Step,
    run_conditioned,
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
    def draw(
        self,
        n: int,
        *,
        sampler: Sampler,
        generator: Generator | None = None,
        keep_every: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
    ) -> Draw:
        """n exact draws; below fixed layers, the end of the sampler's chain."""
        u = self.standard_normal(n, generator)
        if condition is not None and condition.labels:
            self.label_log_prob(u, condition.labels)  # refuses them
        if stages == 0:
            return Draw(u if condition is None else condition.fix(u))
        # Noise comes from the generator, which zuko's own `sample` does not take.
        u = self.flow().transform.inv(u)
        if condition is None or condition.top is None:
            return Draw(u)
        start = condition.fix(u)
        chain = run_conditioned(sampler, self.log_prob, start, condition, generator=generator, keep_every=keep_every)
        return Draw(chain.u, [chain])

    def objectives(self) -> list[Objective]:
        """Maximum likelihood."""
        return [Objective("likelihood", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        nats = self.log_prob(batch.u).mean() - 0.5 * self.layout.dim * math.log(2 * math.pi)
        return Loss(-nats, {"log_density": nats.detach()})
