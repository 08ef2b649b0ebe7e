"""Diffusion hierarchical EBM on a frozen NVAE: conditional energies of T noise levels (released CIFAR-10 code)."""

from collections.abc import Sequence

import torch
from priorkit_diffusion.energy import level_features
from priorkit_diffusion.schedule import Schedule, at_level
from torch import Generator, Tensor, nn
from torch.optim import Adam

from reference.frozen import held
from reference.generator import PlainGenerator

__all__ = ["DiffusionReference"]


class DiffusionReference:
    """f_i(z_i, t) of each layer; the networks take z_i and the sinusoids of t and give s_t times the energy."""

    def __init__(
        self, generator: PlainGenerator, nets: Sequence[nn.Module], *, levels: int = 3, steps: int = 50, base: float = 3e-5
    ) -> None:
        self.generator, self.nets, self.steps = generator, nets, steps
        self.schedule = Schedule.of(levels)
        self.sizes = self.schedule.step_sizes(base)
        self.optimisers = [Adam(net.parameters(), lr=4e-5, betas=(0.99, 0.999), weight_decay=3e-5) for net in nets]

    def outputs(self, z: Sequence[Tensor], level: Tensor) -> list[Tensor]:
        """The networks' outputs (B,) of each layer at levels (B,)."""
        features = level_features(level).to(z[0].dtype)
        return [net(part, features)[:, 0] for net, part in zip(self.nets, z, strict=True)]

    def gradient(self, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
        """s_t times the gradient of log p(u_t | v), (B, D): autograd goes through the kernel, too."""
        u = u.detach().requires_grad_()
        a, sigma = self.schedule.a.to(u)[level + 1][:, None], self.schedule.sigma.to(u)[level + 1][:, None]
        kernel = torch.where(level[:, None] == self.schedule.levels - 1, 0.0, (a * u - v) / sigma).square().sum(1)
        outputs = self.outputs(self.generator.walk(u).z, level)
        total = torch.stack(outputs).sum(0) - 0.5 * self.sizes.to(u)[level] * (kernel + u.square().sum(1))
        (gradient,) = torch.autograd.grad(total.sum(), u)
        return gradient

    def chain(self, v: Tensor, level: Tensor, random: Generator | None) -> Tensor:
        """Langevin on p(u_t | v) from v (B, D), rows at levels (B,)."""
        u, size = v, self.sizes.to(v)[level][:, None]
        for _ in range(self.steps):
            gradient = self.gradient(u, v, level)
            noise = torch.empty_like(gradient).normal_(generator=random)
            u = u.detach() + 0.5 * gradient + size.sqrt() * noise
        return u.detach()

    def step(self, images: Tensor, random: Generator | None) -> Tensor:
        """One training step on images (B, C, H, H); the losses of the layers, (L,)."""
        u = self.generator.encode(images, random)[0]
        level = torch.randint(self.schedule.levels, (len(u),), generator=random, device=u.device)
        positive = self.schedule.noised(u, level, random)
        v = self.schedule.above(positive, level, random)
        with held(self.nets):
            negative = self.chain(v, level, random)
        with torch.no_grad():
            z_positive, z_negative = self.generator.walk(positive).z, self.generator.walk(negative).z
        return self.update(z_positive, z_negative, level)

    def update(self, positives: list[Tensor], negatives: list[Tensor], level: Tensor) -> Tensor:
        """One step of every layer's optimiser."""
        size, losses = self.sizes.to(positives[0])[level], []
        above, below = self.outputs(positives, level), self.outputs(negatives, level)
        for optimiser, positive, negative in zip(self.optimisers, above, below, strict=True):
            loss = ((negative - positive) / size).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def sample(self, count: int, random: Generator | None) -> Tensor:
        """Images (count, C, H, H) by a chain per level."""
        like = self.generator.network.prior_ftr0
        v = torch.randn(count, self.generator.layout.dim, generator=random, dtype=like.dtype, device=like.device)
        with held(self.nets):
            for t in reversed(range(self.schedule.levels)):
                v = self.chain(v, at_level(v, t), random)
        return self.generator.likelihood(v).sample(random)
