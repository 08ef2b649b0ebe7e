"""Digits, all priors with the same budget on the same backbones, several seeds.

    python benchmarks/priors.py --seeds 3 --out runs/benchmark-digits --write docs/results/priors.md

For each seed one backbone of each kind is trained (those of `benchmarks/digits.py` are the same runs) and every prior on
it, with its defaults: energies that read u, 9,000 steps.  It prints `fd_digits` (Fréchet distance on the features of a
digit classifier; not an FID) as a share of the Gaussian prior's on the same backbone, the gap's AUC, and what it costs.
Finished runs are read, so that an interrupted benchmark goes on.
"""

import argparse
import platform
import statistics
from pathlib import Path
from typing import Any

import torch
from digits import trained

BACKBONES = ("nvae", "twolayer")
PRIORS = ("multistage", "ncp", "jointebm", "diffusion", "vdrme")
HEADS = ("prior", "fd / Gaussian's", "fd_digits", "gap_auc", "training, s", "1,000 samples, s", "calls a sample")


def figures(backbone: str, prior: str, seed: int, root: Path) -> dict[str, float]:
    """The figures of one prior on one backbone."""
    source = root / f"{backbone}-{seed}"
    whole = trained(source, [f"backbone={backbone}", f"seed={seed}"])
    if prior == "multistage" and "samples_per_second" in whole["cost"]:
        found = whole
    else:
        found = trained(root / f"{backbone}-{seed}-{prior}", [f"prior={prior}", f"seed={seed}"], source=source)
    return row(found)


def row(found: dict[str, Any]) -> dict[str, float]:
    """The figures of one summary, by column."""
    value = {name: entry["value"] for name, entry in found["metrics"].items()}
    seconds, cost = found["cost"]["seconds"], found["cost"]
    return {
        "fd / Gaussian's": value["fd_digits"] / value["fd_digits_gaussian"],
        "fd_digits": value["fd_digits"],
        "gap_auc": value["gap_auc"],
        "training, s": sum(spent for phase, spent in seconds.items() if phase.startswith("prior")),
        "1,000 samples, s": 1_000 / cost["samples_per_second"],
        "calls a sample": cost["calls_per_sample"],
        "gaussian": value["fd_digits_gaussian"],
        "posterior": value["fd_digits_posterior"],
    }


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: a line a prior, mean ± standard deviation over the seeds."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    for prior, runs in rows.items():
        lines.append(f"| {prior} | " + " | ".join(cell([run[head] for run in runs]) for head in HEADS[1:]) + " |")
    some = next(iter(rows.values()))
    lines.append(f"| Gaussian | 1 | {cell([run['gaussian'] for run in some])} | | | | |")
    lines.append(f"| posterior samples | | {cell([run['posterior'] for run in some])} | | | | |")
    return "\n".join(lines)


def cell(values: list[float]) -> str:
    """Mean ± standard deviation."""
    mean, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{mean:.3g} ± {spread:.2g}" if len(values) > 1 else f"{mean:.3g}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-digits"))
    parser.add_argument("--write", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    text = (
        f"`python benchmarks/priors.py --seeds {arguments.seeds}`: mean ± standard deviation over seeds 0 to "
        f"{arguments.seeds - 1}; 2,000 samples a figure; {platform.machine()} CPU, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}. Times are of the run's own machine load; *training* is of the prior alone.\n"
    )
    for backbone in arguments.backbones:
        rows = {
            prior: [figures(backbone, prior, seed, arguments.out) for seed in range(arguments.seeds)]
            for prior in arguments.priors
        }
        text += f"\nOn `{backbone}`:\n\n{table(rows)}\n"
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
