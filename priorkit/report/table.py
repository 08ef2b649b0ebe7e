"""The tables printed at the end of a run: the metrics of each prior side by side, those of the backbone, the protocols."""

from collections.abc import Mapping

from rich.table import Table

from priorkit.core.metric import Metric
from priorkit.report.hole_table import NAMES
from priorkit.report.prior_figures import of_a_prior, prior_figures, shown_figure
from priorkit.report.titles import prior_title, title, titles, without_prior

__all__ = ["backbone_line", "backbone_table", "prior_table", "protocol_table", "table_notes"]

ELSEWHERE = NAMES
"""Metrics with a separate table (`hole_table`)."""
OF_BACKBONE = ("reconstruction", "elbo_nats", "elbo_bpd")
"""The backbone's metrics in one line, in order."""


def prior_table(figures: Mapping[str, Metric], *, details: bool = True) -> Table:
    """Return one row per metric, one column per prior: Gaussian, each stage, learned (the last stage), posterior
    samples; without `details`, only metrics of all layers together."""
    found = prior_figures(figures, details=details)
    # Without borders, so that five priors and their spreads fit into 80 columns.
    table = Table(
        title="\n".join(table_notes(figures)), title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("metric")
    for ending in found.endings:
        table.add_column(prior_title(ending).replace("posterior ", "posterior\n"), justify="right", no_wrap=True)
    for name, row in found.rows.items():
        table.add_row(found.titles[name], *map(shown_figure, row))
    return table


def table_notes(figures: Mapping[str, Metric]) -> list[str]:
    """Return what a reader of the table has to know about its metrics."""
    names = prior_figures(figures).rows.keys()
    notes = []
    if any(name.startswith("fd_") for name in names):
        notes.append("fd: lower is better; posterior samples: the best reachable")
    if any(name.startswith("gap_auc") for name in names):
        notes.append("gap AUC: 0.5 cannot be told from the posterior")
    if "share_closed" in names:
        notes.append("share: of the fd between Gaussian and posterior samples, on held-out images, ± half a 95 % interval")
    if (level := figures.get("copied_heldout")) is not None:
        notes.append(f"copied: nearer to a training image than that is to another; of held-out images {shown_figure(level)}")
    if "c_t" in names:
        notes.append("C_T: far below 0: nearer to training images than held-out images are")
    return notes


def backbone_line(figures: Mapping[str, Metric]) -> str:
    """Return the metrics of the backbone in a line; empty if there are none."""
    told = [f"{title(name)} {shown_figure(figures[name])}" for name in OF_BACKBONE if name in figures]
    layers = [f"{figure.value:.3g}" for name, figure in figures.items() if name.startswith("kl_layer_")]
    told += [f"KL of {len(layers)} layers {sum(map(float, layers)):.3g} nats"] if layers else []
    return f"backbone: {'; '.join(told)}" if told else ""


def backbone_table(figures: Mapping[str, Metric]) -> Table:
    """Return the metrics that do not depend on the prior."""
    table = Table(title="backbone and density", title_justify="left", box=None, pad_edge=False)
    table.add_column("metric")
    table.add_column("value", justify="right", no_wrap=True)
    own = {name: figure for name, figure in figures.items() if not of_a_prior(name) and not name.startswith(ELSEWHERE)}
    for name, told in titles(own).items():
        table.add_row(told, shown_figure(own[name]))
    return table


def protocol_table(figures: Mapping[str, Metric]) -> Table:
    """Return each metric's name in files and its protocol; that of the first prior stands for all."""
    table = Table(title="protocols", title_justify="left", box=None, pad_edge=False)
    for head in ("metric", "name", "protocol"):
        table.add_column(head)
    first: dict[str, Metric] = {}
    for name, figure in figures.items():
        first.setdefault(without_prior(name)[0] if of_a_prior(name) else name, figure)
    for name, told in titles(first).items():
        table.add_row(told, name, first[name].protocol)
    return table
