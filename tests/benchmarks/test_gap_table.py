"""The table of `gap_auc`: what the whole lacks is measured against its best layer."""

import gap

from priorkit.core import Metric


def figure(value):
    return Metric(value, 0.02, "protocol")


def test_a_line_says_by_how_much_the_best_layer_exceeds_the_whole():
    figures = {"all": figure(0.6), "layer_0": figure(0.55), "layer_1": figure(0.7)}
    assert gap.row("a/run", "gaussian", figures, 1.26) == [
        "a/run", "gaussian", "0.600 ± 0.020", "0.550, 0.700", "0.700 ± 0.020", "+0.100", "1.3",
    ]  # fmt: skip


def test_the_only_layer_is_the_whole():
    assert gap.row("a/run", "learned", {"all": figure(0.6)}, 0)[3:6] == ["", "0.600 ± 0.020", "+0.000"]
