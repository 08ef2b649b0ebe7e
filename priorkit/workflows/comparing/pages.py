"""The page of a comparison."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from priorkit.core import Progress, no_progress
from priorkit.metrics import Metric
from priorkit.report.charts import against_cost, gap_by_layer, outsider_curves, read_scores, stage_curves
from priorkit.report.comparison import Comparison
from priorkit.report.comparison_headline import comparison_headline
from priorkit.report.comparison_table import MAIN, columns, in_order
from priorkit.report.drawn import drawn
from priorkit.report.headline import BEST_REACHABLE
from priorkit.report.page import Grid, Section, comparison_grid, render
from priorkit.report.page_words import in_full, meaning
from priorkit.report.titles import title
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.comparing.differences import differing_options, same_backbone
from priorkit.workflows.comparing.gather import POSTERIOR
from priorkit.workflows.comparing.run_page import environment_grid, protocol_grid
from priorkit.workflows.comparing.run_record import RunRecord
from priorkit.workflows.comparing.sheets import SEED, SHOWN, sheets

__all__ = ["write_comparison_page"]

TABLE = (
    "Click a heading to sort; on a narrow screen choose from the list. Bold: the best, and what cannot be told from it; "
    "a prior that learns nothing is never best in cost. The section Protocols says how each metric was computed."
)
OF_BACKBONE_TRAINING = ("trainer.backbone_", "backbone.optimiser.")
"""Options that say nothing about runs whose backbones have equal weights."""
BARS = "Bars are the ± of the table."
MAIN_COSTS = ("seconds", "samples_per_second")


def write_comparison_page(
    comparison: Comparison, runs: Sequence[RunRecord], path: Path, *, progress: Progress = no_progress
) -> None:
    """Write a comparison as one page; `runs` are those of its rows."""
    comparison = _as_shown(comparison)
    by_name = {run.name: run for run in runs}
    firsts = {row.label: by_name[row.runs[0]] for row in comparison.priors}
    names = columns(comparison)
    quality = [name for name in names if name.startswith(("fd_", "nll"))][:1] or names[:1]
    setting = comparison.setting
    scores = {label: read_scores(run.outsiders) for label, run in firsts.items()}
    sections = [
        Section("Table", f"{TABLE}\n± is the {setting['spread']}. The rank is {setting['rank']}.",
                comparison_grid(comparison, MAIN, MAIN_COSTS), legend=_legend(comparison)),
        Section("Samples", f"{SHOWN} of each prior, from the same seed ({SEED}), the decoder's means.",
                pictures=sheets(firsts, progress=progress)),
        Section("Gap per layer", charts=drawn("gap", gap_by_layer(comparison),
                f"AUC of a classifier between prior and held-out posterior, layer 0 at the top. {BARS}")),
        Section("Quality against cost", charts=[chart for name in quality for chart in drawn(
                "cost", against_cost(comparison, name), f"Dashed: the best value that is reached at each cost. {BARS}")]),
        Section("Stages", charts=drawn("stages", stage_curves(comparison, [*quality, "gap_auc", "share_closed"]),
                f"After each stage of training; 0 is the Gaussian prior. {BARS}")),
        Section("Out of distribution", charts=drawn("ood", outsider_curves(scores),
                "AUROC of log r at a posterior sample, over the top k layers.")),
        Section("Configuration", "Options that differ between the rows.", _differences(firsts, shared=True)),
        Section("All metrics and costs", grid=comparison_grid(comparison), folded=True),
        Section("Protocols", grid=_protocols(comparison), folded=True),
        Section("Options of single components", grid=_differences(firsts, shared=False), folded=True),
        Section("Environment", grid=environment_grid(list(runs)), folded=True),
    ]  # fmt: skip
    headed = f"Priors on {setting['backbone']}, {setting['data']}"
    facts = {name: told for name, told in setting.items() if name not in ("spread", "rank")}
    told = comparison_headline(comparison)
    write_bytes(path, render(headed, facts, sections, comparison.warnings, headline=told).encode())


def _as_shown(comparison: Comparison) -> Comparison:
    """Return the comparison with its rows in the order of tables, and its posterior samples called what they are."""
    rows = [replace(row, label=BEST_REACHABLE) if row.label == POSTERIOR else row for row in in_order(comparison)]
    return replace(comparison, rows=tuple(rows))


def _legend(comparison: Comparison) -> dict[str, str]:
    """Return what the metrics of the first table mean, by title."""
    told = {in_full(title(name)): meaning(name) for name in columns(comparison, MAIN)}
    return {name: each for name, each in told.items() if each}


def _differences(firsts: dict[str, RunRecord], *, shared: bool) -> Grid | None:
    """Return options that differ: those that all rows have, or those that some rows lack; without the prior's name, which
    the rows have, and without the training of backbones whose weights are equal."""
    runs = list(firsts.values())
    hidden = ("prior.name", *(OF_BACKBONE_TRAINING if same_backbone(runs) else ()))
    found = {key: values for key, values in differing_options(runs).items() if not key.startswith(hidden)}
    found = {key: values for key, values in found.items() if all(values) == shared}
    return Grid.of_text(["option", *firsts], [[key, *values] for key, values in found.items()]) if found else None


def _protocols(comparison: Comparison) -> Grid | None:
    """Return each metric's protocol from the first row; those of stages and layers are similar."""
    rows = [row.figures for row in reversed(comparison.rows)]
    return protocol_grid({name: Metric(v.mean, None, v.protocol) for row in rows for name, v in row.items()})
