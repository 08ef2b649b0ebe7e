r"""The generator with its Gaussian top-down prior, seen from u-space.

Layers i = 0 (top) ... L-1 (bottom), :math:`p(z_i \mid z_{<i}) = N(\mu_i(z_{<i}), \sigma_i(z_{<i})^2)`, decoder
:math:`p(x \mid z)`.  With :math:`z_i = \mu_i + \sigma_i u_i` the map :math:`z = T(u)` is invertible and
:math:`u \sim N(0, I)` under the Gaussian prior.  All layers of u lie in one tensor (B, D), cut by `layout`.

A backbone gives one walk down its hierarchy (`top_down`) and one inference (`infer`); T, its inverse and the decoder
are that walk, taken with different questions.  It does not know that priors exist.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from priorkit.core.data_spec import DataSpec
from priorkit.core.layout import Layout
from priorkit.core.likelihood import Likelihood
from priorkit.core.objective import Objective
from priorkit.core.settings import Settings

__all__ = ["Backbone", "Context", "Elbo", "Generation", "LatentSpace", "Posterior", "TopDown"]


@dataclass(frozen=True)
class Posterior:
    """One sample of q(u | x) for each x.  Without a density q (a point mass), `kl` and `log_ratio` are None."""

    u: Tensor
    """(B, D)."""
    kl: Tensor | None
    """KL(q || p0) of each layer in nats, (B, L): analytic where it can be, else the Monte-Carlo value of this sample."""
    log_ratio: Tensor | None
    """log q(u | x) - log p0(u) of this sample, (B,)."""
    mean: Tensor | None = None
    """(B, D).  Where q(u_i | x, u_<i) is a diagonal Gaussian: its mean, under the layers of `u` above layer i."""
    scale: Tensor | None = None
    """(B, D), positive; the standard deviation that goes with `mean`."""


@dataclass(frozen=True)
class Context:
    """What the walk knows before layer i: z_i = mean + scale * u_i, and features of z_<i for conditional priors."""

    mean: Tensor
    """(B, *shape_i)."""
    scale: Tensor
    """(B, *shape_i), positive; the temperature is in it."""
    features: Tensor | None
    """(B, ...) deterministic features of z_<i, or None."""


@dataclass(frozen=True)
class Generation:
    """What u becomes: the latents of each layer, top first, and the distribution of x."""

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
    """The likelihood's: True where log_px is the log of a probability."""
    protocol: str
    """The likelihood's, in a few words."""

    @classmethod
    def of(cls, likelihood: Likelihood, x: Tensor, kl: Tensor) -> "Elbo":
        """The terms of data x (B, *data shape), as they were observed, under a likelihood."""
        return cls(likelihood.log_prob(x), kl, likelihood.discrete, likelihood.protocol)

    @property
    def value(self) -> Tensor:
        """(B,)."""
        return self.log_px - self.kl.sum(1)


class TopDown(ABC):
    """One walk down the hierarchy for a batch: ask for the context of a layer, give its z, go on; then decode."""

    @abstractmethod
    def context(self) -> Context:
        """The conditional prior of the next layer.  Asking twice costs nothing."""

    @abstractmethod
    def take(self, z: Tensor) -> None:
        """Fix the next layer at z (B, *shape_i) and step below it."""

    @abstractmethod
    def decode(self) -> Likelihood:
        """p(x | z), once every layer is taken."""

    def take_noise(self, u: Tensor) -> Tensor:
        """Fix the next layer by its noise u_i (B, *shape_i); gives z_i."""
        context = self.context()
        z = context.mean + context.scale * u
        self.take(z)
        return z


@dataclass(frozen=True)
class LatentSpace:
    """What a prior may see of a backbone."""

    layout: Layout
    latents: Callable[[Tensor], Tensor]
    """T: u (B, D) -> z (B, D), differentiable, without the image decoder."""
    top_down: Callable[[int], TopDown]
    """A walk for a batch of the given size."""

    def features(self, u: Tensor) -> Tensor | None:
        """The generator's features before each layer below the top, flattened and joined: (B, D) -> (B, F).  None where the
        generator offers none, or has one layer."""
        walk, found = self.top_down(len(u)), list[Tensor]()
        parts = self.layout.split(u)
        for part in parts[:-1]:
            walk.take_noise(part)
            features = walk.context().features
            if features is None:
                return None
            found.append(features.flatten(1))
        return torch.cat(found, dim=1) if found else None


class Backbone(nn.Module, ABC):
    """A hierarchical generator.  Subclasses are built as `cls(settings, spec)` and set `layout`."""

    Config: ClassVar[type[Settings]] = Settings
    layout: Layout
    settings: Settings
    spec: DataSpec

    @abstractmethod
    def top_down(self, batch: int, *, temperature: float = 1.0) -> TopDown:
        """Start a walk for `batch` samples; the temperature multiplies every conditional's scale."""

    @abstractmethod
    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Sample q(u | x) for data x of shape (B, *spec.shape)."""

    @abstractmethod
    def objectives(self) -> list[Objective]:
        """What a training step on a batch of data minimises; an empty list means there is nothing to learn."""

    def adapt(self, x: Tensor) -> None:
        """See a first batch of data (B, *spec.shape) before training, for data-dependent initial values."""

    def observe(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """What the model is told of data x (B, *spec.shape), such as fewer grey levels or a random binarisation; the bounds
        are those of log p of it.  Observing what was observed changes nothing."""
        return x

    def generate(self, u: Tensor, *, temperature: float = 1.0) -> Generation:
        """z = T(u) and p(x | z) for u of shape (B, D)."""
        walk = self.top_down(len(u), temperature=temperature)
        z = [walk.take_noise(part) for part in self.layout.split(u)]
        return Generation(z, walk.decode())

    def latents(self, u: Tensor, *, temperature: float = 1.0) -> Tensor:
        """T: u (B, D) -> z (B, D).  The walk stops at the last context: nothing below it is computed."""
        walk = self.top_down(len(u), temperature=temperature)
        z = []
        for i, part in enumerate(self.layout.split(u)):
            context = walk.context()
            z.append(context.mean + context.scale * part)
            if i + 1 < len(self.layout):
                walk.take(z[-1])
        return self.layout.join(z)

    def noise(self, z: Tensor, *, temperature: float = 1.0) -> Tensor:
        """The inverse of T: z (B, D) -> u (B, D)."""
        walk = self.top_down(len(z), temperature=temperature)
        u = []
        for i, part in enumerate(self.layout.split(z)):
            context = walk.context()
            u.append((part - context.mean) / context.scale)
            if i + 1 < len(self.layout):
                walk.take(part)
        return self.layout.join(u)

    def elbo(self, x: Tensor, *, generator: Generator | None = None) -> Elbo | None:
        """A one-sample evidence lower bound on log p of the observed x, or None where q has no density."""
        seen = self.observe(x, generator=generator)
        posterior = self.infer(seen, generator=generator)
        if posterior.kl is None:
            return None
        return Elbo.of(self.generate(posterior.u).likelihood, seen, posterior.kl)

    def space(self) -> LatentSpace:
        """What a prior may see."""
        return LatentSpace(self.layout, self.latents, self.top_down)

    @property
    def device(self) -> torch.device:
        """Where the parameters are (the CPU for a backbone without any)."""
        tensor = next(self.parameters(), None)
        return torch.device("cpu") if tensor is None else tensor.device
