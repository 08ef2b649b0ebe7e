"""Digits with the defaults, several seeds: what the multi-stage prior does to the prior hole.

    python benchmarks/digits.py --seeds 3 --out runs/benchmark-digits --write docs/results/digits.md

For each backbone and seed it trains the default run, and on the same backbone one stage with the budget of all three.
Runs that are finished are read, so that an interrupted benchmark goes on.  It prints the Fréchet distance to held-out and
to training images (features of a digit classifier; not an FID) of the Gaussian prior, after each stage, of the single
stage and of posterior samples; the share of the hole that is closed, held-out nats and copies; the held-out loss of each
stage; and the seconds of training.
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
    found = {name: entry["value"] for name, entry in three["metrics"].items()}
    alone = {name: entry["value"] for name, entry in one["metrics"].items()}
    figures = {}
    for title, name in (("held-out", "fd_digits_heldout"), ("training", "fd_digits")):
        figures[f"{title} images: posterior samples"] = found[f"{name}_posterior"]
        figures[f"{title} images: Gaussian"] = found[f"{name}_gaussian"]
        figures |= {f"{title} images: stage {stage}": found[f"{name}_stage_{stage}"] for stage in (1, 2, 3)}
        figures[f"{title} images: one stage"] = alone[name]
    figures["share of the hole closed"], figures["the same, one stage"] = found["share_closed"], alone["share_closed"]
    figures["held-out bound on log p(x), Gaussian"], figures["held-out bound on log p(x), stage 3"] = (
        found["elbo_prior_nats_gaussian"],
        found["elbo_prior_nats"],
    )
    figures["held-out bound on log p(x), one stage"] = alone["elbo_prior_nats"]
    figures["copied"], figures["copied, held-out images"] = found["copied"], found["copied_heldout"]
    for stage in (1, 2, 3):
        figures[f"held-out loss {stage}"] = three["phases"][f"prior.{stage}"]["heldout_loss"]
    figures["AUC Gaussian"], figures["AUC learned"] = found["gap_auc_gaussian"], found["gap_auc"]
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
        "Loss at chance: 2 log 2 = 1.386. The first twelve rows are Fréchet distances on the features of a digit classifier "
        f"(not an FID); *one stage* has the training steps of all three.\n\n{table(rows)}\n"
    )
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
