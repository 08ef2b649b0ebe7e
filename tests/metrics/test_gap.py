"""The classifier gap against closed forms, and the interval against repetition."""

from math import erf

import numpy as np
import pytest
import torch
from seeding import seeded
from sklearn.metrics import roc_auc_score

from priorkit.core import Layout
from priorkit.errors import UsageError
from priorkit.metrics import gap_auc
from priorkit.metrics.auc import Scored, clustered_auc

PLANE = Layout(((2,),))


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator)


def scored(scores, folds=None, clusters=None):
    each = np.arange(len(scores))
    return Scored(scores, 0 * each if folds is None else folds, each if clusters is None else clusters)


def test_within_one_fold_the_area_is_sklearns_with_ties():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 9, 40) + 1.0, random.integers(0, 9, 70).astype(float)
    expected = roc_auc_score(np.repeat([1, 0], [40, 70]), np.concatenate([a, b]))
    assert clustered_auc(scored(a), scored(b)).value == pytest.approx(expected, abs=1e-12)


def test_only_scores_of_one_fold_are_compared():
    """A constant added to one fold's scores changes nothing."""
    random = np.random.default_rng(0)
    a, b, folds = random.normal(size=60) + 1, random.normal(size=60), np.arange(60) % 3
    plain = clustered_auc(scored(a, folds), scored(b, folds))
    moved = clustered_auc(scored(a + 100 * folds, folds), scored(b + 100 * folds, folds))
    assert moved == plain


@pytest.mark.parametrize("repeats", [1, 8])
def test_the_interval_of_given_scores_covers_the_truth(repeats):
    """400 repetitions of two shifted Gaussians, each positive repeated with its cluster: DeLong's 95 % interval."""
    random = np.random.default_rng(1)
    truth = 0.5 + 0.5 * erf(1 / 2)
    hits = 0
    for _ in range(400):
        centres = np.repeat(random.normal(size=50) + 1, repeats)
        noise = 0.6 * random.normal(size=50 * repeats) if repeats > 1 else 0
        a = (centres - 1) * (0.8 if repeats > 1 else 1) + 1 + noise
        area = clustered_auc(scored(a, clusters=np.repeat(np.arange(50), repeats)), scored(random.normal(size=60)))
        hits += abs(area.value - truth) <= area.half_width
    # 0.95 +- 3 standard errors of 400 trials; small samples cost a little.
    assert 0.91 <= hits / 400 <= 0.985


def test_ignoring_the_clusters_would_give_too_narrow_an_interval():
    random = np.random.default_rng(2)
    a, b = np.repeat(random.normal(size=40), 10), random.normal(size=200)
    honest = clustered_auc(scored(a, clusters=np.repeat(np.arange(40), 10)), scored(b))
    naive = clustered_auc(scored(a), scored(b))
    assert honest.value == naive.value
    assert honest.half_width > 1.5 * naive.half_width


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_shifted_gaussians_have_a_closed_form(shift):
    """AUC = Phi(|d| / sqrt 2)."""
    generator = seeded(1)
    posterior = normal(generator, 1500, 2) + torch.tensor([shift, 0.0])
    figure = gap_auc(posterior, normal(generator, 1500, 2), PLANE, generator=generator)["all"]
    assert figure.value == pytest.approx(0.5 + 0.5 * erf(shift / 2), abs=figure.spread)
    assert 0 < figure.spread < 0.04


def test_identical_distributions_give_chance():
    """12 repetitions: the mean is 0.5 and 95 % intervals miss it at most twice."""
    generator = seeded(2)
    layout = Layout(((1,), (1,)))
    figures = [
        gap_auc(normal(generator, 150, 2), normal(generator, 150, 2), layout, generator=generator, folds=3)["all"]
        for _ in range(12)
    ]
    values = torch.tensor([figure.value for figure in figures])
    # One value deviates by 0.04 (measured), so the mean of 12 by 0.012.
    assert float(values.mean()) == pytest.approx(0.5, abs=0.036)
    assert sum(abs(figure.value - 0.5) > figure.spread for figure in figures) <= 2


def test_several_samples_of_an_image_do_not_leak_between_folds():
    """Posterior samples in tight clusters of one image: the distributions agree, only memory could tell them apart."""
    generator = seeded(3)
    posterior = (normal(generator, 120, 1, 2) + 0.01 * normal(generator, 120, 5, 2)).flatten(0, 1)
    prior = normal(generator, 600, 2)
    groups = torch.arange(120).repeat_interleave(5)
    grouped = gap_auc(posterior, prior, PLANE, generator=generator, groups=groups)["all"]
    naive = gap_auc(posterior, prior, PLANE, generator=generator)["all"]
    assert abs(grouped.value - 0.5) <= grouped.spread
    assert naive.value > 0.6


@pytest.mark.parametrize("kind", ["shape", "dependence", "scale", "sign"])
def test_what_a_mean_does_not_show_is_found(kind):
    generator = seeded(4)
    u, prior = normal(generator, 1000, 6), normal(generator, 1000, 6)
    if kind == "shape":
        u[:, :3] = 0.95 * u[:, :3].sign() + 0.3 * normal(generator, 1000, 3)
    elif kind == "dependence":
        u[:, 1] = 0.8 * u[:, 0] + 0.6 * u[:, 1]
    elif kind == "scale":
        u *= 0.8
    else:
        u[:, 1] = u[:, 1].abs() * u[:, 0].sign()
    figure = gap_auc(u, prior, Layout(((6,),)), generator=generator)["all"]
    assert figure.value - figure.spread > 0.55


def test_the_layer_that_differs_is_named():
    generator = seeded(5)
    layout = Layout(((3,), (2, 2)))
    u = normal(generator, 800, 7)
    u[:, 3:] *= 0.6
    figures = gap_auc(u, normal(generator, 800, 7), layout, generator=generator)
    assert set(figures) == {"all", "layer_0", "layer_1"}
    # Half an interval is two standard deviations; a layer without a difference stays within three.
    assert abs(figures["layer_0"].value - 0.5) <= 1.5 * figures["layer_0"].spread
    assert figures["layer_1"].value - 1.5 * figures["layer_1"].spread > 0.5


@pytest.mark.parametrize("shape", [(6,), (5, 8, 8)], ids=["vectors", "maps"])
def test_the_whole_tells_what_one_of_many_layers_tells(shape):
    """A shift of total length 1 in one layer only: AUC = Phi(1 / sqrt 2) = 0.760 for the layer and for the whole."""
    generator = seeded(6)
    layout = Layout((shape,) * 4)
    u, prior = normal(generator, 600, layout.dim), normal(generator, 600, layout.dim)
    one = layout.split(u)[2]
    positions = one[0, 0].numel()
    one[:, 0] += positions**-0.5
    figures = gap_auc(u, prior, layout, generator=generator)
    optimum, whole, layer = 0.5 + 0.5 * erf(1 / 2), figures["all"], figures["layer_2"]
    assert optimum - 2 * whole.spread < whole.value < optimum + whole.spread
    assert whole.value >= layer.value - whole.spread
    assert all(abs(figures[f"layer_{i}"].value - 0.5) <= 1.5 * figures[f"layer_{i}"].spread for i in (0, 1, 3))


@pytest.mark.parametrize("shape", [(6,), (5, 8, 8)], ids=["vectors", "maps"])
def test_dependence_of_two_layers_is_seen_by_the_whole_alone(shape):
    """Each layer is exactly N(0, I) in both samples; only their product differs."""
    generator = seeded(7)
    layout = Layout((shape, shape))
    u, prior = normal(generator, 800, layout.dim), normal(generator, 800, layout.dim)
    first, second = layout.split(u)
    second[:, :2] = 0.6 * first[:, :2] + 0.8 * second[:, :2]
    figures = gap_auc(u, prior, layout, generator=generator)
    assert figures["all"].value - 2 * figures["all"].spread > 0.55
    assert all(abs(figures[name].value - 0.5) <= 1.5 * figures[name].spread for name in ("layer_0", "layer_1"))


def test_the_correlation_of_neighbours_in_a_map_is_seen():
    """Every column is exactly N(0, 1), and the 512 columns have more pairs than there are points."""
    generator = seeded(8)
    u, prior = normal(generator, 400, 8, 8, 8), normal(generator, 400, 512)
    u[:, :, :, 1:] = 0.15 * u[:, :, :, :-1] + (1 - 0.15**2) ** 0.5 * u[:, :, :, 1:]
    figure = gap_auc(u.flatten(1), prior, Layout(((8, 8, 8),)), generator=generator)["all"]
    assert figure.value - 2 * figure.spread > 0.6


def test_a_large_vector_is_seen_through_some_columns_and_its_power_means():
    generator = seeded(6)
    layout = Layout(((500,),))
    posterior, prior = 0.97 * normal(generator, 300, 500), normal(generator, 300, 500)
    figure = gap_auc(posterior, prior, layout, generator=generator, columns=4)["all"]
    # The root mean square of 500 coordinates deviates by 1 / sqrt(1000): a scale of 0.97 is one such deviation away.
    assert figure.value == pytest.approx(0.5 + 0.5 * erf(0.03 * 1000**0.5 / 2), abs=0.1)
    assert "500 dimensions" in figure.protocol and "at most about 4 columns" in figure.protocol


def test_the_figure_depends_on_the_generator_alone():
    u, prior = normal(seeded(7), 200, 2), normal(seeded(8), 200, 2)
    first, second = (gap_auc(u, prior, PLANE, generator=seeded(9)) for _ in range(2))
    assert first == second


def test_wrong_input_is_a_usage_error():
    u = normal(seeded(0), 100, 2)
    with pytest.raises(UsageError, match="not all finite"):
        gap_auc(u, torch.full((100, 2), float("nan")), PLANE)
    with pytest.raises(UsageError, match="at least 50 images"):
        gap_auc(u, u, PLANE, groups=torch.arange(100) // 10)
    with pytest.raises(UsageError, match=r"expected prior samples \(N, 2\)"):
        gap_auc(u, u[:, :1], PLANE)
    with pytest.raises(UsageError, match="give one group per sample"):
        gap_auc(u, u, PLANE, groups=torch.arange(3))
    with pytest.raises(UsageError, match="at least 3 folds"):
        gap_auc(u, u, PLANE, folds=2)
