"""The titles of metrics, by which terminal and pages call them; files and options have their names."""

import re
from collections.abc import Iterable

__all__ = ["PRIORS", "prior_title", "title", "titles", "without_prior"]

PRIORS = {"_gaussian": "Gaussian", "": "learned", "_posterior": "posterior samples"}
"""The titles of priors by the suffix of their metrics' names; posterior samples are those of training images."""
HELD, TRAINING = "(?P<held>_heldout)", "(?!.*_heldout)"
UNIT = "_(?P<unit>nats|bpd)"
RULES: tuple[tuple[str, str], ...] = (
    (r"share_closed", "share closed"),
    (rf"fd_\w+{HELD}", "fd to held-out images"),
    (rf"fd_{TRAINING}\w+", "fd to training images"),
    (r"r(fd_\w+|fid)", "fd of reconstructions"),
    (r"(fid|kid|cmmd)(?:_heldout)?", "{1.upper}"),
    (r"inception_score", "Inception score"),
    (r"class_score_\w+", "class score"),
    (rf"kd_\w+{HELD}", "kernel distance"),
    (rf"kd_{TRAINING}\w+", "kernel distance, training images"),
    (rf"clipped_(density|coverage)_\w+{HELD}", "clipped {1}"),
    (rf"(precision|recall|density|coverage)_\w+{HELD}", "{1}"),
    (rf"(precision|recall|density|coverage)_{TRAINING}\w+", "{1}, training images"),
    (r"copied", "copied images"),
    (r"copied_heldout", "copied, held-out images"),
    (r"authenticity", "authentic images"),
    (r"authenticity_heldout", "authentic, held-out images"),
    (r"c_t", "C_T, test for copies"),
    (r"(gap_auc|energy_distance|sliced_wasserstein)", "{measure}"),
    (r"(gap_auc|energy_distance|sliced_wasserstein)_layer_(\d+)", "{measure}, layer {2}"),
    (r"(gap_auc|energy_distance|sliced_wasserstein)_top_(\d+)", "{measure}, top {2}"),
    (r"(gap_auc|energy_distance|sliced_wasserstein)(.*)_p", "{measure}{2}, p"),
    (rf"elbo{UNIT}", "ELBO under N(0, I), {unit}"),
    (rf"iw{UNIT}", "IW bound under N(0, I), {unit}"),
    (rf"elbo_prior{UNIT}", "ELBO, {unit}"),
    (rf"iw_prior{UNIT}", "IW bound, {unit}"),
    (r"log_z", "log Z"),
    (r"log_z_(lower|upper|effective)", "log Z, {1}"),
    (r"gain_nats", "gain over Gaussian, nats"),
    (r"(hole|information)_nats_(\w+)", "{1} in nats, {2}"),
    (r"nll", "negative log-likelihood, nats"),
    (r"nll_truth", "negative log-likelihood of the truth, nats"),
    (r"forbidden", "samples outside the data"),
    (r"cell_least", "emptiest mode"),
    (r"cell_most", "fullest mode"),
    (r"reconstruction", "reconstruction error"),
    (r"kl_layer_(\d+)", "KL, layer {1}, nats"),
    (r"chains_(\w+)", "chains: {1}"),
    (r"heldout_bpd", "held-out bits/dim"),
    (r"heldout_(?:validation_)?loss", "held-out loss"),
    (r"heldout_(elbo|auc)", "held-out {1.upper}"),
    (r"heldout_(\w+)", "held-out {1}"),
)
"""Patterns of whole names and their titles, in the order of tables. In a title {1} is a group and {1.upper} that group in
capitals."""
MEASURES = {
    "gap_auc": "gap AUC",
    "energy_distance": "energy distance",
    "sliced_wasserstein": "sliced Wasserstein distance",
}
UNITS = {"nats": "nats", "bpd": "bits/dim"}


def title(name: str) -> str:
    """Return the title of a metric by its name without a prior's suffix; the name, with spaces, if it is of a plugin."""
    number, found = _rule(name)
    if found is None:
        return name.replace("_", " ")
    groups = {str(i): (group or "").replace("_", " ") for i, group in enumerate(found.groups(), start=1)}
    words = {
        **{f"{key}.upper": group.upper() for key, group in groups.items()},
        **groups,
        "measure": MEASURES.get(found[1], "") if found.re.groups else "",
        "unit": UNITS.get(found.groupdict().get("unit") or "", ""),
    }
    return re.sub(r"\{([\w.]+)\}", lambda mark: words[mark[1]], RULES[number][1])


def titles(names: Iterable[str]) -> dict[str, str]:
    """Return the titles of metrics in the order of tables; those that share a title have their name in brackets too."""
    ordered = sorted(names, key=_place)
    plain = {name: title(name) for name in ordered}
    told = list(plain.values())
    return {name: each if told.count(each) == 1 else f"{each} ({name})" for name, each in plain.items()}


def without_prior(name: str) -> tuple[str, str]:
    """Return a metric's name without the prior, and the suffix that says which: fd_digits_stage_1 -> fd_digits, _stage_1;
    gap_auc_gaussian_layer_0 -> gap_auc_layer_0, _gaussian."""
    found = re.search(r"_gaussian|_posterior|_stage_[^_]+", name)
    return (name.replace(found[0], "", 1), found[0]) if found else (name, "")


def prior_title(ending: str) -> str:
    """Return the title of the prior with that suffix: Gaussian, stage 1, learned, posterior samples."""
    return PRIORS.get(ending, ending[1:].replace("_", " "))


def _rule(name: str) -> tuple[int, re.Match[str] | None]:
    """Return the number of the rule for a name, and its match; the number after the last one without a rule."""
    for number, (pattern, _) in enumerate(RULES):
        if found := re.fullmatch(pattern, name):
            return number, found
    return len(RULES), None


def _place(name: str) -> tuple[int, list[int], str]:
    """Return what orders names: the rule, then the numbers, so that layer 10 follows layer 9."""
    return _rule(name)[0], [int(number) for number in re.findall(r"\d+", name)], name
