"""The groups `coverage` and `kernel` of a model: each prior and the floor, against held-out images."""

import pytest
import torch
from rich.console import Console
from test_measure import images, model

from priorkit.config import FidelitySettings
from priorkit.metrics import FidelityReference
from priorkit.metrics.kernel_distance import KernelDistance
from priorkit.report.table import prior_table
from priorkit.report.titles import title
from priorkit.workflows.measuring import coverage
from priorkit.workflows.measuring.evaluate import AFTER_TRAINING, measure

NAMES = ("precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage", "kd")
ENDINGS = ("", "_gaussian", "_stage_1", "_stage_2", "_posterior")


@pytest.fixture(scope="module")
def measured():
    data = images(300, 0.4)
    made = model(data)
    return data, made, measure(made, data, samples=130, metrics=("coverage", "kernel"))


def test_each_prior_and_the_floor_have_each_figure(measured):
    figures = measured[2]
    assert {*figures} == {f"{name}_digits_heldout{ending}" for name in NAMES for ending in ENDINGS}
    for name in NAMES:
        figure = figures[f"{name}_digits_heldout"]
        assert figure == figures[f"{name}_digits_heldout_stage_2"]
        assert "130 generated images" in figure.protocol and "120 held-out images" in figure.protocol
        assert "95 % interval" in figure.protocol and "64 standardised features" in figure.protocol
        assert figure.spread > 0


def test_held_out_images_have_the_figures_of_equal_sets(monkeypatch, measured):
    data, made, _ = measured
    monkeypatch.setattr(made, "decode", lambda u, **how: data.heldout.batch(torch.arange(len(u))))
    figures = measure(made, data, samples=120, metrics=("coverage", "kernel"))
    for name in NAMES[:-1]:
        assert figures[f"{name}_digits_heldout_gaussian"].value >= 1 - 1e-9, name
    assert figures["kd_digits_heldout_gaussian"].value < 0  # a point and its copy are counted between the sets alone


def test_a_distance_is_that_of_the_features(measured):
    data, made, figures = measured
    reference = FidelityReference(data.spec, data.heldout)
    decoded = made.decode(made.prior.standard_normal(130, torch.Generator().manual_seed(1)))
    found = KernelDistance(reference.real_features()).of(reference.features(decoded), "")
    # Other draws of the same Gaussian prior.
    assert abs(found.value - figures["kd_digits_heldout_gaussian"].value) < 3 * found.spread


def test_images_are_decoded_once_for_all_groups(monkeypatch, measured):
    data, made, alone = measured
    decoded, decode = [], made.decode
    monkeypatch.setattr(made, "decode", lambda u, **how: decoded.append(len(u)) or decode(u, **how))
    figures = measure(made, data, samples=130, metrics=("kernel", "coverage", "copying", "fd"))
    assert decoded == [130] * 4
    assert {name: figure for name, figure in figures.items() if name in alone} == alone


def test_other_features_have_their_own_names_and_decode_once_too(monkeypatch, measured):
    data, made, alone = measured
    decoded, decode = [], made.decode
    monkeypatch.setattr(made, "decode", lambda u, **how: decoded.append(len(u)) or decode(u, **how))
    settings = FidelitySettings(features=f"{__name__}:brightness")
    figures = measure(made, data, samples=130, metrics=("kernel", "coverage"), fidelity=settings)
    assert {*figures} == {name.replace("digits", "brightness") for name in alone} and decoded == [130] * 4
    assert "function" in figures["kd_brightness_heldout"].protocol


def brightness(images):
    """Means of the rows."""
    return images.float().mean((1, 3)) / 255


def test_only_so_many_held_out_images_are_used(monkeypatch, measured):
    data, made, _ = measured
    monkeypatch.setattr(coverage, "POINTS", 50)
    figures = measure(made, data, samples=30, metrics=("coverage", "kernel"))
    assert "against 50 held-out images" in figures["density_digits_heldout"].protocol
    assert "against 50 held-out images" in figures["kd_digits_heldout"].protocol


def test_without_held_out_images_there_is_neither(caplog):
    data = images(60, 0)
    assert measure(model(data), data, samples=50, metrics=("coverage", "kernel")) == {}
    assert [line.partition(":")[0] for line in caplog.messages] == ["coverage is left out", "kernel is left out"]


def test_they_are_measured_after_training_and_shown_by_prior(measured):
    assert {"copying", "coverage", "kernel"} <= {*AFTER_TRAINING}
    console = Console(width=200, record=True)
    console.print(prior_table(measured[2]))
    told = [" ".join(line.split()) for line in console.export_text().splitlines()]
    for name in NAMES:
        assert any(line.startswith(title(f"{name}_digits_heldout")) for line in told), name
