"""The sentence of a run: the share of the gap, and what is said where there is none."""

import pytest

from priorkit.core.metric import Metric
from priorkit.report.headline import headline

INTERVAL = "spread: half the width of a 95 % interval"
ERROR = "spread: standard error"
ENDS = (
    "Fréchet distance to held-out images: Gaussian prior 6.30, learned prior 1.34, posterior samples (best reachable) 0.14."
)


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
            "The learned prior closes 80 % (95 % interval 75 to 86 %) of the prior hole. " + ENDS,
        ),
        (
            distances(28.94, 8.54, 7.64, spread=1.6)
            | {"fd_digits_heldout_gaussian": Metric(28.94, 3.2, INTERVAL)}
            | share(0.958, 0.044),
            "The learned prior closes 96 % (95 % interval 91 to 100 %) of the prior hole. Fréchet distance to "
            "held-out images: Gaussian prior 29, learned prior 8.5, posterior samples (best reachable) 7.6.",
        ),
        (
            distances(6.3, 6.1, 0.14) | share(0.03, 0.05),
            "It cannot be told whether the learned prior closes any of the prior hole: 3 % (95 % interval −2 to 8 %). "
            + ENDS.replace("1.34", "6.10"),
        ),
        (
            distances(6.3, 8.1, 0.14) | share(-0.29, 0.05),
            "The learned prior is worse than the Gaussian prior. " + ENDS.replace("1.34", "8.10"),
        ),
        (
            distances(0.30, 0.31, 0.25),
            "There is no prior hole to close: Gaussian prior and posterior samples differ by no more than noise. "
            + ENDS.replace("1.34", "0.31").replace("6.30", "0.30").replace("0.14", "0.25"),
        ),
        (
            distances(6.3, 1.34),
            "How much of the prior hole is closed is unknown, since posterior samples were not measured. "
            "Fréchet distance to held-out images: Gaussian prior 6.30, learned prior 1.34.",
        ),
        (
            distances(6.3, 1.34, 0.14),  # a run from before the share
            "The learned prior is better than the Gaussian prior. " + ENDS,
        ),
        (
            distances(6.3, 6.3, 0.14),
            "The prior equals the Gaussian one and closes nothing of the prior hole. "
            + ENDS.replace("learned prior 1.34, ", ""),
        ),
        (
            distances(6.3, 1.34, 0.14, name="fd_digits"),
            "The learned prior is better than the Gaussian prior. "
            + ENDS.replace("held-out", "training")
            + " There is no distance to held-out images, so this does not show copies.",
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
    told = "The prior is Gaussian and leaves the prior hole open. " + ENDS.replace("learned prior 1.34, ", "")
    assert headline(figures, prior="gaussian") == told
    assert headline({"gap_auc": Metric(0.8, 0.02, INTERVAL)}, prior="gaussian") == (
        "The prior is Gaussian and leaves the prior hole open. AUC of a classifier against the posterior: Gaussian prior "
        "0.80, without a gap 0.50."
    )


def test_points_of_a_toy_close_a_gap_in_nats():
    figures = {
        "nll_gaussian": Metric(4.5, 0.01, ERROR),
        "nll": Metric(3.6, 0.01, ERROR),
        "nll_truth": Metric(3.5, 0.0, ERROR),
    }
    told = "The learned prior closes 90 % of the prior hole. Negative log-likelihood in nats: Gaussian prior 4.500, "
    assert headline(figures) == told + "learned prior 3.600, true density 3.500."
    worse = figures | {"nll": Metric(4.8, 0.01, ERROR)}
    assert headline(worse).startswith("The learned prior is worse than the Gaussian prior. ")


def test_points_without_a_density_are_told_by_energy_distance():
    figures = {"energy_distance_gaussian": Metric(0.3, 0.01, ERROR), "energy_distance": Metric(0.02, 0.01, ERROR)}
    told = (
        "The learned prior is better than the Gaussian prior. Energy distance to the posterior: Gaussian prior 0.300, "
        "learned prior 0.020."
    )
    assert headline(figures) == told


@pytest.mark.parametrize(("learned", "word"), [(0.55, "better"), (0.42, "better"), (0.9, "worse"), (0.79, "cannot be told")])
def test_the_better_auc_is_nearer_to_a_half(learned, word):
    figures = {"gap_auc_gaussian": Metric(0.8, 0.02, INTERVAL), "gap_auc": Metric(learned, 0.02, INTERVAL)}
    assert word in headline(figures) and "without a gap 0.50" in headline(figures)


def test_stages_and_layers_are_not_taken_for_the_prior():
    figures = distances(6.3, 1.34, 0.14) | share(0.8, 0.05)
    more = {"fd_digits_heldout_stage_1": Metric(3.0, 0.1, INTERVAL), "gap_auc_layer_0": Metric(0.9, 0.1, INTERVAL)}
    assert headline(more | figures) == headline(figures)
