"""Pages explain each metric in words and name the priors in full."""

from io import StringIO

import pytest
from rich.console import Console

from priorkit.core.metric import Metric
from priorkit.report.fitting import Fitting
from priorkit.report.page_words import in_full, meaning, page_prior, page_titles
from priorkit.report.prior_figures import BARE, OF_DATA
from priorkit.report.table import prior_table
from priorkit.report.titles import prior_title
from priorkit.workflows.comparing.gather import POSTERIOR
from priorkit.workflows.sharing.model_card import model_card

NAMES = (
    *("fd_digits", "fd_digits_heldout", "gap_auc", "gap_auc_layer_3", "energy_distance_p", "sliced_wasserstein", "nll"),
    *("forbidden", "cell_least", "log_z", "elbo_prior_nats", "iw_prior_bpd", "gain_nats", "share_closed", "fid"),
    *("kid_heldout", "cmmd", "kd_digits_heldout", "inception_score", "class_score_digits", "precision_digits", "copied"),
    *("recall_digits_heldout", "authenticity", "c_t", "density_digits_heldout", "coverage_digits_heldout"),
    *("clipped_density_digits_heldout", "copied_heldout", "authenticity_heldout", "nll_truth", "reconstruction"),
    *("elbo_nats", "iw_bpd", "kl_layer_0", "rfd_digits", "hole_nats_lower"),
)


def test_every_kind_of_metric_has_a_meaning():
    assert [name for name in NAMES if not meaning(name)] == []
    assert [each for each in (*BARE, *OF_DATA) if not any(name.startswith(each) for name in NAMES)] == []
    assert meaning("of_a_plugin") == ""


@pytest.mark.parametrize("kind", ["fd", "kd", "precision", "recall"])
def test_a_meaning_says_which_images(kind):
    assert "held-out images" in meaning(f"{kind}_digits_heldout")
    assert "training images" in meaning(f"{kind}_digits") and "{" not in meaning(f"{kind}_digits")


def test_titles_are_without_abbreviations():
    assert page_titles(["fd_digits_heldout"]) == {"fd_digits_heldout": "Fréchet distance to held-out images"}
    assert in_full("fd to training images ↓") == "Fréchet distance to training images ↓"


def test_priors_are_named_in_full():
    told = [page_prior(ending) for ending in ("_gaussian", "_stage_2", "", "_posterior")]
    assert told == ["Gaussian prior", "stage 2", "learned prior", "posterior samples (best reachable)"]


def test_posterior_samples_and_metrics_have_one_name_everywhere():
    """In the terminal's table, in a comparison, on pages and on the card of a shared run."""
    figures = {f"fd_digits_heldout{end}": Metric(1.0, 0.1, "how") for end in ("", "_gaussian", "_posterior")}
    console = Console(width=100, record=True, file=StringIO())
    console.print(Fitting(prior_table(figures)))
    told = " ".join(console.export_text().split())
    assert "samples" in told and "posterior" in told and "floor" not in told
    assert prior_title("_posterior") == POSTERIOR and page_prior("_posterior").startswith(POSTERIOR)
    summary = {
        "backbone": "nvae",
        "prior": "gaussian",
        "metrics": {"nll": {"value": 1.0, "spread": None, "protocol": "how"}},
    }
    config = {name: {} for name in ("data", "backbone", "prior", "sampler", "trainer")} | {"seed": 0}
    card = model_card("me/mine", config, {"name": "digits", "shape": [1, 8, 8]}, {**summary, "data": "digits"})
    assert "## Metrics" in card and "igure" not in card
