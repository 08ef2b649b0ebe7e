"""JointEBM, a generator of vector latents learnt together with its prior (Cui et al. 2023, released configuration).

With `space` z as in the released code: chains on z, energies that read z, one prior chain for both gradients.  With u the
same on the noise, where the generator's gradient needs no prior chain.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from priorkit_twolayer import TwoLayer
from torch import Generator, Tensor, nn
from torch.optim import Adam

from reference.frozen import held

__all__ = ["JointReference"]


class JointReference:
    """A generator and f_i of each layer."""

    def __init__(
        self,
        network: TwoLayer,
        nets: Sequence[nn.Module],
        space: Literal["u", "z"],
        *,
        posterior: tuple[int, float],
        prior: tuple[int, float],
    ) -> None:
        """`posterior` and `prior` are the steps and step sizes of the chains."""
        self.network, self.nets, self.space = network, nets, space
        self.posterior, self.prior = posterior, prior
        self.optimiser = Adam(network.parameters(), lr=1e-4)
        self.optimisers = [Adam(net.parameters(), lr=2e-5) for net in nets]

    def normal(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The log density of a state (B, D) under the Gaussian prior up to a constant, (B,), and its bottom latent z."""
        above, *rest = torch.split(state, list(self.network.settings.latents), 1)
        total = -0.5 * above.square().sum(1)
        for conditional, part in zip(self.network.conditionals, rest, strict=True):
            given = conditional(above)
            if self.space == "z":
                total = total - 0.5 * ((part - given.mean) / given.scale).square().sum(1) - given.scale.log().sum(1)
                above = part
            else:
                total = total - 0.5 * part.square().sum(1)
                above = given.mean + given.scale * part
        return total, above

    def energy(self, state: Tensor) -> Tensor:
        """The sum of f_i, (B, D) -> (B,)."""
        parts = torch.split(state, list(self.network.settings.latents), 1)
        return torch.stack([net(part)[:, 0] for net, part in zip(self.nets, parts, strict=True)]).sum(0)

    def log_px(self, bottom: Tensor, x: Tensor) -> Tensor:
        """log p(x | z) up to a constant, of images x (B, C, H, H): (B,)."""
        crop, sigma = self.network.decoder.border, self.network.settings.sigma
        mean = torch.tanh(self.network.decoder(bottom))
        mean = mean[..., crop : mean.shape[2] - crop, crop : mean.shape[3] - crop]
        return -0.5 * ((2 * x - 1 - mean) / sigma).square().flatten(1).sum(1)

    def log_posterior(self, state: Tensor, x: Tensor) -> Tensor:
        """log p(state | x) up to a constant, (B,)."""
        normal, bottom = self.normal(state)
        return self.log_px(bottom, x) + self.energy(state) + normal

    def log_prior(self, state: Tensor) -> Tensor:
        """log p(state) up to a constant, (B,)."""
        normal = self.normal(state)[0] if self.space == "z" else -0.5 * state.square().sum(1)
        return self.energy(state) + normal

    def chain(self, x: Tensor | None, count: int, random: Generator | None) -> Tensor:
        """The ends of Langevin chains from N(0, I) on the posterior of images, or on the prior, (count, D)."""
        like = next(self.network.parameters())
        steps, size = self.prior if x is None else self.posterior
        state = torch.randn(
            count, sum(self.network.settings.latents), generator=random, dtype=like.dtype, device=like.device
        )
        for _ in range(steps):
            state = state.detach().requires_grad_()
            value = self.log_prior(state) if x is None else self.log_posterior(state, x)
            (gradient,) = torch.autograd.grad(value.sum(), state)
            noise = torch.empty_like(gradient).normal_(generator=random)
            state = state.detach() + 0.5 * size * gradient + size**0.5 * noise
        return state.detach()

    def step(self, x: Tensor, random: Generator | None) -> tuple[Tensor, Tensor]:
        """One training step on images; the losses of the generator and of the energies."""
        with held([self.network, *self.nets]):
            positives, negatives = self.chain(x, len(x), random), self.chain(None, len(x), random)
        return self.update(x, positives, negatives)

    def update(self, x: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every optimiser."""
        normal, bottom = self.normal(positives)
        loss = -self.log_px(bottom, x).mean()
        if self.space == "z":
            loss = loss - normal.mean() + self.normal(negatives)[0].mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        contrast = self.energy(negatives).mean() - self.energy(positives).mean()
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        contrast.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        return loss.detach(), contrast.detach()
