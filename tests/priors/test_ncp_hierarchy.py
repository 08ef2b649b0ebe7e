"""A hierarchy of two layers in which all is linear and Gaussian, so that every ratio is known in closed form."""

import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from priorkit.core import Context, LatentSpace, Layout, TopDown

LAYOUT = Layout(((1,), (2,)))
SLOPE = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
SCALE = torch.tensor([0.5, 2.0], dtype=torch.float64)


class Walk(TopDown):
    """z_0 = u_0, z_1 = z_0 SLOPE + SCALE u_1; the features before the bottom layer are 3 z_0."""

    def __init__(self, batch):
        self.batch, self.z = batch, None

    def context(self):
        if self.z is None:
            zeros = torch.zeros(self.batch, 1, dtype=torch.float64)
            return Context(zeros, zeros + 1, None)
        return Context(self.z @ SLOPE, SCALE.expand(self.batch, 2), 3 * self.z)

    def take(self, z):
        self.z = z

    def decode(self):
        raise AssertionError("a prior never decodes")


def latents(u):
    return torch.cat([u[:, :1], u[:, :1] @ SLOPE + SCALE * u[:, 1:]], dim=1)


def space():
    return LatentSpace(LAYOUT, latents, Walk)


def aggregated_posterior():
    """That of the model u ~ N(0, I), x = B u + noise, for data x ~ N(m, C) which do not follow it: N(K m, S + K C K^T)."""
    maps = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.8, -0.6]], dtype=torch.float64)
    noise = 0.5 * torch.eye(2, dtype=torch.float64)
    gain = maps.T @ torch.linalg.inv(maps @ maps.T + noise)
    posterior = torch.eye(3, dtype=torch.float64) - gain @ maps
    mean, spread = torch.tensor([0.8, -0.5]).double(), torch.tensor([[1.2, 0.3], [0.3, 0.5]]).double()
    return MultivariateNormal(gain @ mean, posterior + gain @ spread @ gain.T)


class Quadratic(nn.Module):
    """x (B, N, d), context (B, c) -> (B, N): v Q v + q v + b of v = (context, x)."""

    def __init__(self, matrix, vector, constant):
        super().__init__()
        self.matrix, self.vector, self.constant = (nn.Parameter(part.clone()) for part in (matrix, vector, constant))

    def given(self, context):
        return context

    def forward(self, x, context=None):
        return self.logits(x, context)

    def logits(self, x, context):
        if context is not None:
            x = torch.cat([context[:, None].expand(-1, x.shape[1], -1), x], dim=2)
        return torch.einsum("bni,ij,bnj->bn", x, self.matrix, x) + x @ self.vector + self.constant


def zero(dim):
    return Quadratic(torch.zeros(dim, dim).double(), torch.zeros(dim).double(), torch.zeros(()).double())


def log_joint(joint, dim):
    """The marginal of the first columns as a quadratic form: matrix, vector, constant of its log density."""
    precision = torch.linalg.inv(joint.covariance_matrix[:dim, :dim])
    mean = joint.mean[:dim]
    constant = MultivariateNormal(mean, precision_matrix=precision).log_prob(torch.zeros(dim).double())
    return -precision / 2, precision @ mean, constant


def true_classifiers(joint):
    """log q(u_0) / N(u_0) and log q(u_1 | u_0) / N(u_1), of u and of the context u_<i."""
    found, upper = [], (torch.zeros(0, 0).double(), torch.zeros(0).double(), torch.zeros(()).double())
    for first, last in ((0, 1), (1, 3)):
        matrix, vector, constant = log_joint(joint, last)
        own = torch.cat([torch.zeros(first), torch.ones(last - first)]).double()
        matrix = matrix + torch.diag(own) / 2
        matrix[:first, :first] -= upper[0]
        vector = vector - torch.cat([upper[1], torch.zeros(last - first)])
        log_two_pi = torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
        found.append(Quadratic(matrix, vector, constant - upper[2] + (last - first) * log_two_pi / 2))
        upper = log_joint(joint, last)
    return nn.ModuleList(found)


def test_the_hierarchy_agrees_with_itself():
    u = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    walk = Walk(5)
    walked = torch.cat([walk.take_noise(part) for part in LAYOUT.split(u)], dim=1)
    torch.testing.assert_close(walked, latents(u))


def test_the_true_classifiers_are_log_ratios_of_conditionals():
    """Against q(u_1 | u_0) by the formula for Gaussian conditionals, which `true_classifiers` does not use."""
    joint = aggregated_posterior()
    u, covariance = joint.sample((7,)), joint.covariance_matrix
    gain = covariance[1:, :1] / covariance[0, 0]
    conditional = MultivariateNormal(
        joint.mean[1:] + (u[:, :1] - joint.mean[0]) @ gain.T, covariance[1:, 1:] - gain @ covariance[:1, 1:]
    )
    top = Normal(joint.mean[0], covariance[0, 0].sqrt())
    standard = Normal(0.0, 1.0)
    upper, lower = true_classifiers(joint)
    torch.testing.assert_close(
        upper(u[:, None, :1])[:, 0], top.log_prob(u[:, 0]) - standard.log_prob(u[:, 0]), check_dtype=False
    )
    expected = conditional.log_prob(u[:, 1:]) - standard.log_prob(u[:, 1:]).sum(1)
    torch.testing.assert_close(lower(u[:, None, 1:], u[:, :1])[:, 0], expected)
