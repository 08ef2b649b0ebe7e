"""The pages of a comparison and of a run."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from priorkit.core import Progress, no_progress
from priorkit.errors import UsageError
from priorkit.report.charts import against_cost, gap_by_layer, outsider_curves, read_scores, stage_curves
from priorkit.report.comparison import Comparison
from priorkit.report.comparison_table import columns
from priorkit.report.detection import curves
from priorkit.report.hole_chart import hole_chart
from priorkit.report.inline import inline_svg, png_data
from priorkit.report.page import Cell, Chart, Grid, Picture, Section, comparison_grid, render
from priorkit.report.pictures import losses
from priorkit.runs.manifest import listed, read_listed
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.comparing.differences import differing_options, flat_options
from priorkit.workflows.comparing.run_record import RunRecord
from priorkit.workflows.comparing.sheets import SEED, SHOWN, sheets

__all__ = ["write_comparison_page", "write_run_page"]

log = logging.getLogger(__name__)

FIGURE_HEAD = ("figure", "value", "spread", "protocol")
BARS = "Bars are the ± of the table."
PICTURES = {
    "overview": "data, reconstructions and samples",
    "stages": "samples after each stage, from the same seeds",
    "chain": "along the chains",
    "diagnostics": "how the chains went",
}


def write_comparison_page(
    comparison: Comparison, runs: Sequence[RunRecord], path: Path, *, progress: Progress = no_progress
) -> None:
    """Write a comparison as one page; `runs` are those of its rows."""
    by_name = {run.name: run for run in runs}
    firsts = {row.label: by_name[row.runs[0]] for row in comparison.priors}
    names = columns(comparison)
    quality = [name for name in names if name.startswith(("fd_", "nll"))][:1] or names[:1]
    scores = {label: read_scores(run.outsiders) for label, run in firsts.items()}
    sections = [
        Section("Table", "Click a heading to sort. Bold: the best, and what cannot be told from it. Tips show protocols.",
                comparison_grid(comparison)),
        Section("Samples", f"{SHOWN} of each prior, from the same seed ({SEED}), the decoder's means.",
                pictures=sheets(firsts, progress=progress)),
        Section("Gap per layer", charts=_charts("gap", gap_by_layer(comparison),
                f"AUC of a classifier between prior and held-out posterior, layer 0 at the top. {BARS}")),
        Section("Quality against cost", charts=[chart for name in quality for chart in _charts(
                "cost", against_cost(comparison, name), f"Dashed: what no other prior beats in both. {BARS}")]),
        Section("Stages", charts=_charts("stages", stage_curves(comparison, [*quality, "gap_auc", "share_closed"]),
                f"After each stage of training; 0 is the Gaussian prior. {BARS}")),
        Section("Out of distribution", charts=_charts("ood", outsider_curves(scores),
                "AUROC of log r at a posterior sample, over the top k layers.")),
        Section("Configuration", "Options that differ between the rows.", _differences(firsts, shared=True)),
        Section("Options of single components", grid=_differences(firsts, shared=False), folded=True),
        Section("Environment", grid=_environment(list(runs))),
        Section("Protocols", grid=_protocols(comparison), folded=True),
    ]  # fmt: skip
    title = f"Priors on {comparison.setting['backbone']}, {comparison.setting['data']}"
    write_bytes(path, render(title, comparison.setting, sections, comparison.warnings).encode())


def write_run_page(run: RunRecord, path: Path) -> None:
    """Write the page of a run: metrics with their protocols, pictures, curves, configuration."""
    config = run.config
    pictures = [Picture(PICTURES[name], uri, wide=True) for name in PICTURES if (uri := _drawn(run, name))]
    figures = [
        [Cell(name), Cell(f"{f.value:.4g}", f.value), Cell("" if f.spread is None else f"{f.spread:.2g}", f.spread),
         Cell(f.protocol)] for name, f in run.figures.items()
    ]  # fmt: skip
    outsiders = read_scores(run.outsiders)
    costs = [[name.replace("_", " "), f"{value:,.6g}"] for name, value in run.costs.items()]
    sections = [
        Section("Pictures", pictures=pictures),
        Section("Figures", "Click a heading to sort.", Grid(FIGURE_HEAD, figures, sortable=True)),
        Section("The hole by layer", charts=_charts("hole", hole_chart(run.hole),
                "Fréchet distance to held-out images; bars are 95 % intervals.")),
        Section("Training", charts=_charts("losses", losses(run.records), "Loss of each stage against its steps.")),
        Section("Out of distribution", charts=_charts("ood", curves(outsiders) if outsiders else None, "AUROC by layers.")),
        Section("Cost", "Of the prior's training and of its samples.", Grid.of_text(["cost", "value"], costs)),
        Section("Configuration", grid=Grid.of_text(["option", "value"], list(flat_options(run).items())), folded=True),
        Section("Environment", grid=_environment([run])),
    ]  # fmt: skip
    facts = {kind: getattr(config, kind).name for kind in ("backbone", "prior", "sampler", "trainer")}
    facts |= {"data": flat_options(run)["data.name"], "seed": str(config.seed)}
    if (share := run.figures.get("share_closed")) is not None:
        facts["share of the gap closed, 95 % interval"] = f"{share.value:.2f} ± {share.spread or 0:.2f}"
    write_bytes(path, render(f"{config.prior.name} prior on {config.backbone.name}", facts, sections).encode())


def _drawn(run: RunRecord, name: str) -> str:
    """Return a picture of the run; empty if there is none or it is damaged, which the log reports."""
    file = f"samples/{name}.png"
    if not (run.folder.path / file).exists() and file not in listed(run.folder.path):
        return ""
    try:
        return png_data(read_listed(run.folder.path, file))
    except UsageError as error:
        log.warning("left out: %s", error)
        return ""


def _charts(name: str, figure: Figure | None, title: str) -> list[Chart]:
    return [] if figure is None else [Chart(title, inline_svg(figure, name))]


def _differences(firsts: dict[str, RunRecord], *, shared: bool) -> Grid | None:
    """Return options that differ: those that all rows have, or those that some rows lack."""
    found = differing_options(list(firsts.values()))
    found = {key: values for key, values in found.items() if all(values) == shared}
    return Grid.of_text(["option", *firsts], [[key, *values] for key, values in found.items()]) if found else None


def _environment(runs: Sequence[RunRecord]) -> Grid:
    """Return each property of the environment with all its values in the runs."""
    facts = dict.fromkeys(key for run in runs for key in run.environment)
    values = {key: dict.fromkeys(run.environment[key] for run in runs if key in run.environment) for key in facts}
    return Grid.of_text(["what", "value"], [[key, ", ".join(found)] for key, found in values.items()])


def _protocols(comparison: Comparison) -> Grid:
    """Return each metric's protocol from the first row; those of stages and layers are similar."""
    told: dict[str, str] = {}
    for row in comparison.rows:
        for name, value in row.figures.items():
            told.setdefault(re.sub(r"_stage_\d+|_layer_\d+", "", name), value.protocol)
    return Grid.of_text(["figure", "protocol"], [[name, protocol] for name, protocol in told.items() if protocol])
