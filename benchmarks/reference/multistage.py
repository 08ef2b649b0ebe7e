"""Multi-stage density ratios on a frozen NVAE: fresh negatives of the stages before, by Langevin, at every step."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from reference.frozen import held
from reference.generator import PlainGenerator

__all__ = ["MultistageReference"]


class MultistageReference:
    """l_{m,i}(z_i) of each stage and layer; the last of the given stages learns, those before it are frozen."""

    def __init__(
        self, generator: PlainGenerator, stages: Sequence[Sequence[nn.Module]], *, steps: int = 10, step_size: float = 1e-5
    ) -> None:
        self.generator, self.stages = generator, stages
        self.steps, self.step_size = steps, step_size
        self.optimisers = [Adam(net.parameters(), lr=4e-5, betas=(0.99, 0.999), weight_decay=3e-5) for net in stages[-1]]

    def log_density(self, u: Tensor, stages: int) -> Tensor:
        """Sum of the first `stages` stages' log ratios and log N(u; 0, I), (B, D) -> (B,)."""
        z = self.generator.walk(u).z
        total = -0.5 * u.square().sum(1)
        for nets in self.stages[:stages]:
            for net, part in zip(nets, z, strict=True):
                total = total + net(part)[:, 0]
        return total

    def chain(self, count: int, stages: int, random: Generator | None) -> Tensor:
        """`count` chains on the density after `stages` stages, from N(0, I)."""
        like = self.generator.network.prior_ftr0
        u = torch.randn(count, self.generator.layout.dim, generator=random, dtype=like.dtype, device=like.device)
        for _ in range(self.steps if stages else 0):
            u = u.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_density(u, stages).sum(), u)
            noise = torch.empty_like(gradient).normal_(generator=random)
            u = u.detach() + 0.5 * self.step_size * gradient + self.step_size**0.5 * noise
        return u.detach()

    def step(self, images: Tensor, random: Generator | None) -> Tensor:
        """One training step of the last stage on images (B, C, H, H); the losses of the layers, (L,)."""
        before = len(self.stages) - 1
        with held([net for nets in self.stages[:before] for net in nets]):
            u = self.chain(len(images), before, random)
        with torch.no_grad():
            negatives = self.generator.walk(u).z
        return self.update(self.generator.encode(images, random)[1], negatives)

    def update(self, positives: list[Tensor], negatives: list[Tensor]) -> Tensor:
        """One step of every layer's optimiser."""
        losses = []
        for net, optimiser, positive, negative in zip(self.stages[-1], self.optimisers, positives, negatives, strict=True):
            loss = softplus(-net(positive)).mean() + softplus(net(negative)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def sample(self, count: int, random: Generator | None) -> Tensor:
        """Images (count, C, H, H) by one chain on all stages."""
        with held([net for nets in self.stages for net in nets]):
            u = self.chain(count, len(self.stages), random)
        return self.generator.likelihood(u).sample(random)
