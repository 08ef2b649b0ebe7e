"""Every prior in two dimensions, where the density can be normalised exactly.

    python benchmarks/toys.py --write docs/results/toys.md

Trains priors on `identity`, where u is the data up to a shift and a scale, and prints the held-out negative
log-likelihood by quadrature minus that of the true density (nats in the data's own units), the share of samples in
forbidden area, and the least and most filled of eight cells with 12.5 % of the true mass each.  Finished runs are read.
"""

import json
import platform
from pathlib import Path

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from rich.console import Console
from training import train_run

TOYS = ("checkerboard", "8gaussians", "moons")
COMMON = ["backbone=identity", "trainer.posterior_samples=1"]
LONG = ["trainer.prior_steps=12000", "trainer.prior_batch=512", "trainer.prior_average=0.999"]
SHARP = ["prior.energy.width=128", "prior.energy.depth=2", "prior.energy.dropout=0", "prior.optimiser.lr=2e-3"]
SMOOTH = ["trainer.prior_steps=4000", "trainer.prior_average=0.998", "prior.energy.dropout=0"]
RECOVERY = ["prior.training_steps=5", "prior.optimiser.lr=3e-3"]
LONG_CHAINS = ["sampler.steps=400"]
REFINED = ["prior.scales=5", "prior.refine=20", "prior.bound=4", "prior.gradient_penalty=0", "prior.draws=4"]
NARROW = ["prior.energy.width=64", "prior.generator.width=64"]
QUICK = ["prior.energy_optimiser.lr=3e-3", "prior.energy_optimiser.betas=[0.9,0.999]", "prior.generator_optimiser.lr=2e-3"]
TELESCOPING = ["prior.energy.dropout=0", "prior.optimiser.lr=2e-3"]
PRIORS = {
    "gaussian": ["prior=gaussian"],
    "mixture": ["prior=mixture"],
    "flow": ["prior=flow", *LONG],
    "flowmatching": ["prior=flowmatching", *LONG],
    "tre": ["prior=tre", *LONG, *TELESCOPING],
    "multistage": ["prior=multistage", "prior.bound=4", *LONG, *SHARP],
    "multistage, sir": ["prior=multistage", "sampler=sir", "sampler.proposals=200", "prior.bound=4", *LONG, *SHARP],
    "multistage, langevin": ["prior=multistage", "sampler=langevin", "prior.bound=4", *LONG, *SHARP],
    "ncp": ["prior=ncp", *LONG, *SHARP],
    "jointebm": ["prior=jointebm", "prior.bound=8", "prior.optimiser.lr=1e-3", "prior.energy.dropout=0.1", *LONG_CHAINS],
    "diffusion": ["prior=diffusion", *SMOOTH, *RECOVERY],
    "vdrme": ["prior=vdrme", *SMOOTH, *REFINED, *NARROW, *QUICK],
}
"""Options by row; what is not named is the default."""
SAMPLES = 10_000


def figures(toy: str, prior: str, root: Path) -> dict[str, float]:
    """The run's figures, trained first if it is not there, and where 10,000 samples lie."""
    from priorkit.report.progress import showing
    from priorkit.runtime.atomic_files import write_json
    from priorkit.workflows.measuring.evaluate import measure
    from priorkit.workflows.session import open_run

    out = root / f"{toy}-{prior.replace(', ', '-')}"
    measured = out / "toys.json"
    if not measured.exists():
        summary = train_run(out, [*COMMON, *PRIORS[prior], f"data=toy:{toy}"])
        with showing(Console(stderr=True)) as progress:
            session = open_run(out, progress=progress)
            found = measure(session.model, session.data, metrics=("nll",), samples=SAMPLES, progress=progress)
        seconds = sum(summary["cost"]["seconds"].values())
        write_json(measured, {name: figure.value for name, figure in found.items()} | {"seconds": seconds})
    result: dict[str, float] = json.loads(measured.read_text())
    return result


def row(toy: str, prior: str, root: Path) -> list[str]:
    """A line of the table."""
    from priorkit.data import toy as source

    found = figures(toy, prior, root)
    excess = f"{found['nll'] - found['nll_truth']:+.4f}"
    against_entropy = f"{found['nll'] - source(toy).entropy():+.4f}"
    places = [f"{found[name]:.3f}" for name in ("forbidden", "cell_least", "cell_most")]
    return [toy, prior, excess, against_entropy, *places, f"{found['seconds']:.0f}"]


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-toys"))
    parser.add_argument("--toys", nargs="+", default=list(TOYS))
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    arguments = parser.parse_args()
    heads = ("data", "prior", "excess", "over the entropy", "forbidden", "least", "most", "seconds")
    rows = [row(toy, prior, arguments.out) for toy in arguments.toys for prior in arguments.priors]
    text = (
        f"`python benchmarks/toys.py`: seed 0; *excess*: held-out NLL of the learned density minus that of the true one on "
        f"the same 20,000 points, nats in the data's units (*over the entropy*: minus the exact entropy); shares of "
        f"{SAMPLES:,} samples; seconds of training; {platform.machine()} CPU, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}.\n\n{markdown_table(heads, rows)}\n"
    )
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
