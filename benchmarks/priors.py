"""Every prior with the same seconds of training on one backbone, judged on held-out images.

    python benchmarks/priors.py --backbone nvae --seeds 3 --out runs/priors-nvae --write docs/results/priors-nvae.md

The comparison is that of `priorkit compare --backbone NAME --priors ... --seeds N --budget seconds:S`, and goes on with what
such a command has left in `--out`: one backbone, and each prior with its defaults, whose training and samples vary with the
seed. Rows are in the order of the Fréchet distance to held-out images (on our own features; not an FID). The second table
has the differences to the mixture over pairs of runs of one seed: what a learned prior has to beat first.
"""

import math
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table
from rich.console import Console

from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.progress import showing
from priorkit.workflows.comparing import Request, compare_priors
from priorkit.workflows.comparing.budget import Budget
from priorkit.workflows.comparing.paired import behind
from priorkit.workflows.comparing.run_record import RunRecord

PRIORS = (
    "gaussian", "mixture", "vampprior", "flow", "flowmatching", "tre", "ncp", "jointebm", "multistage",
    "multistage/mixture", "diffusion", "vdrme",
)  # fmt: skip
OPTIONS = ("multistage/mixture:prior.base_prior=mixture",)
BASELINE = "mixture"
NATS = "elbo_prior_nats"


def table(comparison: Comparison, distance: str) -> str:
    """Markdown: a line per row, by the distance to held-out images."""
    columns = {
        "fd, held-out": distance,
        "share closed": "share_closed",
        "nats, held-out": NATS,
        "copied": "copied",
        "fd, training": distance.removesuffix("_heldout"),
        "gap AUC": "gap_auc",
        "steps": "steps",
        "training, s": "seconds",
        "calls of chains": "calls_per_sample",
    }
    ordered = sorted(
        comparison.rows, key=lambda row: row.figures[distance].mean if distance in row.figures else float("inf")
    )
    lines = []
    for row in ordered:
        found = {**row.figures, **row.costs}
        ranks = [str(comparison.rank(name, row) or "") for name in (distance, NATS)]
        lines.append([row.label, *ranks, *(cell(found.get(name)) for name in columns.values())])
    return markdown_table(["prior", "rank by fd", "rank by nats", *columns], lines)


def against(comparison: Comparison, runs: Mapping[str, Sequence[RunRecord]], distance: str) -> str:
    """Markdown: each prior's distance and nats minus those of the baseline; nats are turned so that less is better, too."""
    lines = []
    for label, own in runs.items():
        if label == BASELINE:
            continue
        told = [behind(name, own, runs[BASELINE]) for name in (distance, NATS)]
        lines.append([label, *(f"{one.difference:+.2f} ± {one.half_width or math.nan:.2f}" for one in told)])
    return markdown_table(["prior", "fd, held-out", "nats lost, held-out"], lines)


def cell(value: Value | None) -> str:
    """Mean ± standard deviation over runs, or the figure's own spread, which is written with two digits."""
    if value is None:
        return ""
    if not value.spread:
        return f"{value.mean:,.0f}" if value.mean == int(value.mean) else f"{value.mean:.3g}"
    digits = max(0, 1 - math.floor(math.log10(value.spread)))
    return f"{value.mean:,.{digits}f} ± {value.spread:.{digits}f}"


def records(row: Row, out: Path) -> list[RunRecord]:
    """The runs of a row."""
    return [RunRecord.read(out / name, name) for name in row.runs]


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--backbone", default="nvae")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE for all runs, ROW:KEY=VALUE for those of one row")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-priors"))
    arguments = parser.parse_args()
    own = [option for option in OPTIONS if option.partition(":")[0] in arguments.priors]
    request = Request(
        arguments.out, arguments.priors, arguments.backbone, arguments.data, seeds=arguments.seeds,
        budget=Budget("seconds", arguments.seconds), overrides=(*own, *arguments.set), samples=arguments.samples,
    )  # fmt: skip
    with showing(Console(stderr=True)) as progress:
        comparison = compare_priors(request, progress=progress)
    assert comparison is not None  # this process is the only one
    distance = next(name for name in comparison.names("fd_") if name.endswith("_heldout"))
    runs = {row.label: records(row, arguments.out) for row in comparison.priors}
    spread = (
        "standard deviation over the seeds of prior and samples" if arguments.seeds > 1 else "as the figure's protocol says"
    )
    publish(
        f"`{given_command('benchmarks/priors.py', parser, arguments, short)}`: one backbone, {arguments.seconds:.0f} s of "
        f"training for each prior, mean ± {spread}; {platform.machine()} CPU, a core per run, torch {torch.__version__}. "
        "Rows of one rank cannot be told apart (95 %).\n\n"
        f"{table(comparison, distance)}\n\n"
        f"Minus `{BASELINE}`, in pairs of equal seeds, ± half a 95 % interval; below 0 is better than the mixture:\n\n"
        f"{against(comparison, runs, distance)}\n",
        arguments.write,
    )


def short(word: object) -> str:
    """A value of the command, without the folder of an archive."""
    return re.sub(r"[^=:]*/(?=[^/]+\.zip$)", "", str(word))


if __name__ == "__main__":
    main()
