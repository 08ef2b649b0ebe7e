"""The share of near copies, where it is known: copies themselves, points of the same law, mixtures of both."""

from math import pi, sqrt
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from test_measure import images, model

from priorkit.config import FidelitySettings
from priorkit.data.toys import load_toy
from priorkit.errors import UsageError
from priorkit.metrics import FidelityReference, fidelity
from priorkit.metrics.copying import copied, further_end, nearest_others
from priorkit.report.table import backbone_table, prior_table
from priorkit.workflows.measuring import copying, image_features
from priorkit.workflows.measuring.evaluate import AFTER_TRAINING, chosen_metrics, measure

MANY = 4_000
NOISE = 0.03
"""Four standard deviations of a share near 2/3 of so many points."""


def share(features, training):
    return copied(features, training, nearest_others(training))


def uniform(seed, size, count=MANY):
    return torch.rand(count, size, generator=torch.Generator().manual_seed(seed))


def test_training_images_are_copied_each_of_them():
    training = uniform(0, 7, 1_100)
    assert share(training, training) == 1
    assert share(training + 1e-3 * uniform(1, 7, 1_100), training) == 1


def test_copies_among_the_training_images_count_as_one_image():
    """The rounding of their features is that of another batch."""
    once = uniform(0, 7, 700) + 5
    twice = torch.cat([once, once[:90] * (1 + 1e-7), once[:90]])
    expected = nearest_others(once)
    torch.testing.assert_close(nearest_others(twice), torch.cat([expected, expected[:90], expected[:90]]), rtol=1e-4, atol=0)
    assert share(once[:90], twice) == 1
    others = uniform(1, 7, 700) + 5
    assert share(others, twice) == share(others, once)


def test_new_points_of_the_same_law_are_copied_as_often_as_two_points_are_each_other_s_nearest():
    """On a line 2/3 for any exchangeable spacings, in the plane 6 pi / (8 pi + 3 sqrt 3) but for its edges."""
    assert share(uniform(0, 1), uniform(1, 1)) == pytest.approx(2 / 3, abs=NOISE)
    assert share(uniform(0, 2), uniform(1, 2)) == pytest.approx(6 * pi / (8 * pi + 3 * sqrt(3)), abs=NOISE)


def test_half_copies_are_half_way_between():
    training = uniform(1, 1)
    mixed = torch.cat([uniform(0, 1)[: MANY // 2], training[: MANY // 2]])
    assert share(mixed, training) == pytest.approx((2 / 3 + 1) / 2, abs=NOISE)


def test_points_far_from_all_training_images_are_not_copied():
    assert share(uniform(0, 3) + 10, uniform(1, 3)) == 0


@pytest.mark.parametrize("shift", [0, 1_000])
def test_the_share_is_that_of_every_distance_written_out(shift):
    """More than one tile of each, the last ones not full; far from 0 in float32 too."""
    training, features = uniform(0, 5, 1_100) + shift, uniform(1, 5, 700) + shift

    def distances(x):
        return (x.double()[:, None] - training.double()[None]).square().sum(2).sqrt()

    between, within = distances(features), distances(training)
    within.fill_diagonal_(torch.inf)
    others = within.min(1).values
    torch.testing.assert_close(nearest_others(training), others)
    expected = [float(row.min()) < float(others[row.argmin()]) for row in between]
    assert share(features, training) == sum(expected) / len(expected)


def test_a_single_training_image_has_no_neighbour():
    with pytest.raises(UsageError, match="no two different training images"):
        nearest_others(torch.ones(5, 3))
    with pytest.raises(UsageError, match="no two different training images"):
        nearest_others(torch.ones(1, 3))


def test_the_spread_is_the_further_end_of_the_wilson_interval():
    z = 1.959964**2
    assert [further_end(0, 10), further_end(1, 10)] == pytest.approx([z / (10 + z)] * 2)
    assert further_end(0.1, 10) == pytest.approx(0.4042 - 0.1, abs=1e-4)
    assert further_end(0.3, 10_000) == pytest.approx(sqrt(z * 0.3 * 0.7 / 10_000), rel=0.05)


@pytest.fixture(scope="module")
def measured():
    data = images(300, 0.4)
    made = model(data)
    return data, made, measure(made, data, samples=250, metrics=("copying",))


def test_each_prior_the_floor_and_held_out_images_have_a_share(measured):
    data, _, figures = measured
    endings = ("", "_gaussian", "_stage_1", "_stage_2", "_posterior", "_heldout")
    assert {*figures} == {f"{name}{ending}" for name in ("copied", "authenticity") for ending in endings} | {
        f"c_t{ending}" for ending in endings[:-1]
    }
    assert figures["copied"] == figures["copied_stage_2"]
    assert all(figures[f"authenticity{ending}"].value == 1 - figures[f"copied{ending}"].value for ending in endings)
    features = [FidelityReference(data.spec, split).real_features() for split in (data.heldout, data.train)]
    level = figures["copied_heldout"]
    assert level.value == share(*features) and level.spread == further_end(level.value, 120)
    told = level.protocol
    assert "120 held-out images" in told and "180 training images" in told and "64 standardised features" in told
    assert figures["copied_posterior"].spread == further_end(figures["copied_posterior"].value, 180)
    assert "250 generated images" in figures["copied_gaussian"].protocol


def test_decoded_training_images_are_copies(monkeypatch, measured):
    data, made, _ = measured
    train = data.train.batch(torch.arange(180))
    monkeypatch.setattr(made, "decode", lambda u, **how: train[:100])
    figures = measure(made, data, samples=100, metrics=("copying",))
    assert figures["copied_gaussian"].value == figures["copied"].value == figures["copied_posterior"].value == 1
    assert figures["c_t"].value < -2 * figures["c_t"].spread
    assert figures["copied_heldout"].value < 0.9


def test_images_that_fd_has_decoded_are_not_decoded_again(monkeypatch, measured):
    data, made, alone = measured
    decoded, decode = [], made.decode
    monkeypatch.setattr(made, "decode", lambda u, **how: decoded.append(len(u)) or decode(u, **how))
    figures = measure(made, data, samples=250, metrics=("fd", "copying"))
    assert decoded == [250] * 4
    assert {name: figure for name, figure in figures.items() if name in alone} == alone


def test_the_training_images_distances_are_kept_in_the_cache(monkeypatch, tmp_path, measured):
    data, made, alone = measured
    monkeypatch.setattr(fidelity, "WORTH_KEEPING", 10)
    monkeypatch.setattr(image_features, "cache_folder", lambda: tmp_path)
    assert measure(made, data, samples=250, metrics=("copying",)) == alone

    def again(training):
        raise AssertionError("computed again")

    monkeypatch.setattr(copying, "nearest_others", again)
    assert measure(made, data, samples=250, metrics=("copying",)) == alone
    (entry,) = (tmp_path / "features").iterdir()
    assert entry.name.endswith("-nearest.bin")


def test_without_held_out_images_the_level_alone_is_left_out(caplog):
    data = images(60, 0)
    figures = measure(model(data), data, samples=50, metrics=("copying",))
    assert {"copied", "copied_posterior"} <= {*figures} and "copied_heldout" not in figures
    (line,) = caplog.messages
    assert line.startswith("copied_heldout is left out")


def test_it_stands_beside_every_run_s_figures_and_is_for_images_with_features_only(caplog):
    assert "copying" in chosen_metrics("all") and "copying" in AFTER_TRAINING
    model = SimpleNamespace(see_room=lambda n, name: None)  # all that is asked of it
    assert measure(model, load_toy("pinwheel"), metrics=("copying",), draws=object()) == {} and not caplog.messages


def test_other_features_judge_the_same_images(measured):
    """An extractor that gives the built-in features, under its own name."""
    data, made, alone = measured
    settings = FidelitySettings(features="digits")
    figures = measure(made, data, samples=250, metrics=("copying",), fidelity=settings)
    assert {name: figure.value for name, figure in figures.items()} == {name: each.value for name, each in alone.items()}


def test_the_table_shows_the_level_above_and_no_prior_s_figure_in_its_place(measured):
    figures = measured[2]
    console = Console(width=200, record=True)
    console.print(prior_table(figures))
    told = console.export_text()
    assert f"of held-out images {figures['copied_heldout'].value:.3g} ±" in " ".join(told.split())
    assert [line.split()[0] for line in told.splitlines() if line.startswith("copied")] == ["copied:", "copied"]
    console.print(backbone_table(figures))
    assert "copied, held-out images" in console.export_text()
