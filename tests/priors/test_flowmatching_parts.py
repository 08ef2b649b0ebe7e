"""The divergence, the noise levels and the networks of flow matching."""

import math
from itertools import product

import pytest
import torch
from priorkit_flowmatching.networks import VelocityNet
from priorkit_flowmatching.ode import Probes, quadratic_forms, transported_with_forms
from priorkit_flowmatching.path import FIRST_ANGLE, Matching, Parameterisation
from priorkit_flowmatching.settings import FlowMatchingSettings, VelocitySettings
from seeding import seeded
from torch import nn

from priorkit.core import Layout
from priorkit.energies.descent import ContextShape

LEVEL = torch.tensor([0.7], dtype=torch.float64)


def network(shape, context=None):
    """Random weights everywhere, so that nothing is 0 by accident."""
    net = VelocityNet(shape, context, VelocitySettings(width=8, channels=4, depth=1)).double().eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4, generator=seeded(1))
    return net


def points(n, dim, seed=2):
    return torch.randn(n, dim, generator=seeded(seed), dtype=torch.float64)


def traces(function, x):
    """The trace of the Jacobian of each row by itself, (B,)."""
    rows = [torch.autograd.functional.jacobian(lambda y: function(y[None])[0], row) for row in x]
    return torch.stack([row.trace() for row in rows])


@pytest.mark.parametrize("shape", [(2,), (6,), (2, 2, 2), (1, 4, 4)])
def test_the_divergence_is_the_trace_of_the_jacobian(shape):
    net, size = network(shape), torch.Size(shape).numel()
    x = points(5, size)
    value, forms = quadratic_forms(lambda y: net(y, LEVEL), x, Probes.unit(x))
    assert torch.equal(value, net(x, LEVEL))
    torch.testing.assert_close(Probes.unit(x).estimates(forms)[0], traces(lambda y: net(y, LEVEL), x))


def test_the_mean_over_all_signs_is_the_divergence():
    net, x = network((4,)), points(5, 4)
    signs = Probes(torch.tensor(list(product([-1.0, 1.0], repeat=4)), dtype=torch.float64), False)
    _, forms = quadratic_forms(lambda y: net(y, LEVEL), x, signs)
    torch.testing.assert_close(signs.estimates(forms).mean(0), traces(lambda y: net(y, LEVEL), x))


def test_random_signs_are_fixed_fair_and_others_for_each_layer():
    """Of 40,000 signs the means and the correlations of two columns are within 5 / sqrt(40,000) of 0."""
    like = points(1, 3)
    drawn = Probes.signs(40_000, like).directions
    assert torch.equal(drawn.abs(), torch.ones_like(drawn)) and torch.equal(drawn, Probes.signs(40_000, like).directions)
    assert ((drawn.T @ drawn / 40_000 - torch.eye(3)).abs() < 0.025).all() and (drawn.mean(0).abs() < 0.025).all()
    assert not torch.equal(drawn, Probes.signs(40_000, like, 1).directions)


def test_the_divergence_is_integrated_by_the_trapezoid_rule():
    """Which is exact for f(x, s) = s x: the integral of s from 0 to 1, for each of three directions."""
    x = points(5, 3)
    _, forms = transported_with_forms(lambda y, s: s * y, x, [0.0, 0.2, 0.6, 1.0], Probes.unit(x))
    torch.testing.assert_close(forms, torch.full((3, 5), 0.5, dtype=torch.float64))


def test_the_context_changes_the_field_and_is_read_once():
    net, x = network((4,), ContextShape(((3,),), True)), points(5, 4)
    told = net.given(points(5, 3))
    assert not torch.allclose(net(x, LEVEL, told), net(x, LEVEL, net.given(points(5, 3, 4))))
    torch.testing.assert_close(net(x, LEVEL.expand(5), told), net(x, LEVEL, told))


@pytest.mark.parametrize("shape", [(5,), (2, 4, 4)])
def test_the_output_is_0_at_first(shape):
    net = VelocityNet(shape, None, VelocitySettings(width=8, channels=4))
    assert not net(points(3, torch.Size(shape).numel()).float(), LEVEL.float()).any()


def matching(kind="velocity", path="trigonometric", likelihood=False):
    return Matching(Parameterisation(kind), path, likelihood)


def test_the_vp_path_has_the_levels_of_its_diffusion():
    """The signal's square at time t is exp(- integral of beta), here by a sum over 100,000 cells."""
    n = 1_000
    found = matching("score", "vp").angles(n, seeded(1), LEVEL).sin().sort().values.square()
    cells = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    integral = (0.1 + 19.9 * cells).cumsum(0) / 100_000
    # One offset for all: times are the integers over n plus one number below 1 / n.
    index = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 100_000).long()
    wanted = (-integral[index]).exp().sort().values
    assert (found - wanted).abs().max() < 10 / n


def test_the_trigonometric_path_has_uniform_angles():
    angles = matching().angles(1_000, seeded(1), LEVEL).sort().values
    torch.testing.assert_close(angles.diff(), torch.full_like(angles[1:], torch.pi / 2 / 1_000))


def test_the_logarithmic_path_has_as_many_angles_between_each_noise_and_half_of_it():
    noise = matching(path="logarithmic").angles(1_000, seeded(1), LEVEL).cos().log().sort().values
    torch.testing.assert_close(noise.diff(), torch.full_like(noise[1:], -math.log(0.005) / 1_000))
    assert math.log(0.005) <= noise[0] and noise[-1] <= 0


def test_the_path_follows_the_size_of_the_layers():
    plane, images = Layout(((2,),)), Layout(((2,), (18,)))
    assert FlowMatchingSettings().path_in(plane) == "logarithmic"
    assert FlowMatchingSettings().path_in(images) == "trigonometric"
    assert FlowMatchingSettings(loss="score").path_in(plane) == "vp"
    assert FlowMatchingSettings(path="trigonometric").path_in(plane) == "trigonometric"


@pytest.mark.parametrize("path", ["trigonometric", "vp", "logarithmic"])
def test_the_score_s_angles_begin_where_its_equation_does(path):
    assert matching("score", path).angles(5_000, seeded(1), LEVEL).min() >= FIRST_ANGLE * (1 - 1e-9)
    first, last = Parameterisation("score").span()
    assert abs(Parameterisation("score").angle(first) - FIRST_ANGLE) < 1e-12
    assert abs(Parameterisation("score").angle(last) - torch.pi / 2) < 1e-12


@pytest.mark.parametrize("kind", ["velocity", "score"])
def test_nodes_go_from_noise_to_data_in_ever_smaller_steps(kind):
    nodes = torch.tensor(Parameterisation(kind).nodes(20), dtype=torch.float64)
    assert (nodes[0], nodes[-1]) == Parameterisation(kind).span()
    steps = nodes.diff()
    assert (steps > 0).all() and (steps.diff() < 0).all()


def test_of_the_score_the_target_is_the_normal_prediction_less_the_noise():
    u, noise, angle = points(6, 3), points(6, 3, 5), torch.rand(6, generator=seeded(1), dtype=torch.float64)
    x, target = matching("score").noised(u, noise, angle)
    torch.testing.assert_close(target, angle.cos()[:, None] * x - noise)


def test_likelihood_weights_make_both_errors_those_of_the_noise():
    """The velocity's error times sin is the score's error; angles are the same."""
    velocity, score = matching(likelihood=True), matching("score", likelihood=True)
    angle = velocity.angles(100, seeded(1), LEVEL)
    assert torch.equal(angle, score.angles(100, seeded(1), LEVEL))
    torch.testing.assert_close(velocity.weight(angle), angle.sin().square())
    assert torch.equal(score.weight(angle), torch.ones_like(angle))
    steps = angle.tan().log().sort().values.diff()
    torch.testing.assert_close(steps, steps[:1].expand(99))
