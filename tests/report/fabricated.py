"""A comparison out of thin air, and its page."""

import torch

from priorkit.report.charts import against_cost, gap_by_layer, outsider_curves, read_scores, stage_curves
from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.comparison_headline import comparison_headline
from priorkit.report.drawn import drawn
from priorkit.report.inline import image_uri
from priorkit.report.page import Grid, Picture, Section, comparison_grid, render
from priorkit.report.pictures import sheet


def value(mean, spread=0.1):
    return Value(mean, spread, "runs", 3, "2,000 samples <each>")


def prior(label, fd, auc, seconds, speed):
    figures = {"fd_digits_heldout": value(fd), "gap_auc": value(auc)}
    figures |= {f"gap_auc_layer_{i}": value(auc - 0.02 * i) for i in range(3)}
    figures |= {f"fd_digits_heldout_stage_{k}": value(fd * (4 - k)) for k in (1, 2, 3)}
    costs = {"seconds": value(seconds), "samples_per_second": value(speed), "peak_memory": value(2.0**25)}
    return Row(label, "prior", figures, costs, ("runs/a", "runs/b", "runs/c"))


COMPARISON = Comparison(
    (
        Row("Gaussian", "reference", {"fd_digits_heldout": value(6.0), "gap_auc": value(0.7)}),
        prior("ncp", 2.0, 0.6, 100.0, 50.0),
        prior("multistage", 1.0, 0.48, 80.0, 900.0),
        prior("diffusion", 10.0, 0.55, 1200.0, 10.0),
        Row("vdrme", "failed", problem="seed 0: it exploded & stopped"),
    ),
    {"data": "digits", "backbone": "nvae", "spread": "standard deviation over the runs of a row"},
    ("Not compared: <nothing>.",),
)

ESTIMATE = {"value": 0.8, "low": 0.7, "high": 0.9}
PRINTED = {
    "ood:blurred": {"scores": {name: {layers: {"auroc": ESTIMATE} for layers in ("top:1", "top:2", "all")}
                               for name in ("log_ratio", "gaussian")}},
    "broken": {"scores": 3},
}  # fmt: skip


def page():
    """Every kind of section."""
    charts = {
        "gap": gap_by_layer(COMPARISON),
        "cost": against_cost(COMPARISON, "fd_digits_heldout"),
        "stages": stage_curves(COMPARISON, ["fd_digits_heldout"]),
        "ood": outsider_curves({"ncp": read_scores(PRINTED)}),
    }
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pictures = [Picture(row.label, image_uri(sheet(images)), "runs/a") for row in COMPARISON.priors]
    protocols = Grid.of_text(["metric", "name", "protocol"], [["fd", "fd_digits", "2,000 samples " * 40]])
    sections = [
        Section("Table", "Click a heading to sort.", comparison_grid(COMPARISON), legend={"gap AUC": "0.5: no gap"}),
        Section(
            "Samples", pictures=[*pictures, Picture("overview", "", wide=True, parts=[picture.uri for picture in pictures])]
        ),
        Section("Charts", charts=[chart for name, figure in charts.items() for chart in drawn(name, figure, name)]),
        Section("Protocols", grid=protocols, folded=True),
    ]
    told = comparison_headline(COMPARISON)
    return render("Priors on nvae, digits", COMPARISON.setting, sections, COMPARISON.warnings, headline=told)
