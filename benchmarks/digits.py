"""Digits with the defaults, several seeds: what the multi-stage prior does to the prior hole.

    python benchmarks/digits.py --seeds 3 --out runs/benchmark-digits --write docs/results/digits.md

For each backbone and seed it trains the default run, and on the same backbone one stage with the budget of all three.
Runs that are finished are read, so that an interrupted benchmark goes on.  It prints `fd_digits` (Fréchet distance on
the features of a digit classifier; not an FID) of the Gaussian prior, after each stage, of the single stage and of
posterior samples; the held-out loss of each stage; and the seconds of training.
"""

import platform
import statistics
from pathlib import Path

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from training import train_run

BACKBONES = ("nvae", "twolayer")


def row(backbone: str, seed: int, root: Path) -> dict[str, float]:
    """All figures of one seed."""
    whole = root / f"{backbone}-{seed}"
    three = train_run(whole, [f"backbone={backbone}", f"seed={seed}"])
    one = train_run(root / f"{backbone}-{seed}-one-stage", [f"seed={seed}", "prior.stages=1"], source=whole)
    fd = {name: entry["value"] for name, entry in three["metrics"].items() if name.startswith(("fd_", "gap_auc"))}
    figures = {
        "posterior": fd["fd_digits_posterior"],
        "Gaussian": fd["fd_digits_gaussian"],
        **{f"stage {stage}": fd[f"fd_digits_stage_{stage}"] for stage in (1, 2, 3)},
        "one stage": one["metrics"]["fd_digits"]["value"],
    }
    figures["Gaussian / posterior"] = figures["Gaussian"] / figures["posterior"]
    figures["stage 3 / Gaussian"] = figures["stage 3"] / figures["Gaussian"]
    for stage in (1, 2, 3):
        figures[f"held-out loss {stage}"] = three["phases"][f"prior.{stage}"]["heldout_loss"]
    figures["AUC Gaussian"], figures["AUC learned"] = fd["gap_auc_gaussian"], fd["gap_auc"]
    figures["seconds of training"] = sum(three["cost"]["seconds"].values())
    figures["threads"] = three["cost"]["threads"]
    return figures


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: one line per figure, one column per backbone, mean ± standard deviation over the seeds."""
    names = list(next(iter(rows.values()))[0])
    lines = []
    for name in names:
        cells = [name]
        for runs in rows.values():
            values = [run[name] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        lines.append(cells)
    return markdown_table(["figure", *rows], lines)


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-digits"))
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    rows = {backbone: [row(backbone, seed, arguments.out) for seed in seeds] for backbone in arguments.backbones}
    chosen = "" if arguments.backbones == list(BACKBONES) else f" --backbones {' '.join(arguments.backbones)}"
    text = (
        f"`python benchmarks/digits.py --seeds {arguments.seeds}{chosen}`: mean ± standard deviation over seeds 0 to "
        f"{arguments.seeds - 1}; 2,000 samples per figure; {platform.machine()} CPU, torch {torch.__version__}. "
        "Loss at chance: 2 log 2 = 1.386. The rows *stage k* and *Gaussian* are `fd_digits`; "
        f"*one stage* has the training steps of all three.\n\n{table(rows)}\n"
    )
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
