"""The generator's gradient by Fisher's identity against that of the exact evidence of a linear-Gaussian model."""

import pytest
import torch
from linear_gaussian import LinearGenerator, Quadratic, evidence, moments, observed, points, posterior
from priorkit_joint.losses import Batch, GeneratorLoss


def model(reads, scale=0.4):
    backbone = LinearGenerator()
    return backbone, None if reads is None else Quadratic(backbone.space(), reads, scale=scale)


def gradients(backbone, value):
    backbone.zero_grad()
    value.backward()
    return {name: parameter.grad.clone() for name, parameter in backbone.named_parameters()}


def batch_of(backbone, prior, x, space, *, negatives):
    """Points with the exact moments of p(. | x) and p(.): every term of the loss is quadratic in them, so that its mean is
    the expectation without Monte-Carlo error."""
    with torch.no_grad():
        means, precision = posterior(backbone, prior, x)
        covariance = torch.linalg.inv(precision)
        u = torch.cat([points(mean, covariance) for mean in means])
        mean, precision = moments(backbone, prior)
        prior_u = points(mean, torch.linalg.inv(precision))
        move = backbone.m().T if space == "z" else torch.eye(5).double()
        return Batch(x.repeat_interleave(10, 0), None, u @ move, prior_u @ move if negatives else None)


@pytest.mark.parametrize("space", ["u", "z"])
@pytest.mark.parametrize("reads", [None, "u", "z"])
def test_the_gradient_is_that_of_the_evidence(reads, space):
    backbone, prior = model(reads)
    x = observed(3)
    exact = gradients(backbone, -evidence(backbone, prior, x).mean())
    # Z depends on the generator only through an energy that reads z.
    batch = batch_of(backbone, prior, x, space, negatives=reads == "z")
    found = gradients(backbone, GeneratorLoss(backbone, prior, space).of_chain(batch).value)
    for name, gradient in exact.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("space", ["u", "z"])
def test_without_prior_samples_the_layers_learn_the_wrong_thing(space):
    """Fails without: eq. 11 of the multi-stage paper has no term of log Z."""
    backbone, prior = model("z")
    x = observed(3)
    exact = gradients(backbone, -evidence(backbone, prior, x).mean())
    batch = batch_of(backbone, prior, x, space, negatives=False)
    found = gradients(backbone, GeneratorLoss(backbone, prior, space).of_chain(batch).value)
    assert (found["a"] - exact["a"]).abs().max() > 0.05 * exact["a"].abs().max()
    torch.testing.assert_close(found["c"], exact["c"])  # the decoder is not in log Z


def test_the_prior_gets_no_gradient():
    backbone, prior = model("z")
    batch = batch_of(backbone, prior, observed(3), "u", negatives=True)
    GeneratorLoss(backbone, prior).of_chain(batch).value.backward()
    assert all(p.requires_grad and p.grad is None for p in prior.parameters())


@pytest.mark.parametrize("reads", ["u", "z"])
def test_the_bound_and_its_gradient(reads):
    r"""For q = N(m(x), diag d^2) the bound is known: its gradient with respect to generator and q against autograd's.

    E_q of a quadratic is its value at q's moments; 200,000 draws, tolerance 5 standard errors as measured by halves.
    """
    backbone, prior = model(reads)
    x = observed(1)
    mean = torch.nn.Parameter(torch.tensor([0.3, -0.2, 0.5, 0.1, -0.4], dtype=torch.float64))
    log_d = torch.nn.Parameter(torch.full((5,), -0.7, dtype=torch.float64))
    backbone.q = lambda data: (mean.expand(len(data), -1), log_d.exp().diag())
    backbone.mean, backbone.log_d = mean, log_d

    def exact():
        u = points(mean, (2 * log_d).exp().diag())
        log_px = backbone.generate(u).likelihood.log_prob(x.expand(10, -1)).mean()
        kl = 0.5 * (mean.square() + (2 * log_d).exp() - 1 - 2 * log_d).sum()
        centre, precision = moments(backbone, prior)
        log_z = 0.5 * (centre @ precision @ centre - torch.linalg.slogdet(precision)[1])
        return -(log_px - kl + prior.log_ratio(u).mean() - log_z)

    assert -exact() < evidence(backbone, prior, x).mean()
    wanted = gradients(backbone, exact())
    centre, precision = (part.detach() for part in moments(backbone, prior))
    negative = points(centre, torch.linalg.inv(precision)) if reads == "z" else None
    halves = []
    for seed in range(8):
        batch = Batch(x.expand(25_000, -1), None, None, negative)
        value = GeneratorLoss(backbone, prior).of_bound(batch, 1.0, torch.Generator().manual_seed(seed)).value
        halves.append(gradients(backbone, value))
    for name, gradient in wanted.items():
        found = torch.stack([half[name] for half in halves])
        error = found.std(0) / len(halves) ** 0.5
        # Student's t with 7 degrees of freedom: 8 standard errors are exceeded once in 10,000.
        assert ((found.mean(0) - gradient).abs() < 8 * error + 1e-9).all(), name
