r"""A normalising flow per layer, given the layers above, trained by maximum likelihood.

.. math:: p(u) = \prod_i p(u_i \mid u_{<i}), \qquad
          \log p(u_i \mid u_{<i}) = \log N(f_i(u_i; u_{<i}); 0, I) + \log |\det \partial f_i / \partial u_i|

with f_i composed of monotonic functions of single latents whose parameters are networks' outputs: autoregressive
(Papamakarios et al. 2017, "Masked Autoregressive Flow for Density Estimation") or coupling layers (Dinh et al. 2017,
"Density estimation using Real NVP"), with splines (Durkan et al. 2019, "Neural Spline Flows") or affine functions.  Outputs
of 0 make every f_i the identity, which is the Gaussian prior.
"""

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from priorkit.core import Latents, LatentSpace, Loss, Objective, StageContext, Step
from priorkit.energies import Descent, MappedPrior, PrefixHeads, chosen_context, layers_for_ratios
from priorkit.energies.descent import context_shapes
from priorkit_flow.layer_flow import LayerFlow
from priorkit_flow.settings import FlowSettings

__all__ = ["FlowPrior"]

CHUNK = 2_000
"""Held-out points evaluated at once."""


class FlowPrior(MappedPrior):
    """Drawn from the top layer down; exact density, exact samples."""

    Config = FlowSettings
    settings: FlowSettings
    libraries: ClassVar[tuple[str, ...]] = ("zuko",)

    def __init__(self, settings: FlowSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.context = chosen_context(settings.context, space)
        if self.context in ("none", "upper"):
            self.beside = frozenset({"moments"})
        contexts, self.chosen = context_shapes(space, self.context), layers_for_ratios(space.layout, settings.layers)
        # By the layer's number, so that the names of weights do not depend on which layers have a flow.
        self.flows = nn.ModuleDict({str(i): LayerFlow(self.layout.sizes[i], contexts[i], settings) for i in self.chosen})
        self.labels = PrefixHeads(settings.labels, space.layout, zero=True)

    def mapped(self, layer: int, descent: Descent, noise: Tensor, copies: int = 1) -> Tensor:
        """Return the inverse of the layer's flow at noise (n * copies, size) for n rows of the descent."""
        flow = self._flow(layer)
        return noise if flow is None else flow.inverse(noise, self._given(flow, descent, copies))

    def layer_densities(self, layer: int, descent: Descent, u: Tensor, copies: int = 1) -> Tensor:
        """Return log p(u_i | u_<i) - log N(u_i; 0, I), exact, of u (n * copies, size) for n rows of the descent."""
        flow = self._flow(layer)
        if flow is None:
            return u.new_zeros(len(u))
        noise, log_volume = flow.noise(u, self._given(flow, descent, copies))
        return 0.5 * (u.square() - noise.square()).sum(1) + log_volume

    @property
    def proposals(self) -> int:
        """The option `proposals`."""
        return self.settings.proposals

    def _flow(self, layer: int) -> LayerFlow | None:
        return cast(LayerFlow, self.flows[str(layer)]) if layer in self.chosen else None

    def _given(self, flow: LayerFlow, descent: Descent, copies: int) -> Tensor | None:
        given = flow.given(descent.context(self.context))
        return None if given is None else given.repeat_interleave(copies, dim=0)

    def objectives(self) -> list[Objective]:
        """Return the likelihood of all layers."""
        return [Objective("likelihood", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        gains = self._gains(batch, batch.redrawn(step.generator)).mean(0)
        # On the order of 1 for any number of latents: gradients are clipped.
        value = -gains.sum() / self.layout.dim**0.5
        metrics = {"gain": gains.sum().detach(), "layer": gains.detach()}
        if self.settings.labels:
            metrics["label_loss"] = (label_loss := self.labels.loss(batch.u, batch.labels)).detach()
            value = value + label_loss
        return Loss(value, metrics)

    def _gains(self, above: Latents, u: Tensor) -> Tensor:
        """Return log p(u_i | u_<i) - log N(u_i; 0, I) of u (B, D) under the layers of other points above, (B, L)."""
        return self.conditional_logits(above.u, u[:, None], features=above.features)[:, 0]

    @torch.no_grad()
    def heldout_loss(self, context: StageContext) -> float | None:
        """Return the negative log density of held-out points, up to a constant, and the labels' loss."""
        heldout = context.heldout
        if self.untold(heldout):
            return None
        loss = -self._mean_gains_at(heldout).sum()
        return float(loss + self.labels.loss(heldout.u, heldout.labels)) if self.settings.labels else float(loss)

    @torch.no_grad()
    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return the gain over N(0, I) on held-out points, in nats, and that of each layer."""
        if not len(context.heldout):
            return {}
        gains = self._mean_gains_at(context.heldout)
        figures = {"heldout_gain": float(gains.sum())}
        return figures | {f"heldout_gain_layer_{i}": gain for i, gain in enumerate(gains.tolist())}

    def _mean_gains_at(self, points: Latents) -> Tensor:
        return torch.cat([self._gains(part, part.u) for part in points.split(CHUNK)]).mean(0)
