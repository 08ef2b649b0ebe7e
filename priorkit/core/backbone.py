r"""The generator with its Gaussian top-down prior, seen from u-space.

Layers i = 0 (top) ... L-1 (bottom), :math:`p(z_i \mid z_{<i}) = N(\mu_i(z_{<i}), \sigma_i(z_{<i})^2)`, decoder
:math:`p(x \mid z)`.  With :math:`z_i = \mu_i + \sigma_i u_i` the map :math:`z = T(u)` is invertible and
:math:`u \sim N(0, I)` under the Gaussian prior.  All layers of u are stored in one tensor (B, D), which `layout` splits.

A backbone implements a walk down its hierarchy (`top_down`) and inference (`infer`); T, its inverse and the decoder are
derived from the walk. It does not depend on priors.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from priorkit.core.data_spec import DataSpec
from priorkit.core.known_latents import known_latents
from priorkit.core.layout import Layout
from priorkit.core.likelihood import Likelihood
from priorkit.core.objective import Objective
from priorkit.core.posterior_density import PosteriorDensity
from priorkit.core.settings import Settings

__all__ = ["Backbone", "Context", "Elbo", "Generation", "LatentSpace", "Posterior", "TopDown"]


@dataclass(frozen=True)
class Posterior:
    """One sample of q(u | x) per x. If q has no density (a point mass), `kl` and `log_ratio` are None."""

    u: Tensor
    """(B, D)."""
    kl: Tensor | None
    """KL(q || p0) of each layer in nats, (B, L): analytic if possible, else the Monte-Carlo estimate from this sample."""
    log_ratio: Tensor | None
    """log q(u | x) - log p0(u) of this sample, (B,)."""
    mean: Tensor | None = None
    """(B, D). If q(u_i | x, u_<i) is a diagonal Gaussian: its mean, given the layers of `u` above layer i; else None."""
    scale: Tensor | None = None
    """(B, D), positive: the standard deviation of the same Gaussian, or None."""


@dataclass(frozen=True)
class Context:
    """The conditional prior of layer i, z_i = mean + scale * u_i, and features of z_<i for conditional priors."""

    mean: Tensor
    """(B, *shape_i)."""
    scale: Tensor
    """(B, *shape_i), positive; the temperature is included."""
    features: Tensor | None
    """(B, ...) deterministic features of z_<i, or None."""
    standard: bool = False
    """True only if every mean is 0 and every scale is 1, so that u_i is z_i and nothing has to be computed."""

    def latent(self, u: Tensor) -> Tensor:
        """Return z_i of its noise u_i, (B, *shape_i) -> the same shape."""
        return u.to(self.mean.dtype) if self.standard else self.mean + self.scale * u

    def noise(self, z: Tensor) -> Tensor:
        """Return u_i of z_i, the inverse of `latent`."""
        return z.to(self.mean.dtype) if self.standard else (z - self.mean) / self.scale


@dataclass(frozen=True)
class Generation:
    """The result of generation from u: the latents of each layer, top first, and the distribution of x."""

    z: list[Tensor]
    likelihood: Likelihood


@dataclass(frozen=True)
class Elbo:
    """The two terms of the evidence lower bound, in nats."""

    log_px: Tensor
    """log p(x | z) at one posterior sample, (B,)."""
    kl: Tensor
    """(B, L)."""
    discrete: bool
    """`Likelihood.discrete`: True if log_px is the log of a probability."""
    protocol: str
    """`Likelihood.protocol`: a short description."""

    @classmethod
    def of(cls, likelihood: Likelihood, x: Tensor, kl: Tensor) -> "Elbo":
        """Return the terms for observed data x (B, *data shape) under a likelihood, with kl (B, L)."""
        return cls(likelihood.log_prob(x), kl, likelihood.discrete, likelihood.protocol)

    @property
    def value(self) -> Tensor:
        """(B,)."""
        return self.log_px - self.kl.sum(1)


class TopDown(ABC):
    """A walk down the hierarchy for a batch: for each layer call `context`, then `take`; after the last layer call
    `decode`."""

    @abstractmethod
    def context(self) -> Context:
        """Return the conditional prior of the next layer. A second call costs nothing."""

    @abstractmethod
    def take(self, z: Tensor) -> None:
        """Set the next layer to z (B, *shape_i) and continue with the layer below."""

    @abstractmethod
    def decode(self) -> Likelihood:
        """Return p(x | z); all layers must be taken."""

    def take_noise(self, u: Tensor) -> Tensor:
        """Set the next layer by its noise u_i (B, *shape_i) and return z_i (B, *shape_i)."""
        z = self.context().latent(u)
        self.take(z)
        return z


@dataclass(frozen=True)
class LatentSpace:
    """The interface of a backbone for priors."""

    layout: Layout
    latents: Callable[[Tensor], Tensor]
    """T: u (B, D) -> z (B, D), differentiable, without the image decoder."""
    top_down: Callable[[int], TopDown]
    """Starts a walk for a batch of the given size."""

    def top(self, k: int) -> "LatentSpace":
        """Return the space of the top k layers, whose latents do not depend on those below."""
        layout = self.layout.top(k)

        def latents(u: Tensor) -> Tensor:
            return walked(self.top_down(len(u)), layout, u)

        return LatentSpace(layout, latents, self.top_down)

    def features(self, u: Tensor) -> Tensor | None:
        """Return the generator's features before each layer below the top, flattened and joined: (B, D) -> (B, F). None
        if the generator has no features or only one layer."""
        walk, found = self.top_down(len(u)), list[Tensor]()
        parts = self.layout.split(u)
        for part in parts[:-1]:
            walk.take_noise(part)
            features = walk.context().features
            if features is None:
                return None
            found.append(features.flatten(1))
        return torch.cat(found, dim=1) if found else None


def walked(walk: TopDown, layout: Layout, u: Tensor) -> Tensor:
    """Return z = T(u) of a layout's layers, u (B, D) -> (B, D); the walk stops at the context of the last one."""
    z = []
    for i, part in enumerate(layout.split(u)):
        z.append(walk.context().latent(part))
        if i + 1 < len(layout):
            walk.take(z[-1])
    return layout.join(z)


class Backbone(nn.Module, ABC):
    """A hierarchical generator. Subclasses are constructed as `cls(settings, spec)` and set `layout`."""

    Config: ClassVar[type[Settings]] = Settings
    layout: Layout
    settings: Settings
    spec: DataSpec

    @abstractmethod
    def top_down(self, batch: int, *, temperature: float = 1.0) -> TopDown:
        """Start a walk down the hierarchy.

        Args:
            batch: Number of samples, B.
            temperature: Factor on the scale of every conditional prior.

        Returns:
            The walk, before the top layer.
        """

    @abstractmethod
    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Sample q(u | x).

        Args:
            x: Data, (B, *spec.shape).
            generator: Random generator; None uses torch's default generator.

        Returns:
            The samples u (B, D) with their KL and log ratio.
        """

    @abstractmethod
    def objectives(self) -> list[Objective]:
        """Return the losses of a training step on a batch of data; an empty list means that there is nothing to train."""

    def posterior_density(self, x: Tensor) -> PosteriorDensity | None:
        """Return q(u | x) of observed data x (N, *spec.shape) as a function of u, with every x encoded once; None if it is
        not known at points that were not drawn from it. Optional."""
        return None

    def adapt(self, x: Tensor) -> None:
        """Initialise data-dependent values from a first batch of data x (B, *spec.shape); called once, before training."""

    def observe(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Preprocess data for the model, such as fewer grey levels or a random binarisation.

        Bounds are on log p of the result. A second call must not change it.

        Args:
            x: Data, (B, *spec.shape).
            generator: Random generator; None uses torch's default generator.

        Returns:
            The observed data, (B, *spec.shape).
        """
        return x

    def generate(self, u: Tensor, *, temperature: float = 1.0) -> Generation:
        """Return z = T(u) and p(x | z) for u (B, D)."""
        walk = self.top_down(len(u), temperature=temperature)
        z = [walk.take_noise(part) for part in self.layout.split(u)]
        return Generation(z, walk.decode())

    def latents(self, u: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Return z = T(u) for u (B, D): (B, D). The walk stops at the last context; the decoder is not evaluated."""
        known = known_latents(u) if temperature == 1.0 else None
        return known if known is not None else walked(self.top_down(len(u), temperature=temperature), self.layout, u)

    def noise(self, z: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Return the inverse of T: z (B, D) -> u (B, D)."""
        walk = self.top_down(len(z), temperature=temperature)
        u = []
        for i, part in enumerate(self.layout.split(z)):
            u.append(walk.context().noise(part))
            if i + 1 < len(self.layout):
                walk.take(part)
        return self.layout.join(u)

    def elbo(self, x: Tensor, *, generator: Generator | None = None) -> Elbo | None:
        """Return a one-sample evidence lower bound on log p of the observed x (B, *spec.shape), or None if q or p(x | z) has
        no density."""
        seen = self.observe(x, generator=generator)
        posterior = self.infer(seen, generator=generator)
        if posterior.kl is None:
            return None
        likelihood = self.generate(posterior.u).likelihood
        return Elbo.of(likelihood, seen, posterior.kl) if likelihood.has_density else None

    def space(self) -> LatentSpace:
        """Return the interface for priors."""
        return LatentSpace(self.layout, self.latents, self.top_down)

    @property
    def device(self) -> torch.device:
        """The device of the parameters (the CPU for a backbone without parameters)."""
        tensor = next(self.parameters(), None)
        return torch.device("cpu") if tensor is None else tensor.device
