"""The sentence of a run: the share of the gap, and what is said where there is none."""

import pytest

from priorkit.core.metric import Metric
from priorkit.report.headline import headline

INTERVAL = "spread: half the width of a 95 % interval"
ERROR = "spread: standard error"


def distances(gaussian, learned, floor=None, spread=0.1, name="fd_digits_heldout"):
    """Metrics of the two or three ends."""
    ends = {"_gaussian": gaussian, "": learned, "_posterior": floor}
    return {name + ending: Metric(value, spread, INTERVAL) for ending, value in ends.items() if value is not None}


def share(value, half):
    return {"share_closed": Metric(value, half, INTERVAL)}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (
            distances(6.3, 1.34, 0.14) | share(0.805, 0.053),
            "The prior closed 80 % (75 to 86 %) of the gap on held-out images: fd 6.30 → 1.34, floor 0.14.",
        ),
        (
            distances(6.3, 6.1, 0.14) | share(0.03, 0.05),
            "It cannot be told whether the prior closed any of the gap on held-out images: 3 % (−2 to 8 %); "
            "fd 6.30 → 6.10, floor 0.14.",
        ),
        (
            distances(6.3, 8.1, 0.14) | share(-0.29, 0.05),
            "The prior is worse than the Gaussian prior on held-out images: fd 6.30 → 8.10, floor 0.14.",
        ),
        (
            distances(0.30, 0.31, 0.25),
            "There was no gap to close on held-out images: Gaussian prior and floor differ by no more than noise; "
            "fd 0.30 → 0.31, floor 0.25.",
        ),
        (
            distances(6.3, 1.34),
            "On held-out images: fd 6.30 → 1.34; without a floor, since posterior samples were not measured.",
        ),
        (
            distances(6.3, 1.34, 0.14),  # a run from before the share
            "The learned prior is better than the Gaussian prior on held-out images: fd 6.30 → 1.34, floor 0.14.",
        ),
        (
            distances(6.3, 6.3, 0.14),
            "The prior equals the Gaussian one and closes nothing of the gap on held-out images: fd 6.30, floor 0.14.",
        ),
        (
            distances(6.3, 1.34, 0.14, name="fd_digits"),
            "The learned prior is better than the Gaussian prior: fd to training images 6.30 → 1.34, floor 0.14. "
            "There is no fd to held-out images, so this does not show copies.",
        ),
        (
            {"reconstruction": Metric(0.1, None, "")},
            "No metric of this run compares the learned prior with the Gaussian one.",
        ),
    ],
)
def test_images(figures, told):
    assert headline(figures) == told


def test_a_gaussian_prior_has_its_figures_without_a_suffix():
    """As a run of the prior `gaussian` is summarised."""
    figures = {"fd_digits_heldout": Metric(6.3, 0.1, INTERVAL), "fd_digits_heldout_posterior": Metric(0.14, 0.1, INTERVAL)}
    told = "The prior is Gaussian and leaves the gap on held-out images open: fd 6.30, floor 0.14."
    assert headline(figures, prior="gaussian") == told
    assert headline({"gap_auc": Metric(0.8, 0.02, INTERVAL)}, prior="gaussian") == (
        "The prior is Gaussian and leaves the gap open: AUC of a classifier against the posterior 0.80, without a gap 0.50."
    )


def test_points_of_a_toy_close_a_gap_in_nats():
    figures = {
        "nll_gaussian": Metric(4.5, 0.01, ERROR),
        "nll": Metric(3.6, 0.01, ERROR),
        "nll_truth": Metric(3.5, 0.0, ERROR),
    }
    told = "The prior closed 90 % of the gap on held-out points: negative log-likelihood in nats 4.50 → 3.60, "
    assert headline(figures) == told + "the true density's 3.50."
    worse = figures | {"nll": Metric(4.8, 0.01, ERROR)}
    assert headline(worse).startswith("The learned prior is worse than the Gaussian prior: ")


def test_points_without_a_density_are_told_by_energy_distance():
    figures = {"energy_distance_gaussian": Metric(0.3, 0.01, ERROR), "energy_distance": Metric(0.02, 0.01, ERROR)}
    told = "The learned prior is better than the Gaussian prior: energy distance to the posterior 0.30 → 0.02."
    assert headline(figures) == told


@pytest.mark.parametrize(("learned", "word"), [(0.55, "better"), (0.42, "better"), (0.9, "worse"), (0.79, "cannot be told")])
def test_the_better_auc_is_nearer_to_a_half(learned, word):
    figures = {"gap_auc_gaussian": Metric(0.8, 0.02, INTERVAL), "gap_auc": Metric(learned, 0.02, INTERVAL)}
    assert word in headline(figures) and "without a gap 0.50" in headline(figures)


def test_stages_and_layers_are_not_taken_for_the_prior():
    figures = distances(6.3, 1.34, 0.14) | share(0.8, 0.05)
    more = {"fd_digits_heldout_stage_1": Metric(3.0, 0.1, INTERVAL), "gap_auc_layer_0": Metric(0.9, 0.1, INTERVAL)}
    assert headline(more | figures) == headline(figures)
