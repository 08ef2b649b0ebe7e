"""A prior on the top layers of a hierarchy, against the same prior on a space of these layers alone."""

import pytest
import torch
from priorkit_jointebm import JointEbmPrior, JointEbmSettings
from priorkit_mcmc import Mala, MalaSettings
from priorkit_mixture import MixturePrior, MixtureSettings
from seeding import seeded

from priorkit.core import (
    Condition,
    Latents,
    LatentSpace,
    Layout,
    Sampling,
    StageContext,
    Step,
    Streams,
    TopLayersPrior,
    TopLayersSettings,
    on_its_layers,
)
from priorkit.errors import UsageError
from priorkit.testing.problem import AffineWalk, transform

SHAPES = ((1,), (2,), (3,))
LAYOUT = Layout(SHAPES)


def space():
    return LatentSpace(LAYOUT, lambda u: torch.cat([transform(u[:, :3]), 2 * u[:, 3:]], dim=1), AffineWalk)


def sampler():
    return Mala(MalaSettings(steps=40, step_size=0.8, choose="fixed"))


def jointebm(**options):
    settings = JointEbmSettings(energy={"width": 8, "dropout": 0}, chain={"chains": 50, "steps": 2}, **options)
    torch.manual_seed(0)
    made = on_its_layers(JointEbmPrior, settings, space())
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def points(n, seed=0):
    return torch.randn(n, LAYOUT.dim, generator=seeded(seed))


@pytest.mark.parametrize(
    ("sizes", "layers", "count"),
    [
        ((128, 128, 512, 512), "auto", 2),
        ((512, 128), "auto", 2),
        ((20, 20), "auto", 2),
        ((128, 512, 128), "auto", 1),
        ((128, 128, 512), "all", 3),
        ((128, 128, 512), "top:1", 1),
    ],
)
def test_selections(sizes, layers, count):
    layout = Layout(tuple((size,) for size in sizes))
    assert TopLayersSettings(layers=layers).layer_count(layout) == count


@pytest.mark.parametrize("layers", ["bottom:1", "0", "top:4", "top:0", "some"])
def test_other_selections_are_refused(layers):
    with pytest.raises(UsageError, match="layers: expected"):
        TopLayersSettings(layers=layers).layer_count(LAYOUT)


def test_a_prior_of_all_layers_is_not_wrapped():
    assert isinstance(jointebm(layers="all"), JointEbmPrior)
    assert isinstance(jointebm(), JointEbmPrior)


def test_the_log_ratio_is_that_of_the_top_layers():
    made, u = jointebm(layers="top:2"), points(20)
    assert isinstance(made, TopLayersPrior) and made.implementation is JointEbmPrior
    torch.testing.assert_close(made.log_ratio(u), made.inner.log_ratio(u[:, :3]))
    below = torch.cat([u[:, :3], u[:, 3:] + 1], dim=1)
    assert torch.equal(made.log_ratio(u), made.log_ratio(below))
    assert (made.log_ratio(u, stages=0) == 0).all()


def test_terms_of_layers_below_are_zero():
    made, u = jointebm(layers="top:2", energy_input="u"), points(20)
    separable = JointEbmSettings(layers="top:2", energy={"width": 8, "coupling": "separable"})
    for one in (made, on_its_layers(JointEbmPrior, separable, space())):
        terms = one.layer_log_ratio(u)
        if terms is not None:
            assert terms.shape == (20, 3) and (terms[:, 2] == 0).all()
            torch.testing.assert_close(terms.sum(1), one.log_ratio(u))
    assert made.layer_log_ratio(u) is None


def test_draws_are_the_inner_prior_s_with_noise_below():
    """A mixture that was fitted to points around (3, 3, 3) in the top layers."""
    made = on_its_layers(MixturePrior, MixtureSettings(layers="top:2", components=1), space())
    shifted = torch.cat([points(2_000)[:, :3] * 0.3 + 3, points(2_000, 1)[:, 3:] * 5], dim=1)
    context = StageContext(Latents(shifted), Latents(shifted[:500]), sampler(), Streams(0))
    made.begin_stage(1, context)
    made.end_stage(1, context)
    u = made.draw(4_000, Sampling(sampler(), seeded(2))).u
    assert (u[:, :3].mean(0) - 3).abs().max() < 0.05
    assert u[:, 3:].mean(0).abs().max() < 5 / 4_000**0.5
    assert (u[:, 3:].std(0) - 1).abs().max() < 0.06
    assert made.normalised


def test_fixed_layers_may_end_anywhere():
    made, u = jointebm(layers="top:2"), points(6)
    for columns in (1, 3, 6):
        drawn = made.draw(6, Sampling(sampler(), seeded(3), keep_every=20, condition=Condition(top=u[:, :columns])))
        assert torch.equal(drawn.u[:, :columns], u[:, :columns])
        assert all(chain.trajectory.shape[2] == LAYOUT.dim for chain in drawn.chains)
        assert bool(drawn.chains) == (columns < 3)


def test_unknown_labels_are_refused_whatever_is_fixed():
    made, u = jointebm(layers="top:2"), points(4)
    for top in (None, u):
        with pytest.raises(UsageError, match="labels"):
            made.draw(4, Sampling(sampler(), seeded(4), condition=Condition({"label": torch.zeros(4).long()}, top)))


def test_training_is_that_of_the_prior_on_the_top_layers_alone():
    """The same losses, batch for batch, as of the inner class on a space of two layers."""
    wrapped, settings = jointebm(layers="top:2"), JointEbmSettings(
        energy={"width": 8, "dropout": 0}, chain={"chains": 50, "steps": 2}, layers="all"
    )  # fmt: skip
    alone = JointEbmPrior(settings, space().top(2))
    alone.load_state_dict(wrapped.inner.state_dict())
    batch = Latents(points(64), points(64, 1), torch.zeros(64).long(), points(64, 2), points(64, 3).exp())
    own = Latents(batch.u[:, :3], batch.z[:, :3], batch.labels, batch.mean[:, :3], batch.scale[:, :3])
    for prior, latents in ((wrapped, batch), (alone, own)):
        prior.begin_stage(1, StageContext(latents, latents, sampler(), Streams(0)))
    (one,), (other,) = wrapped.objectives(), alone.objectives()
    for index in range(3):
        left = one.loss(batch, Step(index, 3, seeded(index))).value
        torch.testing.assert_close(left, other.loss(own, Step(index, 3, seeded(index))).value)
    assert all(torch.equal(a, b) for a, b in zip(one.rows, other.rows, strict=True))


def test_the_space_of_the_top_layers_has_their_latents():
    u = points(5)
    torch.testing.assert_close(space().top(2).latents(u[:, :3]), transform(u[:, :3]))
    assert space().top(2).layout == Layout(SHAPES[:2])


def on_a_mixture():
    """A prior of the top two layers whose ratio is learnt to a mixture of one component around (3, 3, 3)."""
    settings = JointEbmSettings(layers="top:2", energy={"width": 8}, base_prior="mixture", base_options={"components": 1})
    made = on_its_layers(JointEbmPrior, settings, space()).eval()
    shifted = torch.cat([points(2_000)[:, :3] * 0.3 + 3, points(2_000, 1)[:, 3:]], dim=1)
    context = StageContext(Latents(shifted), Latents(shifted[:500]), sampler(), Streams(0))
    made.begin_stage(1, context)
    made.end_stage(1, context)
    return made


def test_the_base_is_that_of_the_top_layers():
    made, u = on_a_mixture(), points(50)
    assert made.base_stages == 1 and made.is_normalised(1) and not made.takes_steps(1) and made.takes_steps(2)
    asked = Sampling(sampler(), seeded(5))
    density = made.base_density(asked)
    torch.testing.assert_close(density.log_ratio(u), made.log_ratio(u, stages=1))
    for drawn in (made.base_draw(4_000, asked), density.draw(4_000, seeded(6)), made.draw(4_000, asked).u):
        assert (drawn[:, :3].mean(0) - 3).abs().max() < 0.05
        assert drawn[:, 3:].mean(0).abs().max() < 5 / 4_000**0.5
    fixed = made.base_draw(6, Sampling(sampler(), seeded(7), condition=Condition(top=u[:6, :4])))
    assert torch.equal(fixed[:, :4], u[:6, :4])


def test_a_batch_keeps_the_features_before_the_top_layers():
    """One column before the second layer, two before the third."""
    u = points(4)
    features = space().features(u)
    assert features.shape == (4, 3)
    own = jointebm(layers="top:2")._top(Latents(u, features=features))
    assert torch.equal(own.features, features[:, :1]) and torch.equal(own.u, u[:, :3])
