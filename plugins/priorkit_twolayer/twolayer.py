r"""Vector latents in a chain: :math:`z_0 \sim N(0, I)`, :math:`p(z_i \mid z_{i-1})` a perceptron's Gaussian, x from z_{L-1}.

Two layers with a DCGAN decoder are the generator of the joint hierarchical EBMs (JointEBM, section 4; multi-stage,
Table 11).  With an inference network it is trained as a VAE, :math:`E_q \log p(x \mid z) - \beta \sum_i \max(\lambda,
KL_i)`; without one only by the joint trainer, whose chain samples the posterior.
"""

import math
from typing import cast

import torch
from torch import Generator, Tensor, nn

from priorkit.core import (
    Backbone,
    DataSpec,
    Elbo,
    Layout,
    Likelihood,
    Loss,
    Objective,
    Posterior,
    PosteriorDensity,
    Step,
    TopDown,
)
from priorkit.errors import UsageError
from priorkit_twolayer.inference import BottomUp, Inference, TopDownInference
from priorkit_twolayer.perceptron import Conditional
from priorkit_twolayer.pictures import Decoder
from priorkit_twolayer.pixels import Pixels
from priorkit_twolayer.settings import TwoLayerSettings
from priorkit_twolayer.walk import ChainWalk

__all__ = ["TwoLayer"]

DIRECTIONS: dict[str, type[Inference] | None] = {"top-down": TopDownInference, "bottom-up": BottomUp, "none": None}


class TwoLayer(Backbone):
    """A VAE with L >= 1 layers of vector latents, top first; data are images (C, H, W) or points (d,)."""

    Config = TwoLayerSettings
    settings: TwoLayerSettings

    def __init__(self, settings: TwoLayerSettings, spec: DataSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.layout = Layout(tuple((size,) for size in settings.latents))
        self._pixels = Pixels(settings, spec)
        self.decoder = Decoder(settings, spec, self._pixels.channels)
        self.conditionals = nn.ModuleList(
            Conditional(above, size, hidden=settings.hidden, depth=settings.depth)
            for above, size in zip(settings.latents, settings.latents[1:], strict=False)
        )
        kind = DIRECTIONS[settings.inference]
        self.inference: Inference | None = None if kind is None else kind(settings, spec)

    def top_down(self, batch: int, *, temperature: float = 1.0) -> TopDown:
        """Start a walk for `batch` samples."""
        # The search for a first parameter would take as long as a layer, at every step of a chain.
        below = cast(Conditional, self.conditionals[0]) if len(self.conditionals) else None
        like = next(self.parameters()) if below is None else below.head.weight
        origin = like.new_zeros(batch, self.settings.latents[0])
        return ChainWalk(origin, list(self.conditionals), self._likelihood, temperature)

    def _likelihood(self, z: Tensor) -> Likelihood:
        return self._pixels.likelihood(self.decoder(z), self.decoder.border)

    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Sample q(u | x) for x (B, *spec.shape).  Raises UsageError without an inference network."""
        return self._network().sample(x, self.top_down(len(x)), generator)

    def posterior_density(self, x: Tensor) -> PosteriorDensity | None:
        """Return q(u | x) of x (N, *spec.shape) as a function of u, None without an inference network."""
        return None if self.inference is None else self.inference.density(x, self.layout, self.top_down)

    def _network(self) -> Inference:
        if self.inference is None:
            raise UsageError(
                "backbone.inference: this generator has no inference network (none); the joint trainer "
                "samples its posterior with a chain. Use --trainer joint, or set backbone.inference to "
                "top-down or bottom-up."
            )
        return self.inference

    def elbo(self, x: Tensor, *, generator: Generator | None = None) -> Elbo | None:
        """Return a one-sample evidence lower bound, None without an inference network; the walk of the inference decodes."""
        return None if self.inference is None else self._elbo(x, generator)

    def _elbo(self, x: Tensor, generator: Generator | None) -> Elbo:
        walk = self.top_down(len(x))
        posterior = self._network().sample(x, walk, generator)
        assert posterior.kl is not None  # both directions have a density
        return Elbo.of(walk.decode(), x, posterior.kl)

    def objectives(self) -> list[Objective]:
        """Return the negative ELBO with KL warm-up and free bits, over all networks. Raises UsageError without inference."""
        self._network()
        return [Objective("elbo", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, x: Tensor, step: Step) -> Loss:
        elbo = self._elbo(x, step.generator)
        log_px, kl = elbo.log_px.mean(), elbo.kl.mean(0)
        beta = min(1.0, (step.index + 1) / max(1.0, self.settings.warmup * step.total))
        penalty = kl.clamp(min=self.settings.free_bits) if self.settings.free_bits > 0 else kl
        metrics = {"elbo": log_px - kl.sum(), "log_px": log_px, "kl": kl, "beta": torch.tensor(beta)}
        if self.settings.likelihood != "fixed-normal":
            metrics["elbo_bpd"] = -metrics["elbo"] / (self.spec.dim * math.log(2))
        return Loss(beta * penalty.sum() - log_px, {name: value.detach() for name, value in metrics.items()})
