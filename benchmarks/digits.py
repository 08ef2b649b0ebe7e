"""Digits with the defaults, several seeds: what the multi-stage prior does to the prior hole.

    python benchmarks/digits.py --seeds 3 --out runs/benchmark-digits --write docs/results/digits.md

For each backbone and seed it trains the default run, and on the same backbone one stage with the budget of all three.
Runs that are finished are read, so that an interrupted benchmark goes on.  It prints `fd_digits` (Fréchet distance on
the features of a digit classifier; not an FID) of the Gaussian prior, after each stage, of the single stage and of
posterior samples; the held-out loss of each stage; and the seconds of training.
"""

import argparse
import json
import platform
import statistics
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

BACKBONES = ("nvae", "twolayer")


def trained(out: Path, options: list[str], source: Path | None = None) -> dict[str, Any]:
    """The summary of a run, which is trained first if it is not there."""
    from begun import begun

    from priorkit.report.progress import showing
    from priorkit.workflows.training.train import train

    summary = out / "summary.json"
    if not summary.exists():
        config, resume, source = begun(out, options, source)
        with showing(Console(stderr=True)) as progress:
            train(config, out, resume=resume, source=source, progress=progress)
    found: dict[str, Any] = json.loads(summary.read_text())
    return found


def row(backbone: str, seed: int, root: Path) -> dict[str, float]:
    """All figures of one seed."""
    whole = root / f"{backbone}-{seed}"
    three = trained(whole, [f"backbone={backbone}", f"seed={seed}"])
    one = trained(root / f"{backbone}-{seed}-one-stage", [f"seed={seed}", "prior.stages=1"], source=whole)
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
    lines = ["| figure | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for name in names:
        cells = []
        for runs in rows.values():
            values = [run[name] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-digits"))
    parser.add_argument("--write", type=Path, help="also write the table to this file")
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
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
