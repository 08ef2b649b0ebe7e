"""Priors in two dimensions, where the density can be normalised exactly.

    python benchmarks/toys.py --write docs/results/toys.md

Trains `identity` + `multistage` on toys and prints the held-out negative log-likelihood by quadrature beside the true
density's, in nats, with exact-enough negatives (importance resampling) and with the default unadjusted chain.
"""

import argparse
import json
import platform
from pathlib import Path

import torch
from rich.console import Console

TOYS = ("checkerboard", "8gaussians", "moons")
SAMPLERS = {
    "sir": ["sampler=sir", "sampler.proposals=200"],
    "langevin": ["sampler=langevin"],
}
COMMON = [
    "backbone=identity",
    "trainer.prior_steps=6000",
    "trainer.prior_batch=512",
    "trainer.prior_average=0.999",
    "trainer.posterior_samples=1",
    "prior.energy.width=128",
    "prior.energy.depth=2",
    "prior.energy.dropout=0",
    "prior.bound=4",
    "prior.optimiser.lr=2e-3",
]


def figures(toy: str, sampler: str, root: Path) -> dict[str, float]:
    """Held-out NLL, the truth's, and the NLL after each stage."""
    from priorkit.config import resolve
    from priorkit.report.progress import showing
    from priorkit.workflows.train import train

    out = root / f"{toy}-{sampler}"
    if not (out / "summary.json").exists():
        with showing(Console(stderr=True)) as progress:
            train(resolve(None, [*COMMON, *SAMPLERS[sampler], f"data=toy:{toy}"]), out, progress=progress)
    summary = json.loads((out / "summary.json").read_text())
    named = {name: entry["value"] for name, entry in summary["metrics"].items()}
    return {**named, "seconds": sum(summary["cost"]["seconds"].values())}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-toys"))
    parser.add_argument("--toys", nargs="+", default=list(TOYS))
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    heads = ("data", "sampler of negatives", "truth", "stage 1", "stage 2", "stage 3", "excess, last", "seconds")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for toy in arguments.toys:
        for sampler in SAMPLERS:
            named = figures(toy, sampler, arguments.out)
            stages = " | ".join(f"{named[f'nll_stage_{stage}']:.4f}" for stage in (1, 2, 3))
            excess = named["nll"] - named["nll_truth"]
            lines.append(
                f"| {toy} | {sampler} | {named['nll_truth']:.4f} | {stages} | {excess:+.4f} | {named['seconds']:.0f} |"
            )
    text = (
        f"`python benchmarks/toys.py --toys {' '.join(arguments.toys)}`: seed 0, nats in the data's own units, 20,000 "
        f"held-out points; {platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}.\n\n"
    )
    text += "\n".join(lines) + "\n"
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
