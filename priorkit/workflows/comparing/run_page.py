"""The page of a run: its headline, its metrics by prior, pictures, charts; protocols and options folded."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.report.charts import read_scores
from priorkit.report.comparison import Value
from priorkit.report.comparison_table import COSTS, FITTED, shown_cost
from priorkit.report.detection import curves
from priorkit.report.digits import to_spread
from priorkit.report.drawn import drawn
from priorkit.report.headline import headline
from priorkit.report.hole_chart import hole_chart
from priorkit.report.inline import png_data
from priorkit.report.page import Cell, Grid, Picture, Section, render
from priorkit.report.page_words import meaning, page_prior, page_titles
from priorkit.report.parting import partings
from priorkit.report.pictures import losses
from priorkit.report.prior_figures import is_detail, of_a_prior, prior_figures
from priorkit.report.sheet_cutting import cut
from priorkit.report.titles import without_prior
from priorkit.runs.manifest import listed, read_listed
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.comparing.differences import flat_options
from priorkit.workflows.comparing.run_record import RunRecord

__all__ = ["environment_grid", "protocol_grid", "write_run_page"]

log = logging.getLogger(__name__)

PICTURES = {
    "overview": "data, reconstructions, and samples of the Gaussian and of the learned prior",
    "stages": "samples after each stage, from the same seeds",
    "chain": "along the chains",
    "diagnostics": "how the chains went",
}
SHEETS = ("overview", "stages")
"""Pictures that narrow screens show panel by panel."""
SPREAD = (
    "± is half a 95 % interval, a standard error or a standard deviation: the section Protocols says which, and how each "
    "metric was computed."
)
ROUNDING = 1e-6
"""Largest difference from 1 of a sum of two shares that are complements."""
NARROW = (
    "The interval of the share is narrower than those of the distances: in each resample all three distances are computed "
    "on the same held-out images, so what they have in common cancels."
)


def write_run_page(run: RunRecord, path: Path) -> None:
    """Write the page of a run."""
    config, figures = run.config, run.figures
    outsiders = read_scores(run.outsiders)
    costs = [[COSTS[name], _cost(run, name)] for name in run.costs]
    shown = [name for name in PICTURES if name != "stages" or run.stage_count > 1]
    pictures = [_picture(name, png) for name in shown if (png := _png(run, name))]
    sections = [
        Section("Metrics", SPREAD, _by_prior(figures, details=False)),
        Section("Samples", pictures=pictures),
        Section("Training", notes=partings(run.records), charts=drawn("losses", losses(run.records),
                "Loss of each stage against its steps, of training and of held-out points.")),
        Section("Prior hole by layer", charts=drawn("hole", hole_chart(run.hole),
                "Fréchet distance to held-out images; bars are 95 % intervals.")),
        Section("Out of distribution", charts=drawn("ood", curves(outsiders) if outsiders else None, "AUROC by layers.")),
        Section("Backbone", grid=_of_backbone(figures)),
        Section("Cost", "Of the prior's training and of its samples.", Grid.of_text(["cost", "value"], costs)),
        Section("Metrics by layer", grid=_by_prior(figures, details=True), folded=True),
        Section("Protocols", grid=protocol_grid(figures), folded=True),
        Section("Configuration", grid=Grid.of_text(["option", "value"], list(flat_options(run).items())), folded=True),
        Section("Environment", grid=environment_grid([run]), folded=True),
    ]  # fmt: skip
    facts = {kind: getattr(config, kind).name for kind in ("backbone", "prior", "sampler", "trainer")}
    if run.costs.get("calls_per_sample") == 0:
        facts["sampler"] = "exact"  # the prior draws without the chain that the configuration names
    facts |= {"data": flat_options(run)["data.name"], "seed": str(config.seed)}
    title, told = f"{config.prior.name} prior on {config.backbone.name}", headline(figures, prior=config.prior.name)
    remark = NARROW if "share_closed" in figures else ""
    write_bytes(path, render(title, facts, sections, headline=told, remark=remark).encode())


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
    rows = [[told, name, first[name]] for name, told in page_titles(first).items()]
    return Grid.of_text(["metric", "name", "protocol"], rows) if rows else None


def _by_prior(figures: Mapping[str, Metric], *, details: bool) -> Grid | None:
    """Return metrics by prior: those of all layers together, or with `details` the others."""
    found = prior_figures(figures)
    rows = {name: row for name, row in found.rows.items() if is_detail(name) == details and not _repeats(name, found.rows)}
    level = figures.get("copied_heldout")
    cells = [[_named(name, told, level), *map(_cell, rows[name])] for name, told in page_titles(rows).items()]
    return Grid(["metric", *map(page_prior, found.endings)], cells) if cells else None


def _named(name: str, told: str, level: Metric | None = None) -> Cell:
    """Return the cell that names a metric and says what it means; `level` is the share of held-out images for `copied`."""
    note = meaning(name)
    if name == "copied" and level is not None:
        note += f"; of held-out images {to_spread(level.value, level.spread)}"
    return Cell(told, title=name, note=note)


def _repeats(name: str, rows: Mapping[str, Sequence[Metric | None]]) -> bool:
    """Return whether a metric is 1 − copied for every prior, and so tells nothing more."""
    if not name.startswith("authenticity"):
        return False
    pairs = zip(rows[name], rows.get(name.replace("authenticity", "copied"), ()), strict=False)
    known = [(own, other) for own, other in pairs if own is not None and other is not None]
    return bool(known) and all(abs(own.value + other.value - 1) < ROUNDING for own, other in known)


def _cell(figure: Metric | None) -> Cell:
    return Cell("") if figure is None else Cell(_shown(figure), figure.value, title=figure.protocol)


def _shown(figure: Metric) -> str:
    """Return a metric and its spread, both to the digits that the spread leaves."""
    value = to_spread(figure.value, figure.spread)
    return value if figure.spread is None else f"{value} ±{to_spread(figure.spread, figure.spread)}"


def _of_backbone(figures: Mapping[str, Metric]) -> Grid | None:
    """Return the metrics that belong to no prior, without those of the hole, which have a chart."""
    own = {name: figure for name, figure in figures.items() if not of_a_prior(name) and not name.startswith("hole_")}
    alone = {name: [figure] for name, figure in own.items()}
    own = {name: figure for name, figure in own.items() if not _repeats(name, alone)}
    cells = [[_named(name, told), _cell(own[name])] for name, told in page_titles(own).items()]
    return Grid(["metric", "value"], cells) if cells else None


def _cost(run: RunRecord, name: str) -> str:
    told = shown_cost(name, Value(run.costs[name], None, None, 1), learns=run.costs["seconds"] > 0)
    return f"{told}, no gradients" if told == FITTED else told


def _picture(name: str, png: bytes) -> Picture:
    parts = cut(png) if name in SHEETS else [png]
    if len(parts) == 1:
        return Picture(PICTURES[name], png_data(png), wide=True)
    return Picture(PICTURES[name], "", wide=True, parts=[png_data(part) for part in parts])


def _png(run: RunRecord, name: str) -> bytes:
    """Return a picture of the run; empty if there is none or it is damaged, which the log reports."""
    file = f"samples/{name}.png"
    if not (run.folder.path / file).exists() and file not in listed(run.folder.path):
        return b""
    try:
        return read_listed(run.folder.path, file)
    except UsageError as error:
        log.warning("left out: %s", error)
        return b""
