"""The words of pages: metrics in full, what each one means, and the names of the priors."""

import re
from collections.abc import Iterable

from priorkit.report.headline import BEST_REACHABLE
from priorkit.report.titles import prior_title, titles

__all__ = ["in_full", "meaning", "page_prior", "page_titles"]

REAL = "(?P<real>_heldout)?"
MEANINGS: tuple[tuple[str, str], ...] = (
    (
        r"share_closed",
        "part of the prior hole (from the Gaussian prior's distance to that of posterior samples) that is closed",
    ),
    (rf"fd_\w+?{REAL}", "how far the statistics of generated images are from those of {real}; lower is better"),
    (r"r(fd_\w+|fid)", "the same distance for reconstructions of images: what the decoder alone loses"),
    (rf"fid{REAL}", "Fréchet distance on the features of the Inception network, to {real}; lower is better"),
    (rf"k(d_\w+?|id){REAL}", "a distance to {real} that is unbiased for few samples; lower is better"),
    (rf"cmmd{REAL}", "a distance to {real} on the features of CLIP, unbiased for few samples; lower is better"),
    (r"inception_score", "how certain and how varied the classes of the generated images are; higher is better"),
    (r"class_score_\w+", "how certain and how varied the classes of the generated images are; higher is better"),
    (rf"precision_\w+?{REAL}", "share of generated images that lie among {real}"),
    (rf"recall_\w+?{REAL}", "share of {real} that lie among generated images"),
    (rf"(clipped_)?density_\w+?{REAL}", "how densely generated images lie around {real}; 1: as densely as real ones"),
    (rf"(clipped_)?coverage_\w+?{REAL}", "share of {real} that have a generated image near"),
    (r"copied(_heldout)?", "share of samples closer to a training image than that image's nearest training neighbour"),
    (r"authenticity(_heldout)?", "share of samples that are not closer than that: 1 − copied"),
    (r"c_t", "far below 0: samples are closer to training images than held-out images are"),
    (r"gap_auc.*_p|energy_distance.*_p|sliced_wasserstein.*_p", "how often equal distributions would differ as much"),
    (r"gap_auc.*", "a classifier's AUC between samples of the prior and of the posterior; 0.5: it cannot tell them apart"),
    (r"energy_distance.*", "distance between samples of the prior and of the posterior; 0: equal"),
    (r"sliced_wasserstein.*", "distance between samples of the prior and of the posterior, over random lines; 0: equal"),
    (r"(elbo|iw)_prior_(nats|bpd)", "bound on the log-likelihood of held-out images under this prior"),
    (r"(elbo|iw)_(nats|bpd)", "bound on the log-likelihood of held-out images under the Gaussian prior"),
    (r"gain_nats", "how much better the bound is than under the Gaussian prior; higher is better"),
    (r"log_z", "logarithm of the learned density's constant, as estimated"),
    (r"hole_nats_\w+", "bound on the divergence between the aggregate posterior and the prior: the prior hole"),
    (r"nll", "mean negative log density at held-out points; lower is better"),
    (r"nll_truth", "the same of the distribution that the points come from: what no prior can exceed"),
    (r"forbidden", "share of samples where the data have none; lower is better"),
    (r"cell_(least|most)", "share of samples in the mode that has the fewest, or the most; equal shares are best"),
    (r"reconstruction", "squared error per pixel of the decoded posterior samples"),
    (r"kl_layer_\d+", "how much this layer says about an image"),
)
"""Patterns of whole names and what the metrics mean; {real} are the images that a metric compares with."""


def meaning(name: str) -> str:
    """Return what a metric means in words; empty for a plugin's."""
    for pattern, told in MEANINGS:
        if found := re.fullmatch(pattern, name):
            held = found.groupdict().get("real")
            return told.replace("{real}", "held-out images" if held else "training images")
    return ""


def in_full(title: str) -> str:
    """Return a metric's title without abbreviations that a newcomer does not know."""
    return re.sub(r"^fd (to|of)\b", r"Fréchet distance \1", title)


def page_titles(names: Iterable[str]) -> dict[str, str]:
    """Return the titles of metrics in full, in the order of tables."""
    return {name: in_full(title) for name, title in titles(names).items()}


def page_prior(ending: str) -> str:
    """Return a prior's name by the suffix of its metrics: Gaussian prior, stage 1, learned prior, posterior samples."""
    if ending == "_posterior":
        return BEST_REACHABLE
    told = prior_title(ending)
    return told if ending.startswith("_stage_") else f"{told} prior"
