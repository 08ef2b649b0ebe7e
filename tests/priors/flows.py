"""The exact velocity of Gaussian mixtures, in place of trained networks."""

import torch
from seeding import seeded
from torch import nn

from priorkit.core import LatentSpace, Layout

WEIGHTS = (0.2, 0.5, 0.3)


def space(*sizes):
    return LatentSpace(Layout(tuple((size,) for size in sizes)), lambda u: u, lambda batch: None)


def known(dim, components=3):
    """Means (K, D) and covariances (K, D, D), float64."""
    random = seeded(dim)
    means = torch.randn(components, dim, generator=random, dtype=torch.float64)
    roots = torch.randn(components, dim, dim, generator=random, dtype=torch.float64) / dim**0.5
    return means, roots @ roots.mT + 0.3 * torch.eye(dim, dtype=torch.float64)


def log_density(u, means, covariances):
    """log p(u) - log N(u; 0, I), (N,)."""
    weights = torch.tensor(WEIGHTS[: len(means)], dtype=u.dtype)
    parts = torch.distributions.MultivariateNormal(means, covariances).log_prob(u[:, None])
    standard = torch.distributions.Normal(0, 1).log_prob(u.new_zeros(())) * u.shape[1] - 0.5 * u.square().sum(1)
    return (parts + (weights / weights.sum()).log()).logsumexp(1) - standard


class MixtureVelocity(nn.Module):
    """E[cos(a) u - sin(a) e | x] of a mixture, times sin(a) with `score`.  What it is given shifts the means by `slope`."""

    def __init__(self, means, covariances, *, score=False, slope=None):
        super().__init__()
        self.score, self.slope = score, slope
        self.register_buffer("means", means)
        self.register_buffer("covariances", covariances)

    def given(self, context):
        return None if context is None else context @ self.slope.T

    def forward(self, x, angle, given=None):
        sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
        eye = torch.eye(x.shape[1], dtype=x.dtype)
        shared = sine[..., None] ** 2 * self.covariances + cosine[..., None] ** 2 * eye
        means = self.means[None] if given is None else self.means + given[:, None]
        rest = x[:, None] - sine * means
        solved = torch.linalg.inv(shared) @ rest[..., None]
        heights = -0.5 * (rest[..., None] * solved).sum((2, 3)) - 0.5 * torch.logdet(shared)
        weights = (heights + torch.tensor(WEIGHTS[: len(self.means)], dtype=x.dtype).log()).softmax(1)
        each = cosine * means + sine * cosine * ((self.covariances - eye) @ solved)[..., 0]
        velocity = (weights[..., None] * each).sum(1)
        return velocity * sine[:, :, 0] if self.score else velocity
