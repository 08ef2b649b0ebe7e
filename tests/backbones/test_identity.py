"""The identity backbone: an affine map and its volume, nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_identity import IdentityBackbone, IdentitySettings

from priorkit.core import DataSpec
from priorkit.errors import UsageError


def identity(shape, *, data=None, standardise=True):
    spec = DataSpec("test", shape, None if len(shape) == 1 else 256)
    backbone = IdentityBackbone(IdentitySettings(standardise=standardise), spec)
    if data is not None:
        backbone.adapt(data)
    return backbone


def points(count, shape, seed=0):
    spread = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 3 + 0.1
    return 4.0 + spread * torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed + 1))


shapes = st.one_of(st.tuples(st.integers(1, 6)), st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))


@settings(max_examples=25, deadline=None)
@given(shape=shapes, batch=st.integers(1, 7), temperature=st.sampled_from([1.0, 0.7]))
def test_invariants(shape, batch, temperature):
    x = points(32, shape)
    backbone = identity(shape, data=x)
    x = x[:batch]
    posterior = backbone.infer(x)
    assert posterior.kl is None and posterior.log_ratio is None and backbone.elbo(x) is None
    assert backbone.layout.shapes == (shape,) and backbone.objectives() == []
    u = posterior.u
    # float32: values up to about 15 survive the two affine maps to a few ulps.
    assert torch.allclose(backbone.generate(u).likelihood.mean, x, atol=1e-5)
    assert torch.allclose(
        backbone.noise(backbone.latents(u, temperature=temperature), temperature=temperature), u, atol=1e-5
    )
    generation = backbone.generate(u, temperature=temperature)
    walk = backbone.top_down(batch, temperature=temperature)
    z = walk.take_noise(backbone.layout.split(u)[0])
    assert torch.equal(z, generation.z[0])
    assert torch.equal(z.flatten(1), backbone.latents(u, temperature=temperature))
    assert torch.equal(walk.decode().mean, generation.likelihood.mean)
    assert torch.equal(generation.likelihood.sample(), generation.likelihood.mean)


def test_standardised_data_have_mean_zero_and_one_common_scale():
    x = points(500, (5,))
    u = identity((5,), data=x).infer(x).u
    assert torch.allclose(u.mean(0), torch.zeros(5), atol=1e-5)
    assert u.square().mean().item() == pytest.approx(1.0, rel=1e-5)
    ratio = u.std(0) / x.std(0)
    assert torch.allclose(ratio, ratio[0].expand(5), rtol=1e-4)


def test_log_volume_is_the_log_determinant():
    x = points(64, (3,))
    backbone = identity((3,), data=x)
    jacobian = torch.autograd.functional.jacobian(lambda u: backbone.generate(u).likelihood.mean.sum(0), torch.zeros(1, 3))
    assert backbone.log_volume.item() == pytest.approx(torch.linalg.slogdet(jacobian[:, 0]).logabsdet.item(), rel=1e-5)


def test_density_in_data_units():
    """A standard normal u is a normal x with the fitted shift and scale."""
    x = points(200, (2,))
    backbone = identity((2,), data=x)
    u = backbone.infer(x).u
    log_u = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(1)
    log_x = torch.distributions.Normal(backbone.shift, backbone.scale).log_prob(x).sum(1)
    assert torch.allclose(log_u - backbone.log_volume, log_x, atol=1e-4)


def test_without_standardising_u_is_x():
    x = points(20, (1, 2, 2))
    assert torch.equal(identity((1, 2, 2), data=x, standardise=False).infer(x).u, x.flatten(1))


def test_constant_data_keep_a_finite_map():
    u = identity((3,), data=torch.full((4, 3), 0.25)).infer(torch.full((4, 3), 0.5)).u
    assert torch.equal(u, torch.full((4, 3), 0.25))


def test_the_fitted_map_survives_saving():
    x = points(30, (4,))
    backbone, other = identity((4,), data=x), identity((4,))
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other.infer(x).u, backbone.infer(x).u)
    assert set(backbone.state_dict()) == {"shift", "scale"}


def test_likelihood_is_not_defined():
    backbone = identity((2,))
    with pytest.raises(UsageError, match="not defined"):
        backbone.generate(torch.zeros(1, 2)).likelihood.log_prob(torch.zeros(1, 2))
