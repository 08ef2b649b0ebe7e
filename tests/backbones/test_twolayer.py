"""The chain of vector latents: its invariants, its KL and its bounds, without training."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_twolayer import TwoLayer, TwoLayerSettings
from priorkit_twolayer.perceptron import Conditional
from torch import nn

from priorkit.core import DataSpec, Step
from priorkit.errors import UsageError

DIGITS = DataSpec("digits", (1, 8, 8), 17)
POINTS = DataSpec("toy", (2,), None)


def model(latents=(3, 4), *, spec=DIGITS, seed=0, **options):
    """A random model in double precision, with weights large enough that nothing is nearly linear or nearly constant."""
    torch.manual_seed(seed)
    options = {"hidden": 16, "depth": 1, "width": 4, "likelihood": "logistic-mixture", **options}
    backbone = TwoLayer(TwoLayerSettings(latents=latents, **options), spec).double()
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "head" in name:
                parameter.mul_(2)
    return backbone.eval().requires_grad_(False)


def digits(count, seed=0):
    return torch.randint(0, 17, (count, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).double() / 16


def rng(seed):
    return torch.Generator().manual_seed(seed)


chains = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
directions = st.sampled_from(["top-down", "bottom-up"])


@settings(max_examples=20, deadline=None)
@given(latents=chains, inference=directions, batch=st.integers(1, 7), temperature=st.sampled_from([1.0, 0.6]))
def test_walk_generate_and_inverse_agree(latents, inference, batch, temperature):
    backbone = model(latents, inference=inference)
    u = torch.randn(batch, sum(latents), generator=rng(1), dtype=torch.float64)
    generation = backbone.generate(u, temperature=temperature)
    walk = backbone.top_down(batch, temperature=temperature)
    for part, z in zip(backbone.layout.split(u), generation.z, strict=True):
        context = walk.context()
        assert walk.context() is context
        assert torch.equal(walk.take_noise(part), z)
    assert torch.equal(walk.decode().mean, generation.likelihood.mean)
    z = backbone.latents(u, temperature=temperature)
    assert torch.equal(z, backbone.layout.join(generation.z))
    assert torch.allclose(backbone.noise(z, temperature=temperature), u, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(latents=chains, inference=directions, batch=st.integers(1, 7))
def test_shapes_and_the_elbo_from_its_parts(latents, inference, batch):
    backbone, x = model(latents, inference=inference), digits(batch)
    posterior = backbone.infer(x, generator=rng(2))
    assert posterior.u.shape == (batch, sum(latents))
    assert posterior.kl.shape == (batch, len(latents)) and posterior.log_ratio.shape == (batch,)
    elbo = backbone.elbo(x, generator=rng(2))
    # The inference of the bottom-up kind fixes z, generate recomputes it from u: equal up to rounding.
    assert torch.allclose(elbo.log_px, backbone.generate(posterior.u).likelihood.log_prob(x), rtol=1e-8)
    assert torch.equal(elbo.kl, posterior.kl)


@settings(max_examples=15, deadline=None)
@given(latents=chains)
def test_rows_do_not_depend_on_each_other(latents):
    backbone, u = model(latents), torch.randn(6, sum(latents), generator=rng(3), dtype=torch.float64)
    whole = backbone.generate(u).likelihood.log_prob(digits(6))
    rows = torch.cat([backbone.generate(u[i : i + 1]).likelihood.log_prob(digits(6)[i : i + 1]) for i in range(6)])
    assert torch.allclose(whole, rows)


@pytest.mark.parametrize("latents", [(4,), (3, 4), (2, 3, 4)])
def test_top_down_log_ratio_is_log_q_minus_log_prior(latents):
    """In z, by torch.distributions: log q(z | x) - log p(z)."""
    backbone, x = model(latents), digits(5)
    posterior = backbone.infer(x, generator=rng(4))
    log_q = log_p = torch.zeros(5, dtype=torch.float64)
    given_above = backbone.inference.encoder(x)
    features, z = given_above, None
    for i, u in enumerate(backbone.layout.split(posterior.u)):
        prior = None if i == 0 else backbone.conditionals[i - 1](z)
        mean, scale = (torch.zeros_like(u), torch.ones_like(u)) if prior is None else (prior.mean, prior.scale)
        q = backbone.inference.layers[i](given_above)
        z = mean + scale * u
        log_p = log_p + torch.distributions.Normal(mean, scale).log_prob(z).sum(1)
        log_q = log_q + torch.distributions.Normal(q.mean, q.scale).log_prob(z).sum(1)
        given_above = torch.cat([features, z], dim=1)
    assert torch.allclose(posterior.log_ratio, log_q - log_p, atol=1e-8)


@pytest.mark.parametrize("latents", [(4,), (3, 4), (2, 3, 4)])
def test_bottom_up_log_ratio_is_log_q_minus_log_prior(latents):
    backbone, x = model(latents, inference="bottom-up"), digits(5)
    posterior = backbone.infer(x, generator=rng(5))
    z = backbone.layout.split(backbone.latents(posterior.u))
    log_q = log_p = torch.zeros(5, dtype=torch.float64)
    below = backbone.inference.encoder(x)
    for layer, value in zip(backbone.inference.layers, z[::-1], strict=True):
        q = layer(below)
        log_q = log_q + torch.distributions.Normal(q.mean, q.scale).log_prob(value).sum(1)
        below = value
    for i, value in enumerate(z):
        prior = None if i == 0 else backbone.conditionals[i - 1](z[i - 1])
        normal = (
            torch.distributions.Normal(0.0, 1.0) if prior is None else torch.distributions.Normal(prior.mean, prior.scale)
        )
        log_p = log_p + normal.log_prob(value).sum(1)
    assert torch.allclose(posterior.log_ratio, log_q - log_p, atol=1e-7)


@pytest.mark.parametrize("inference", ["top-down", "bottom-up"])
@pytest.mark.parametrize("latents", [(4,), (3, 4), (2, 3, 4)])
def test_kl_is_the_mean_of_the_log_ratio(latents, inference):
    """Both are estimates of KL(q(z | x) || p(z)) from the same draws; their difference has mean 0."""
    backbone, x = model(latents, inference=inference), digits(1).expand(20_000, 1, 8, 8)
    posterior = backbone.infer(x, generator=rng(6))
    difference = posterior.log_ratio - posterior.kl.sum(1)
    # Five standard errors of the mean of 20,000 draws; the floor is for L = 1 bottom-up and rounding.
    assert abs(difference.mean().item()) <= 5 * difference.std().item() / math.sqrt(20_000) + 1e-9
    if inference == "top-down":
        assert (posterior.kl >= 0).all()


def test_top_down_kl_of_each_layer_is_that_of_torch():
    """Given the layers above, the layer's KL is KL(N(m, s) || N(mu, sigma)) in z."""
    backbone, x = model((2, 3)), digits(3)
    posterior = backbone.infer(x, generator=rng(7))
    top, _ = backbone.layout.split(backbone.latents(posterior.u))
    features, below = backbone.inference.encoder(x), backbone.conditionals[0](top)
    standard = torch.distributions.Normal(torch.zeros_like(top), 1.0)
    for i, (condition, prior) in enumerate(
        [(features, standard), (torch.cat([features, top], 1), torch.distributions.Normal(below.mean, below.scale))]
    ):
        q = backbone.inference.layers[i](condition)
        exact = torch.distributions.kl_divergence(torch.distributions.Normal(q.mean, q.scale), prior).sum(1)
        assert torch.allclose(posterior.kl[:, i], exact, atol=1e-9)


@pytest.mark.parametrize("inference", ["top-down", "bottom-up"])
def test_prior_samples_are_standard_normal_noise(inference):
    """Ancestral z, drawn layer by layer from the contexts by torch.distributions, comes back as N(0, I)."""
    torch.manual_seed(8)
    backbone, count = model((2, 3, 2), inference=inference), 20_000
    walk, z = backbone.top_down(count), []
    for _ in range(3):
        context = walk.context()
        z.append(torch.distributions.Normal(context.mean, context.scale).sample())
        walk.take(z[-1])
    u = backbone.noise(backbone.layout.join(z))
    # Standard errors 1 / sqrt(20000) = 0.007 of means and correlations, 0.010 of variances; five of them.
    assert u.mean(0).abs().max() < 0.035
    assert torch.allclose(u.T.cov(), torch.eye(7, dtype=torch.float64), atol=0.05)


@pytest.mark.parametrize("inference", ["top-down", "bottom-up"])
def test_elbo_lies_below_the_importance_weighted_bound(inference):
    """E log mean w >= E log w (Burda et al. 2016), with a gap that many standard errors show."""
    backbone, x = model((2, 3), inference=inference), digits(4)
    repeats, k = 100, 16
    many = x.repeat_interleave(repeats * k, 0)
    posterior = backbone.infer(many, generator=rng(9))
    log_w = (backbone.generate(posterior.u).likelihood.log_prob(many) - posterior.log_ratio).view(4, repeats, k)
    elbo, bound = log_w.mean((1, 2)), (log_w.logsumexp(2) - math.log(k)).mean(1)
    assert (bound > elbo).all()
    value = backbone.elbo(many, generator=rng(10)).value.view(4, -1)
    # The analytic KL and the sampled log ratio give the same bound: five standard errors of both.
    error = (value.var(1) / value.shape[1] + log_w.flatten(1).var(1) / log_w[0].numel()).sqrt()
    assert ((value.mean(1) - elbo).abs() < 5 * error).all()


def _linear_gaussian():
    """z_0 ~ N(0, I), z_1 = A z_0 + sd e, x = C z_1 + sigma e: all networks linear, q the exact posterior."""
    backbone = model((1, 2), spec=POINTS, likelihood="fixed-normal", sigma=0.5, inference="bottom-up", depth=1, hidden=2)
    a, c = torch.tensor([[0.9], [-0.4]]).double(), torch.tensor([[1.0, 0.3], [-0.2, 0.8]]).double()
    deviation = 0.7
    covariance = a @ a.T + deviation**2 * torch.eye(2).double()
    gram = torch.linalg.inv(torch.linalg.inv(covariance) + c.T @ c / 0.25)
    backbone.decoder.net = nn.Sequential(_linear(c))
    backbone.conditionals[0] = _conditional(a, torch.full((2,), deviation).double())
    backbone.inference.encoder = nn.Identity()
    return backbone, a, c, covariance, gram


def _linear(matrix):
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False).double()
    layer.weight = nn.Parameter(matrix, requires_grad=False)
    return layer


def _conditional(matrix, scale):
    outputs, inputs = matrix.shape
    conditional = Conditional(inputs, outputs, hidden=inputs, depth=1).double()
    conditional.body = nn.Identity()
    head = torch.cat([matrix, torch.zeros_like(matrix)])
    conditional.head.weight = nn.Parameter(head, requires_grad=False)
    conditional.head.bias = nn.Parameter(
        torch.cat([torch.zeros(outputs), (scale - 0.01).log()]).double(), requires_grad=False
    )
    return conditional


def test_linear_gaussian_evidence_by_importance_weights():
    """log p(x) is N(0, C S C' + sigma^2 I); weights of a factorised q near the posterior average to it."""
    backbone, a, c, covariance, gram = _linear_gaussian()
    upward = torch.linalg.inv(1 + a.T @ a / 0.49)
    backbone.inference.layers[0] = _conditional(gram @ c.T / 0.25, 1.3 * gram.diagonal().sqrt())
    backbone.inference.layers[1] = _conditional(upward @ a.T / 0.49, upward.diagonal().sqrt())
    x = torch.tensor([[0.5, -1.0], [1.5, 0.2]]).double()
    exact = torch.distributions.MultivariateNormal(
        torch.zeros(2).double(), c @ covariance @ c.T + 0.25 * torch.eye(2).double()
    ).log_prob(x)
    many = x.repeat_interleave(50_000, 0)
    posterior = backbone.infer(many, generator=rng(11))
    log_w = (backbone.generate(posterior.u).likelihood.log_prob(many) - posterior.log_ratio).view(2, -1)
    estimate = log_w.logsumexp(1) - math.log(50_000)
    # Weights are bounded-variance (q is wider than the posterior): relative error about 1 / sqrt(50000) = 0.5 %.
    assert torch.allclose(estimate, exact, atol=0.03)
    assert (backbone.elbo(many, generator=rng(12)).value.view(2, -1).mean(1) < exact).all()


@pytest.mark.parametrize(
    ("shape", "kind", "likelihood"),
    [
        ((1, 28, 28), "auto", "bernoulli"),
        ((3, 32, 32), "dcgan8", "fixed-normal"),
        ((3, 32, 32), "dcgan", "logistic-mixture"),
        ((3, 64, 64), "dcgan", "fixed-normal"),
        ((1, 8, 8), "dcgan8", "bernoulli"),
        ((1, 4, 4), "dcgan", "bernoulli"),
        ((1, 5, 7), "dense", "logistic-mixture"),
    ],
)
def test_pictures_of_every_size(shape, kind, likelihood):
    spec = DataSpec("pictures", shape, 256)
    backbone = model((2, 3), spec=spec, decoder=kind, likelihood=likelihood)
    x = torch.randint(0, 256, (2, *shape), generator=rng(13)).double() / 255
    elbo = backbone.elbo(x, generator=rng(14))
    assert elbo.value.isfinite().all()
    drawn = backbone.generate(torch.zeros(2, 5).double()).likelihood
    assert drawn.mean.shape == x.shape and drawn.sample(rng(15)).shape == x.shape


@pytest.mark.parametrize(
    ("kind", "latents", "width", "millions"), [("dcgan8", (100, 128), 128, 19.0), ("dcgan", (100, 100), 64, None)]
)
def test_the_papers_networks(kind, latents, width, millions):
    """JointEBM gives 19.0 M parameters for generator and conditional prior together."""
    depth = {"hidden": 200, "depth": 4}
    spec = DataSpec("cifar10", (3, 32, 32), 256)
    backbone = TwoLayer(
        TwoLayerSettings(
            latents=latents, decoder=kind, width=width, likelihood="fixed-normal", inference="bottom-up", **depth
        ),
        spec,
    )
    channels = [layer.out_channels for layer in backbone.decoder.net if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert channels == ([1024, 512, 256, 3] if kind == "dcgan8" else [512, 256, 128, 3])
    if millions:
        count = sum(p.numel() for part in (backbone.decoder, backbone.conditionals) for p in part.parameters())
        assert count / 1e6 == pytest.approx(millions, abs=0.1)


def test_scale_never_overflows_nor_vanishes():
    conditional = Conditional(1, 2, hidden=4, depth=1)
    nn.init.constant_(conditional.head.bias, 1e4)
    assert conditional(torch.zeros(1, 1)).scale.isfinite().all()
    nn.init.constant_(conditional.head.bias, -1e4)
    assert torch.allclose(conditional(torch.zeros(1, 1)).scale, torch.tensor(0.01))


@pytest.mark.parametrize("inference", ["top-down", "bottom-up"])
def test_the_loss_reaches_every_parameter_and_falls(inference):
    torch.manual_seed(0)
    backbone = TwoLayer(TwoLayerSettings(latents=(2, 3), hidden=32, warmup=0.0, inference=inference), DIGITS)
    (objective,) = backbone.objectives()
    optimiser = torch.optim.Adam(objective.parameters, lr=3e-3)
    x, losses = (digits(8) * 0.2).mul(16).round().div(16).float(), []
    for index in range(40):
        loss = objective.loss(x, Step(index, 40, rng(index)))
        optimiser.zero_grad()
        loss.value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters)
        optimiser.step()
        losses.append(loss.value.item())
    assert losses[-1] < 0.8 * losses[0]
    assert loss.metrics["kl"].shape == (2,) and not any(value.requires_grad for value in loss.metrics.values())


def test_warm_up_and_free_bits_weigh_the_kl():
    backbone, x = model((2, 3), warmup=0.5, free_bits=0.0), digits(8)
    elbo = backbone.elbo(x, generator=rng(16))
    kl, log_px = elbo.kl.mean(0), elbo.log_px.mean()
    for index, beta in ((0, 0.02), (24, 0.5), (49, 1.0), (99, 1.0)):
        loss = backbone.objectives()[0].loss(x, Step(index, 100, rng(16)))
        assert loss.value.item() == pytest.approx((beta * kl.sum() - log_px).item(), rel=1e-9)
    free = model((2, 3), warmup=0.0, free_bits=kl.max().item() + 1)
    loss = free.objectives()[0].loss(x, Step(0, 100, rng(16)))
    assert loss.value.item() == pytest.approx((2 * (kl.max().item() + 1) - log_px).item(), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "spec", "word"),
    [
        ({}, POINTS, "likelihood"),
        ({"likelihood": "fixed-normal", "decoder": "dcgan"}, POINTS, "decoder"),
        ({}, DataSpec("continuous", (1, 8, 8), None), "grey levels"),
        ({"decoder": "dcgan"}, DataSpec("odd", (1, 9, 9), 17), "even"),
        ({"decoder": "dcgan"}, DataSpec("oblong", (1, 8, 12), 17), "square"),
    ],
)
def test_options_that_do_not_fit_the_data_are_explained(options, spec, word):
    with pytest.raises(UsageError, match=word):
        model(spec=spec, **options)


def test_saved_weights_give_the_same_model():
    backbone, other = model(seed=1), model(seed=2)
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(backbone.infer(digits(3), generator=rng(17)).u, other.infer(digits(3), generator=rng(17)).u)


@pytest.mark.parametrize("decoder", ["dense", "dcgan8"])
@pytest.mark.parametrize("inference", ["top-down", "bottom-up"])
def test_under_bf16_the_bound_is_nearly_that_of_float32(decoder, inference):
    """bf16 keeps 8 bits: the hidden layers' rounding may move the bound by 2 %; means, scales and densities stay float32."""
    backbone = model((3, 4), decoder=decoder, inference=inference).float()
    x = digits(64).float()
    exact = backbone.elbo(x, generator=rng(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = backbone.elbo(x, generator=rng(1))
        posterior, generation = backbone.infer(x, generator=rng(1)), backbone.generate(torch.randn(3, 7))
    for part in (rounded.log_px, rounded.kl, posterior.u, posterior.log_ratio, generation.z[-1], generation.likelihood.mean):
        assert part.dtype == torch.float32
    assert rounded.value.mean().item() == pytest.approx(exact.value.mean().item(), rel=0.02)
    # Float32 by more than its type: what a layer in bf16 gives survives this rounding.
    logits = generation.likelihood.mixture
    assert not torch.equal(logits, logits.bfloat16().float())
