"""Digits, all priors with the same budget on the same backbones, several seeds: `priorkit compare`, a table a backbone.

    python benchmarks/priors.py --seeds 3 --out runs/benchmark-priors --write docs/results/priors.md

The comparison of a backbone is that of `priorkit compare --backbone NAME --priors ... --seeds N --out OUT/NAME`, and goes on
with what such a command has left there: one backbone, and each prior with its defaults (energies that read u, 9,000
steps), whose training and samples vary with the seed.  It prints `fd_digits` (Fréchet distance on the features of a
digit classifier; not an FID) as a share of the Gaussian prior's, the gap's AUC, and what it costs.
"""

import platform
from pathlib import Path

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from rich.console import Console

from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.progress import showing
from priorkit.workflows.comparing import Request, compare_priors

BACKBONES = ("nvae", "twolayer")
PRIORS = ("gaussian", "ncp", "jointebm", "multistage", "diffusion", "vdrme")
COLUMNS = {
    "fd_digits": "fd_digits",
    "gap_auc": "gap_auc",
    "training, s": "seconds",
    "1,000 samples, s": "samples_per_second",
    "calls per sample": "calls_per_sample",
}


def table(comparison: Comparison) -> str:
    """Markdown: a line per row, mean ± standard deviation over the seeds."""
    gaussian = next(row for row in comparison.rows if row.label.lower() == "gaussian").figures["fd_digits"].mean
    rows = ([row.label, share(row, gaussian), *map(cell, values(row))] for row in comparison.rows)
    return markdown_table(["prior", "fd / Gaussian's", *COLUMNS], rows)


def values(row: Row) -> list[Value | None]:
    """The row's figures and costs, by column."""
    found = {**row.figures, **row.costs}
    if (rate := found.get("samples_per_second")) is not None:
        spent = 1_000 / rate.mean  # the spread of a reciprocal, to first order
        found["samples_per_second"] = Value(spent, spent * (rate.spread or 0.0) / rate.mean, rate.spread_of, rate.runs)
    return [found.get(name) for name in COLUMNS.values()]


def share(row: Row, gaussian: float) -> str:
    """Its Fréchet distance as a share of the Gaussian prior's mean."""
    found = row.figures["fd_digits"]
    return cell(Value(found.mean / gaussian, (found.spread or 0.0) / gaussian, found.spread_of, found.runs))


def cell(value: Value | None) -> str:
    """Mean ± standard deviation over runs."""
    if value is None:
        return ""
    return f"{value.mean:.3g} ± {value.spread:.2g}" if value.spread_of == "runs" else f"{value.mean:.3g}"


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-priors"))
    arguments = parser.parse_args()
    command = f"python benchmarks/priors.py --seeds {arguments.seeds}"
    if arguments.backbones != list(BACKBONES):
        command += f" --backbones {' '.join(arguments.backbones)}"
    text = (
        f"`{command}`: one backbone of each kind; mean ± standard deviation "
        f"over seeds 0 to {arguments.seeds - 1} of prior and samples; 2,000 samples per figure; {platform.machine()} CPU, a "
        f"core per run, torch {torch.__version__}. *training* is of the prior alone.\n"
    )
    for backbone in arguments.backbones:
        request = Request(arguments.out / backbone, arguments.priors, backbone, seeds=arguments.seeds)
        with showing(Console(stderr=True)) as progress:
            comparison = compare_priors(request, progress=progress)
        text += f"\nOn `{backbone}`:\n\n{table(comparison)}\n"
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
