r"""A velocity field per layer, from N(0, I) to the layer's aggregated posterior given the layers above.

.. math:: p(u) = \prod_i p(u_i \mid u_{<i}), \qquad
          \log p(u_i \mid u_{<i}) = \log N(x_i; 0, I) - \int \nabla \cdot f_i(x_s, s; u_{<i})\, ds,

with x_i the noise end of the ODE that ends in u_i.  Each field is the minimiser of a regression on pairs of noise and
posterior samples, under the layers above of the same sample.  An output of 0 is the Gaussian prior exactly.  Predicting the
noise as that of N(0, I) plus a network is the mixed score parameterisation of LSGM (Vahdat, Kreis and Kautz 2021,
"Score-based Generative Modeling in Latent Space").
"""

from typing import cast

import torch
from torch import Generator, Tensor, nn

from priorkit.core import Latents, LatentSpace, Loss, Objective, StageContext, Step
from priorkit.energies import Descent, MappedPrior, PrefixHeads, chosen_context
from priorkit.energies.descent import context_shapes
from priorkit.runtime.on_device import OnDevice
from priorkit_flowmatching.networks import VelocityNet
from priorkit_flowmatching.ode import Field, Probes, transported, transported_with_forms
from priorkit_flowmatching.path import Matching, Parameterisation
from priorkit_flowmatching.settings import FlowMatchingSettings

__all__ = ["FlowMatchingPrior"]

EXACT_UP_TO = 64
"""Latents of a layer whose divergence `auto` computes exactly."""
CHUNK = 500
"""Held-out points evaluated at once."""
JUDGED = 1_000
"""Held-out points whose density a stage ends with."""
DIRECTIONS = 2
"""Of the divergence at each of these points, where fewer than its latents are enough for their mean."""
LEVELS = 4
"""Noise levels of each held-out point in `heldout_loss`."""


class FlowMatchingPrior(MappedPrior):
    """Drawn from the top layer down, each layer by an ODE; the density is normalised, up to the error of the ODE."""

    Config = FlowMatchingSettings
    settings: FlowMatchingSettings

    def __init__(self, settings: FlowMatchingSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.context = chosen_context(settings.context, space)
        if self.context in ("none", "upper"):
            self.beside = frozenset({"moments"})
        contexts = context_shapes(space, self.context)
        self.nets = nn.ModuleList(
            VelocityNet(shape, told, settings.net) for shape, told in zip(self.layout.shapes, contexts, strict=True)
        )
        self._sizes = OnDevice(torch.tensor(self.layout.sizes))
        self.labels = PrefixHeads(settings.labels, space.layout, zero=True)
        self.parameterisation = Parameterisation(settings.loss)
        self.matching = Matching(self.parameterisation, settings.path_in(self.layout), settings.weighting == "likelihood")

    def field(self, layer: int, descent: Descent, copies: int = 1) -> Field:
        """The field of the layer that the descent stands before, for `copies` rows of each of the descent's rows."""
        net = cast(VelocityNet, self.nets[layer])
        given = net.given(descent.context(self.context))
        if given is not None:
            given = given.repeat_interleave(copies, dim=0)

        def field(x: Tensor, s: float) -> Tensor:
            return cast(Tensor, net(x, x.new_full((1,), self.parameterisation.angle(s)), given))

        return field

    def layer_estimates(self, layer: int, descent: Descent, u: Tensor, probes: Probes, copies: int = 1) -> Tensor:
        """log p(u_i | u_<i) - log N(u_i; 0, I) of `copies` candidates u_i (N, size) for each row of the descent.

        One estimate per direction of Hutchinson's divergence, (K, N), or the exact value, (1, N).
        """
        nodes = self.parameterisation.nodes(self.settings.density_steps)[::-1]
        start, forms = transported_with_forms(self.field(layer, descent, copies), u, nodes, probes)
        return 0.5 * (u.square() - start.square()).sum(1) + probes.estimates(forms)

    def _probes(self, layer: int, like: Tensor) -> Probes:
        kind, size = self.settings.divergence, self.layout.sizes[layer]
        if kind == "exact" or (kind == "auto" and size <= EXACT_UP_TO):
            return Probes.unit(like)
        return Probes.signs(self.settings.probes, like, layer)

    def layer_densities(self, layer: int, descent: Descent, u: Tensor, copies: int = 1) -> Tensor:
        """Return the mean of `layer_estimates`, (N,)."""
        return self.layer_estimates(layer, descent, u, self._probes(layer, u), copies).mean(0)

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """log p(u_i | u_<i) - log N(u_i; 0, I), (B, D) -> (B, L), up to the error of the ODE and, for layers with
        Hutchinson's estimate, that of its fixed directions."""
        tracked = torch.is_grad_enabled()
        # The divergence is a derivative, which inference mode does not allow.
        with torch.inference_mode(False), torch.set_grad_enabled(tracked):
            return super().layer_log_ratio(u.clone() if u.is_inference() else u, stages=stages)

    def mapped(self, layer: int, descent: Descent, noise: Tensor, copies: int = 1) -> Tensor:
        """Return where the ODE carries noise (n * copies, size) for n rows of the descent."""
        return transported(self.field(layer, descent, copies), noise, self.parameterisation.nodes(self.settings.steps))

    @property
    def proposals(self) -> int:
        """The option `proposals`."""
        return self.settings.proposals

    def objectives(self) -> list[Objective]:
        """The sum of all layers' regressions."""
        return [Objective("matching", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        errors, untrained = self._errors(batch, step.generator)
        value = errors.sum() / self.layout.dim
        metrics = {
            "untrained": untrained.sum().detach() / self.layout.dim,
            "layer": errors.detach() / self._sizes(errors),
        }
        if self.settings.labels:
            metrics["label_loss"] = (label_loss := self.labels.loss(batch.u, batch.labels)).detach()
            value = value + label_loss
        return Loss(value, metrics)

    def _errors(self, batch: Latents, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """The mean squared error of each layer's output, summed over its latents, and that of an output of 0, (L,) each."""
        positives, errors, untrained = batch.redrawn(generator), list[Tensor](), list[Tensor]()
        descent = self.descent(len(batch), batch.features)
        for i, (own, taken) in enumerate(zip(self.layout.columns(positives), self.layout.split(batch.u), strict=True)):
            net = cast(VelocityNet, self.nets[i])
            angle = self.matching.angles(len(own), generator, own)
            noise = torch.empty_like(own).normal_(generator=generator)
            x, target = self.matching.noised(own, noise, angle)
            output, weight = net(x, angle, net.given(descent.context(self.context))), self.matching.weight(angle)
            errors.append((weight * (output - target).square().sum(1)).mean())
            untrained.append((weight * target.square().sum(1)).mean())
            descent.take(taken)
        return torch.stack(errors), torch.stack(untrained)

    @torch.no_grad()
    def heldout_loss(self, context: StageContext) -> float | None:
        """The loss of training at held-out points, each at several noise levels."""
        heldout = context.heldout
        if self.untold(heldout):
            return None
        generator = context.streams.generator("flowmatching.validating", device=heldout.u.device)
        parts = [part for part in heldout.split(CHUNK) for _ in range(LEVELS)]
        losses = [self._loss(part, Step(0, 1, generator)).value * len(part) for part in parts]
        return float(torch.stack(losses).sum()) / (LEVELS * len(heldout))

    @torch.no_grad()
    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return the mean log ratio of held-out points, in nats, and its standard error over directions of the divergence.

        Each point has a few random directions of its own: the exact divergence of them all would take longer than the
        training of a small field.
        """
        heldout = context.heldout[:JUDGED]
        if not len(heldout):
            return {}
        generator = context.streams.generator("flowmatching.judging", device=heldout.u.device)
        parts = heldout.split(CHUNK)
        told = context.progress(parts, len(parts), "log density of held-out points")
        # (layers, 2): sums over points of the estimate and of its variance.
        total = torch.stack([self._judged(part, generator) for part in told]).sum(0)
        gains, error = (total[:, 0] / len(heldout)).tolist(), float(total[:, 1].sum().sqrt()) / len(heldout)
        figures = {"heldout_gain": sum(gains), "heldout_gain_error": error}
        return figures | {f"heldout_gain_layer_{i}": gain for i, gain in enumerate(gains)}

    def _judged(self, points: Latents, generator: Generator) -> Tensor:
        """Sums over the points of each layer's log ratio and of the variance of its estimate, (L, 2)."""
        descent, found = self.descent(len(points), points.features), list[Tensor]()
        for i, taken in enumerate(self.layout.split(points.u)):
            u = taken.flatten(1)
            exact = self.settings.divergence == "exact" or u.shape[1] <= DIRECTIONS
            probes = Probes.unit(u) if exact else Probes.of_each(DIRECTIONS, u, generator)
            told = self.layer_estimates(i, descent, u, probes)
            spread = told.new_zeros(()) if exact else told.var(0).sum() / len(told)
            found.append(torch.stack([told.mean(0).sum(), spread]))
            descent.take(taken)
        return torch.stack(found)
