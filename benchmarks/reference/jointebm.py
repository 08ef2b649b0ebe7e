"""JointEBM, two-stage on a frozen NVAE (Cui et al. 2023, released CelebA-HQ-256 configuration)."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.optim import Adam

from reference.frozen import held
from reference.generator import PlainGenerator

__all__ = ["JointEbmReference"]


class JointEbmReference:
    """f_i(z_i) of each layer, learnt by maximum likelihood with short-run Langevin negatives."""

    def __init__(
        self, generator: PlainGenerator, nets: Sequence[nn.Module], *, steps: int = 10, step_size: float = 1e-5
    ) -> None:
        self.generator, self.nets = generator, nets
        self.steps, self.step_size = steps, step_size
        self.optimisers = [Adam(net.parameters(), lr=2e-5, betas=(0.99, 0.999), weight_decay=3e-5) for net in nets]

    def log_density(self, u: Tensor) -> Tensor:
        """The released chain's target, (B, D) -> (B,): energies plus the density of z, where that of u belongs."""
        walked = self.generator.walk(u)
        total = -0.5 * u.square().sum(1)
        for net, z, scale in zip(self.nets, walked.z, walked.scale, strict=True):
            total = total + net(z)[:, 0] - scale.log().flatten(1).sum(1)
        return total

    def chain(self, u: Tensor, random: Generator | None) -> Tensor:
        """Langevin in u from u (B, D)."""
        for _ in range(self.steps):
            u = u.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_density(u).sum(), u)
            noise = torch.empty_like(gradient).normal_(generator=random)
            u = u.detach() + 0.5 * self.step_size * gradient + self.step_size**0.5 * noise
        return u.detach()

    def negatives(self, count: int, random: Generator | None) -> list[Tensor]:
        """z of each layer at the ends of fresh chains."""
        u = self.chain(self._noise(count, random), random)
        with torch.no_grad():
            return self.generator.walk(u).z

    def step(self, images: Tensor, random: Generator | None) -> Tensor:
        """One training step on images (B, C, H, H); the mean losses of the layers, (L,)."""
        with held(self.nets):
            negatives = self.negatives(len(images), random)
        positives = self.generator.encode(images, random)[1]
        return self.update(positives, negatives)

    def update(self, positives: list[Tensor], negatives: list[Tensor]) -> Tensor:
        """One step of every layer's optimiser."""
        losses = []
        for net, optimiser, positive, negative in zip(self.nets, self.optimisers, positives, negatives, strict=True):
            loss = net(negative).mean() - net(positive).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def sample(self, count: int, random: Generator | None) -> Tensor:
        """Images (count, C, H, H)."""
        with held(self.nets):
            u = self.chain(self._noise(count, random), random)
        return self.generator.likelihood(u).sample(random)

    def _noise(self, count: int, random: Generator | None) -> Tensor:
        like = self.generator.network.prior_ftr0
        return torch.randn(count, self.generator.layout.dim, generator=random, dtype=like.dtype, device=like.device)
