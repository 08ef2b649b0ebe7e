"""The groups `fd` and `hole` of a model: one set of figures against held-out images, and the share that a prior closes."""

import pytest
import torch
from rich.console import Console
from test_measure import images, model

from priorkit.config import resolve
from priorkit.core.metric import Metric
from priorkit.metrics import FidelityReference
from priorkit.report.hole_chart import hole_chart
from priorkit.report.hole_table import hole_table
from priorkit.report.table import backbone_table, prior_table
from priorkit.workflows.assemble import build_model
from priorkit.workflows.measuring.evaluate import measure
from priorkit.workflows.sampling.draws import Draws


@pytest.fixture(scope="module")
def measured():
    data = images(300, 0.4)
    made = model(data)
    return data, made, measure(made, data, samples=250, metrics=("fd", "hole"))


def test_held_out_distances_have_the_endings_of_the_others(measured):
    figures = measured[2]
    for ending in ("", "_gaussian", "_stage_1", "_stage_2", "_posterior"):
        assert {f"fd_digits{ending}", f"fd_digits_heldout{ending}"} <= {*figures}
    assert figures["fd_digits_heldout"] == figures["fd_digits_heldout_stage_2"]
    told = figures["fd_digits_heldout"].protocol
    assert "250 generated against 120 held-out images" in told and "95 % interval" in told
    assert "against 180 training images" in figures["fd_digits"].protocol


def test_they_are_the_distances_of_the_prior_s_images(measured):
    data, made, figures = measured
    reference = FidelityReference(data.spec, data.heldout, split_name="held-out")
    for ending, stages in (("", None), ("_gaussian", 0), ("_stage_1", 1)):
        decoded = made.decode(Draws(made).latents(250, stages))
        assert figures[f"fd_digits_heldout{ending}"].value == pytest.approx(reference.fd(decoded).value, rel=1e-6)


def test_the_hole_s_ends_are_the_figures_of_the_group_fd(measured):
    figures = measured[2]
    same = {"top_0": "_gaussian", "top_2": "_posterior", "prior_top_2": ""}
    for row, ending in same.items():
        assert figures[f"hole_{row}"].value == pytest.approx(figures[f"fd_digits_heldout{ending}"].value, rel=1e-6)
    assert "posterior samples of training images" in figures["hole_top_1"].protocol


def test_posterior_samples_are_of_training_images_and_the_reference_is_held_out():
    data = images(200, 0.5)
    made, seen = model(data), []
    infer = made.backbone.infer
    made.backbone.infer = lambda x, **how: seen.append(x) or infer(x, **how)
    measure(made, data, samples=120, metrics=("fd", "hole"))
    train = {image.numpy().tobytes() for image in data.train.batch(torch.arange(len(data.train)))}
    assert [len(x) for x in seen] == [120]  # once for both groups
    assert all(image.numpy().tobytes() in train for image in torch.cat(seen))


def test_a_prior_closes_what_its_distance_says(monkeypatch):
    """Images of the Gaussian prior, the stages and the posterior are replaced by held-out ones under more and more noise."""
    data = images(400, 0.5)
    made, heldout = model(data), data.heldout.batch(torch.arange(200))
    noise = iter((0.6, 0.4, 0.2, 0.05))  # Gaussian, stage 1, stage 2, posterior

    def decode(u, *, seed=0):
        generator = torch.Generator().manual_seed(1)
        return (heldout + next(noise) * torch.randn(heldout.shape, generator=generator)).clamp(0, 1)

    monkeypatch.setattr(made, "decode", decode)
    figures = measure(made, data, samples=200, metrics=("fd",))
    gaussian, floor = (figures[f"fd_digits_heldout_{name}"].value for name in ("gaussian", "posterior"))
    for ending in ("", "_stage_1", "_stage_2"):
        share = figures[f"share_closed{ending}"]
        assert share.value == pytest.approx((gaussian - figures[f"fd_digits_heldout{ending}"].value) / (gaussian - floor))
        assert 0 < share.spread < 0.5 and "95 % interval" in share.protocol and "held-out" in share.protocol
    assert 0 < figures["share_closed_stage_1"].value < figures["share_closed_stage_2"].value < 1
    assert figures["share_closed"] == figures["share_closed_stage_2"]
    assert "share_closed_gaussian" not in figures and "share_closed_posterior" not in figures
    console = Console(width=150, record=True)
    console.print(prior_table(figures))
    told = console.export_text()
    line = next(line for line in told.splitlines() if line.startswith("share closed "))
    assert f"{figures['share_closed'].value:.3g} ±" in line and "half a 95 % interval" in told


def test_a_prior_without_a_gap_has_no_share_and_the_log_says_so(caplog):
    data = images(200, 0.5)
    figures = measure(model(data), data, samples=100, metrics=("fd",))
    assert "fd_digits_heldout" in figures and "share_closed" not in figures
    (line,) = caplog.messages
    assert line.startswith("share_closed is left out") and "no gap to close" in line


def test_a_gaussian_prior_has_distances_and_no_share(caplog):
    data = images(200, 0.5)
    options = ["backbone.hidden=8", "backbone.latents=[2, 2]"]
    made = build_model(resolve(None, options, backbone="twolayer", prior="gaussian", data="digits"), data.spec, "cpu")
    figures = measure(made, data, samples=100, metrics=("fd", "hole"))
    assert {"fd_digits_heldout", "fd_digits_heldout_posterior", "hole_top_0"} <= {*figures}
    assert not any(name.startswith(("share_closed", "hole_prior")) for name in figures) and not caplog.messages


def test_each_image_is_decoded_once(monkeypatch):
    data = images(200, 0.5)
    made, decoded = model(data), []
    decode = made.decode
    monkeypatch.setattr(made, "decode", lambda u, **how: decoded.append(len(u)) or decode(u, **how))
    measure(made, data, samples=100, metrics=("fd",))
    assert decoded == [100] * 4


def test_the_table_and_the_chart_show_each_row(measured):
    figures = measured[2]
    console = Console(width=120, record=True)
    console.print(hole_table(figures))
    told = console.export_text()
    for name in ("hole_top_0", "hole_top_1", "hole_only_1", "hole_shuffled", "hole_prior_top_2"):
        assert f"{figures[name].value:.3g} ±" in told
    assert [line.split()[0] for line in told.splitlines()[-4:]] == ["none", "0", "0", "shuffled"]
    console = Console(width=120, record=True)
    console.print(backbone_table(figures))
    assert "hole_" not in console.export_text()
    assert len(hole_chart(figures).axes) == 2
    one = {"hole_top_0": Metric(2.0, None, ""), "hole_top_1": Metric(1.0, 0.1, "")}
    assert len(hole_chart(one).axes) == 1
    assert hole_chart({}) is None and hole_table({"fd_digits": Metric(1.0, None, "")}) is None
