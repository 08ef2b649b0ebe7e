"""The page of a run: its headline, its metrics by prior, pictures, charts; protocols and options folded."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.report.charts import read_scores
from priorkit.report.comparison import Value
from priorkit.report.comparison_table import COSTS, shown_cost
from priorkit.report.detection import curves
from priorkit.report.drawn import drawn
from priorkit.report.headline import headline
from priorkit.report.hole_chart import hole_chart
from priorkit.report.inline import png_data
from priorkit.report.page import Cell, Grid, Picture, Section, render
from priorkit.report.parting import partings
from priorkit.report.pictures import losses
from priorkit.report.prior_figures import is_detail, of_a_prior, prior_figures, shown_figure
from priorkit.report.table import table_notes
from priorkit.report.titles import prior_title, titles, without_prior
from priorkit.runs.manifest import listed, read_listed
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.comparing.differences import flat_options
from priorkit.workflows.comparing.run_record import RunRecord

__all__ = ["environment_grid", "protocol_grid", "write_run_page"]

log = logging.getLogger(__name__)

PICTURES = {
    "overview": "data, reconstructions and samples",
    "stages": "samples after each stage, from the same seeds",
    "chain": "along the chains",
    "diagnostics": "how the chains went",
}


def write_run_page(run: RunRecord, path: Path) -> None:
    """Write the page of a run."""
    config, figures = run.config, run.figures
    outsiders = read_scores(run.outsiders)
    costs = [[COSTS[name], shown_cost(name, Value(value, None, None, 1))] for name, value in run.costs.items()]
    pictures = [Picture(PICTURES[name], uri, wide=True) for name in PICTURES if (uri := _png(run, name))]
    sections = [
        Section("Figures", "\n".join(table_notes(figures)), _by_prior(figures, details=False)),
        Section("Pictures", pictures=pictures),
        Section("Training", notes=partings(run.records), charts=drawn("losses", losses(run.records),
                "Loss of each stage against its steps, of training and of held-out points.")),
        Section("The hole by layer", charts=drawn("hole", hole_chart(run.hole),
                "Fréchet distance to held-out images; bars are 95 % intervals.")),
        Section("Out of distribution", charts=drawn("ood", curves(outsiders) if outsiders else None, "AUROC by layers.")),
        Section("Backbone", grid=_of_backbone(figures)),
        Section("Cost", "Of the prior's training and of its samples.", Grid.of_text(["cost", "value"], costs)),
        Section("Figures by layer", grid=_by_prior(figures, details=True), folded=True),
        Section("Protocols", grid=protocol_grid(figures), folded=True),
        Section("Configuration", grid=Grid.of_text(["option", "value"], list(flat_options(run).items())), folded=True),
        Section("Environment", grid=environment_grid([run]), folded=True),
    ]  # fmt: skip
    facts = {kind: getattr(config, kind).name for kind in ("backbone", "prior", "sampler", "trainer")}
    facts |= {"data": flat_options(run)["data.name"], "seed": str(config.seed)}
    title, told = f"{config.prior.name} prior on {config.backbone.name}", headline(figures, prior=config.prior.name)
    write_bytes(path, render(title, facts, sections, headline=told).encode())


def environment_grid(runs: Sequence[RunRecord]) -> Grid:
    """Return each property of the environment with all its values in the runs."""
    facts = dict.fromkeys(key for run in runs for key in run.environment)
    values = {key: dict.fromkeys(run.environment[key] for run in runs if key in run.environment) for key in facts}
    return Grid.of_text(["what", "value"], [[key, ", ".join(found)] for key, found in values.items()])


def protocol_grid(figures: Mapping[str, Metric]) -> Grid | None:
    """Return the title, the name in files and the protocol of each metric; that of the first prior stands for all."""
    first: dict[str, str] = {}
    for name, figure in figures.items():
        base = without_prior(name)[0] if of_a_prior(name) else name
        if figure.protocol and not is_detail(base):
            first.setdefault(base, figure.protocol)
    rows = [[told, name, first[name]] for name, told in titles(first).items()]
    return Grid.of_text(["figure", "name", "protocol"], rows) if rows else None


def _by_prior(figures: Mapping[str, Metric], *, details: bool) -> Grid | None:
    """Return metrics by prior: those of all layers together, or with `details` the others."""
    found = prior_figures(figures)
    rows = {name: row for name, row in found.rows.items() if is_detail(name) == details}
    cells = [[Cell(found.titles[name], title=name), *map(_cell, row)] for name, row in rows.items()]
    return Grid(["figure", *map(prior_title, found.endings)], cells) if cells else None


def _cell(figure: Metric | None) -> Cell:
    return Cell("") if figure is None else Cell(shown_figure(figure), figure.value, title=figure.protocol)


def _of_backbone(figures: Mapping[str, Metric]) -> Grid | None:
    """Return the metrics that belong to no prior, without those of the hole, which have a chart."""
    own = {name: figure for name, figure in figures.items() if not of_a_prior(name) and not name.startswith("hole_")}
    cells = [[Cell(told, title=name), _cell(own[name])] for name, told in titles(own).items()]
    return Grid(["figure", "value"], cells) if cells else None


def _png(run: RunRecord, name: str) -> str:
    """Return a picture of the run; empty if there is none or it is damaged, which the log reports."""
    file = f"samples/{name}.png"
    if not (run.folder.path / file).exists() and file not in listed(run.folder.path):
        return ""
    try:
        return png_data(read_listed(run.folder.path, file))
    except UsageError as error:
        log.warning("left out: %s", error)
        return ""
