"""The hole by layer on generators whose latents are their images' features, so that every row is known."""

import pytest
import torch

from priorkit.core import Layout
from priorkit.metrics.hole import hole_figures, latents_by_layer, layers_looked_at

LAYOUT = Layout(((2,), (2, 1), (2,)))
COUNT = 6_000


def normal(seed, count=COUNT, size=LAYOUT.dim):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def measured(posterior, prior=None, layout=LAYOUT):
    """Figures of a generator that shows its latents as they are; `posterior` maps a seed to samples."""
    figures = hole_figures(
        posterior(1), normal(2, size=layout.dim), prior, layout, features=lambda u: u, real=posterior(3),
        comparison="identity", generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return {name: figure.value for name, figure in figures.items()}


def one_layer_off(seed, layer=1, shift=1.5, scale=0.5):
    u = normal(seed)
    u[:, 2 * layer : 2 * layer + 2] = shift + scale * u[:, 2 * layer : 2 * layer + 2]
    return u


def bound(seed, r=0.8):
    """N(0, I) in each layer, but layer 1 goes with layer 0."""
    u = normal(seed)
    u[:, 2:4] = r * u[:, :2] + (1 - r**2) ** 0.5 * u[:, 2:4]
    return u


NOISE = 0.03
"""Of distances of 6,000 points in 6 dimensions at most, whose bias is near 6 x 2 / 6,000."""


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_that_is_not_standard_normal_is_seen_in_its_rows_alone(layer):
    found = measured(lambda seed: one_layer_off(seed, layer))
    cost = 2 * (1.5**2 + 0.5**2)
    for k in range(4):
        assert found[f"hole_top_{k}"] == pytest.approx(cost if k <= layer else 0, rel=0.03, abs=NOISE)
    for other in range(3):
        assert found[f"hole_only_{other}"] == pytest.approx(cost if other == layer else 0, rel=0.03, abs=NOISE)
    assert found["hole_shuffled"] < NOISE


def test_dependence_between_layers_is_what_shuffling_loses():
    found = measured(bound)
    cost = 2 * ((1 - 1.8**0.5) ** 2 + (1 - 0.2**0.5) ** 2)
    for name in ("shuffled", "top_0", "top_1", "only_0", "only_1"):
        assert found[f"hole_{name}"] == pytest.approx(cost, rel=0.08)
    for name in ("top_2", "top_3", "only_2"):
        assert found[f"hole_{name}"] < NOISE


def test_a_prior_that_is_the_posterior_reaches_what_can_be_reached_and_the_gaussian_one_gains_nothing():
    perfect = measured(one_layer_off, prior=one_layer_off(1))
    useless = measured(one_layer_off, prior=normal(2))
    for k in (1, 2, 3):
        assert perfect[f"hole_prior_top_{k}"] == perfect[f"hole_top_{k}"]
        assert useless[f"hole_prior_top_{k}"] == useless["hole_top_0"]
    assert not any(name.startswith("hole_prior") for name in measured(one_layer_off))


def test_each_layer_comes_from_where_its_name_says():
    posterior, gaussian, prior = torch.full((5, 6), 1.0), torch.full((5, 6), 2.0), torch.full((5, 6), 3.0)
    found = {name: u[0].tolist()[::2] for name, u in latents_by_layer(posterior, gaussian, prior, LAYOUT)}
    assert found == {
        "top_0": [2, 2, 2], "top_1": [1, 2, 2], "top_2": [1, 1, 2], "top_3": [1, 1, 1],
        "only_0": [2, 1, 1], "only_1": [1, 2, 1], "only_2": [1, 1, 2], "shuffled": [1, 1, 1],
        "prior_top_1": [3, 2, 2], "prior_top_2": [3, 3, 2], "prior_top_3": [3, 3, 3],
    }  # fmt: skip


def test_shuffling_keeps_each_layer_whole_and_mixes_images():
    posterior = torch.arange(40.0)[:, None].expand(40, 6)
    shuffled = dict(latents_by_layer(posterior, posterior, None, LAYOUT))["shuffled"]
    for part in LAYOUT.columns(shuffled):
        assert torch.equal(part[:, 0], part[:, 1])
        assert torch.equal(part[:, 0].sort().values, posterior[:, 0])
    assert int((shuffled[:, 0] == shuffled[:, 2]).sum()) < 10


def test_a_single_layer_has_neither_a_row_of_its_own_nor_others_to_be_shuffled_with():
    layout = Layout(((6,),))
    assert {*measured(one_layer_off, layout=layout)} == {"hole_top_0", "hole_top_1"}


def test_two_layers_have_rows_of_their_own():
    names = {*measured(one_layer_off, layout=Layout(((2,), (4,))))}
    assert names == {"hole_top_0", "hole_top_1", "hole_top_2", "hole_only_0", "hole_only_1", "hole_shuffled"}


@pytest.mark.parametrize("count", [1, 12, 13, 14, 15, 20, 30, 36, 100])
def test_deep_hierarchies_are_looked_at_in_at_most_twelve_layers_first_and_last_among_them(count):
    layers = layers_looked_at(count)
    assert layers == sorted(set(layers)) and len(layers) == min(12, count)
    assert layers[0] == 0 and layers[-1] == count - 1
    assert layers[:8] == list(range(min(8, count)))
