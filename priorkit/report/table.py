"""The tables printed at the end of a run: the metrics of each prior side by side, and those of the backbone below."""

from collections.abc import Mapping

from rich.table import Table

from priorkit.core.metric import Metric
from priorkit.report.hole_table import NAMES
from priorkit.report.order import last_number

__all__ = ["backbone_table", "prior_table"]

BARE = (
    *("fd_", "gap_auc", "energy_distance", "sliced_wasserstein", "nll", "forbidden", "cell_"),
    *("log_z", "elbo_prior", "iw_prior", "gain_nats", "share_closed"),
    *("fid", "kid", "kd_", "inception_score", "class_score_", "precision_", "recall_", "copied"),
    *("authenticity", "c_t", "density_", "coverage_", "clipped_"),
)
"""Prefixes of metrics that are computed for several priors, which have different suffixes."""
OF_REAL_IMAGES = ("copied_heldout", "authenticity_heldout")
"""Metrics with such a prefix that do not belong to a prior."""
ELSEWHERE = NAMES
"""Metrics with a separate table (`hole_table`)."""


def prior_table(figures: Mapping[str, Metric]) -> Table:
    """Return one row per metric, one column per prior: Gaussian, each stage, learned (the last stage), posterior (the
    floor)."""
    names = sorted({base for name in figures if (base := _base(name)) is not None}, key=lambda name: (name[:3], name))
    stages = sorted({_ending(name) for name in figures if "_stage_" in _ending(name)}, key=last_number)
    endings = ["_gaussian", *stages[:-1], "", "_posterior"]
    endings = [ending for ending in endings if any(_find(figures, base, ending) for base in names)]
    title = "priors (fd: lower is better; AUC: 0.5 cannot be told from the posterior)"
    if "share_closed" in names:
        title += "\nshare_closed: of the fd between Gaussian and posterior, on held-out images, ± half a 95 % interval"
    if (level := figures.get("copied_heldout")) is not None:
        title += f"\ncopied: nearer to a training image than that is to another; of held-out images {_show(level)}"
    if "c_t" in names:
        title += "\nc_t: a test for copies; far below 0: nearer to training images than held-out images are"
    # Without borders, so that five priors and their spreads fit into 80 columns.
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    # Where there is no room a long name is folded, so that no value is cut off.
    table.add_column("metric", overflow="fold")
    for ending in endings:
        table.add_column(_title(ending), justify="right", no_wrap=True)
    for base in names:
        table.add_row(base, *(_show(_find(figures, base, ending)) for ending in endings))
    return table


def backbone_table(figures: Mapping[str, Metric]) -> Table:
    """Return the metrics that do not depend on the prior, with their protocols."""
    table = Table(title="backbone and density", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("protocol")
    for name, figure in figures.items():
        if _base(name) is None and not name.startswith(ELSEWHERE):
            table.add_row(name, _show(figure), figure.protocol)
    return table


def _base(name: str) -> str | None:
    """Return the metric's name without the prior: fd_digits_stage_1 -> fd_digits, gap_auc_gaussian_layer_0 ->
    gap_auc_layer_0."""
    if not name.startswith(BARE) or name in OF_REAL_IMAGES:
        return None
    return name.replace(_ending(name), "", 1) if _ending(name) else name


def _ending(name: str) -> str:
    for ending in ("_gaussian", "_posterior"):
        if ending in name:
            return ending
    _, mark, tail = name.partition("_stage_")
    return mark + tail.split("_")[0] if mark else ""


def _find(figures: Mapping[str, Metric], base: str, ending: str) -> Metric | None:
    return next((figure for name, figure in figures.items() if _base(name) == base and _ending(name) == ending), None)


def _title(ending: str) -> str:
    return {"_gaussian": "Gaussian", "": "learned", "_posterior": "posterior"}.get(ending, ending[1:].replace("_", " "))


def _show(figure: Metric | None) -> str:
    if figure is None:
        return ""
    return f"{figure.value:.3g}" + ("" if figure.spread is None else f" ±{figure.spread:.1g}")
