"""Histograms of scores: their area, their bins, what lies outside."""

import torch

from priorkit.report.score_histograms import BINS, score_histograms


def areas(axis):
    """The area of each histogram of a panel, by its legend."""
    found = {}
    for patches, label in zip(axis.containers, axis.get_legend().get_texts(), strict=False):
        found[label.get_text()] = sum(patch.get_width() * patch.get_height() for patch in patches)
    return found


def outline(axis):
    """x and y of the stepped line of a panel."""
    return axis.patches[-1].get_xy().T


def test_each_set_has_a_panel_and_area_one():
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.randn(500, generator=generator) + shift for name, shift in (("held out", 0), ("a", -2), ("b", 3))}
    figure = score_histograms(scores, "log r")
    assert len(figure.axes) == 2
    for axis, name in zip(figure.axes, ("a", "b"), strict=True):
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["held out", name]
        assert abs(areas(axis)["held out"] - 1) < 1e-9
        x, y = outline(axis)
        # The outline of a histogram closes on the axis: twice the trapezoids under it is its area, by the shoelace formula.
        area = abs((x * torch.tensor(y).roll(-1).numpy() - torch.tensor(x).roll(-1).numpy() * y).sum()) / 2
        assert abs(area - 1) < 1e-9
        assert axis.get_xlabel() == "log r"


def test_an_odd_number_of_sets_leaves_no_empty_panel():
    scores = {name: torch.arange(10.0) for name in ("held out", "a", "b", "c")}
    assert len(score_histograms(scores, "log r").axes) == 3


def test_far_outsiders_do_not_flatten_the_held_out_ones():
    inside = torch.linspace(0, 1, 101)
    low, high = score_histograms({"held out": inside, "far": torch.full((10,), -1e9)}, "log r").axes[0].get_xlim()
    assert (low, high) == (0.5 - 4.0, 1.0)


def test_equal_scores_have_a_width():
    axis = score_histograms({"held out": torch.zeros(5)}, "log r").axes[0]
    assert axis.get_xlim() == (-0.5, 0.5)
    assert len(axis.containers[0]) == BINS
