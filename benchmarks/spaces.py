"""Energies that read u against energies that read z = T(u), at equal steps and at equal seconds, separable and coupled.

    python benchmarks/spaces.py --data digits fashion cifar --write docs/results/spaces.md \\
        --archives fashion=zip:fashion-mnist-train.zip cifar=zip:cifar10-train.zip

On one backbone of each data set it trains the prior four times for N steps; then the two energies on u once more, for as
many steps as take the processor's seconds that N steps took on z with the same coupling.  Everything else is equal: options,
batch, chains, seeds.  Runs that are finished are read, so that an interrupted benchmark goes on.  Seconds are the
processor's, of one thread.
"""

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table
from rich.console import Console
from training import fit_run, is_fitted

COUPLINGS = ("separable", "coupled")
PRIORS = {"jointebm": ["prior.optimiser.lr=0.0005"], "multistage": ["prior.pool_size=2000"]}
"""The priors that there is a choice of, and their options."""


@dataclass(frozen=True)
class Kind:
    """A data set: the backbone's options, the priors', and their steps."""

    backbone: tuple[str, ...]
    prior: tuple[str, ...]
    steps: int
    samples: int = 2_000


KINDS = {
    "digits": Kind((), ("trainer.prior_batch=128",), 1_000),
    "fashion": Kind(
        ("backbone.num_preprocess_blocks=3", "backbone.num_postprocess_blocks=3", "trainer.backbone_steps=300"),
        ("trainer.prior_batch=128", "trainer.posterior_samples=1"), 200,
    ),
    "cifar": Kind(
        ("backbone.preset=small", "trainer.backbone_steps=300", "trainer.backbone_batch=64"),
        ("trainer.prior_batch=64", "trainer.posterior_samples=1"), 100, 1_000,
    ),
}  # fmt: skip
"""Digits and Fashion-MNIST with 20 and 80 latents, CIFAR-10 with the 2,304 of `benchmarks/couplings.py`."""
QUICK = 30
"""Steps of a rehearsal; fewer could go by without two logged ones in one process."""


@dataclass(frozen=True)
class Result:
    """A run's figures, each with its spread, and its costs in seconds of the processor."""

    figures: dict[str, tuple[float, float]]
    step_seconds: float
    thousand: float
    """What 1,000 samples take, drawn and decoded."""


def clock(path: Path) -> Callable[[str, int, dict[str, float]], None]:
    """Hears the log of a run and appends to a file the steps and the processor's seconds between two logged steps.

    So neither the encoding of the images nor the figures after the last step count; an interrupted run leaves what it heard.
    """
    before: tuple[str, int, float] | None = None

    def heard(phase: str, step: int, figures: dict[str, float]) -> None:
        nonlocal before
        now = time.process_time()
        if before is not None:
            steps = step - before[1] if phase == before[0] else step
            if not steps:
                return  # figures at a phase's end; what they take goes to a next phase, with its negatives
            with path.open("a") as file:
                file.write(f"{steps} {now - before[2]}\n")
        before = (phase, step, now)

    return heard


def trained(out: Path, options: list[str], source: Path | None = None) -> None:
    """Train a run if it is not there, or on, without the figures that `priorkit train` ends with."""
    if not is_fitted(out):
        fit_run(out, options, source, on_log=clock(out / "clock.txt"))


def result(out: Path, options: list[str], source: Path, steps: int, samples: int, seed: int) -> Result:
    """One prior's figures: read, or measured after it is trained."""
    from priorkit.report.progress import showing
    from priorkit.runtime.atomic_files import write_json
    from priorkit.workflows.measuring.evaluate import measure
    from priorkit.workflows.sampling.draws import Draws
    from priorkit.workflows.session import open_run

    kept = out / "benchmark.json"
    if not kept.exists():
        options = [*options, f"trainer.prior_steps={steps}", f"seed={seed}", "engine.threads=1", "engine.log_every=10"]
        trained(out, options, source)
        with showing(Console(stderr=True)) as progress:
            session = open_run(out, progress=progress)
            draws = Draws(session.model, seed=seed)
            draws.sampler()  # the choice of its step size is not in the cost of a sample
            begun = time.process_time()
            session.model.decode(draws.latents(samples))
            thousand = (time.process_time() - begun) * 1_000 / samples
            model, data, groups = session.model, session.data, ("gap", "fd")
            found = measure(model, data, metrics=groups, samples=samples, seed=seed, draws=draws, progress=progress)
        spent = [tuple(map(float, line.split())) for line in (out / "clock.txt").read_text().splitlines()]
        figures = {name: (figure.value, figure.spread or 0.0) for name, figure in found.items()}
        step_seconds = sum(seconds for _, seconds in spent) / sum(many for many, _ in spent)
        write_json(kept, {"figures": figures, "step_seconds": step_seconds, "thousand": thousand})
    return Result(**json.loads(kept.read_text()))


def over_seeds(results: list[Result], figure: str) -> tuple[float, float]:
    """Mean and standard deviation over the runs; of a single run the figure's own spread."""
    values = [one.figures[figure] for one in results]
    means = [mean for mean, _ in values]
    return values[0] if len(values) == 1 else (statistics.fmean(means), statistics.stdev(means))


def seconds(results: list[Result]) -> float:
    """Of a training step, the mean over the runs."""
    return statistics.fmean(one.step_seconds for one in results)


def section(name: str, data: str, source: Path | None, arguments: argparse.Namespace) -> str:
    """A data set's heading and table."""
    from priorkit.workflows.session import open_run

    kind, root, fd = KINDS[name], arguments.out / name, f"fd_{name}"
    steps = QUICK if arguments.quick else arguments.steps or kind.steps
    samples = 500 if arguments.quick else kind.samples
    if source is None:
        source = root / "backbone"
        options = [f"data={data}", "prior=gaussian", "engine.threads=1", "trainer.validate_every=0", *kind.backbone]
        trained(source, [*options, *([f"trainer.backbone_steps={QUICK}"] if arguments.quick else [])])

    def runs(reads: str, coupling: str, count: int) -> list[Result]:
        options = [f"prior={arguments.prior}", f"prior.energy_input={reads}", f"prior.energy.coupling={coupling}"]
        options += [*PRIORS[arguments.prior], *kind.prior, *arguments.set]
        folders = [root / f"{arguments.prior}-{reads}-{coupling}-{count}-{seed}" for seed in range(arguments.seeds)]
        return [result(out, options, source, count, samples, seed) for seed, out in enumerate(folders)]

    columns = ["energies", "steps", "training, s", fd, "share of z's", "gap_auc", "1,000 samples, s"]
    rows = list[list[str]]()
    for coupling in COUPLINGS:
        on_z, on_u = runs("z", coupling, steps), runs("u", coupling, steps)
        if not rows:
            rows.append(["Gaussian", "", "", shown(on_z, f"{fd}_gaussian"), "", shown(on_z, "gap_auc_gaussian"), ""])
            rows.append(["posterior samples", "", "", shown(on_z, f"{fd}_posterior"), "", "", ""])
        more = max(QUICK, round(steps * seconds(on_z) / seconds(on_u)))
        trials = {"z": (steps, on_z), "u, the same steps": (steps, on_u)}
        trials["u, the same seconds"] = (more, runs("u", coupling, more))
        for label, (count, found) in trials.items():
            share = over_seeds(found, fd)[0] / over_seeds(on_z, fd)[0]
            cells = [f"{coupling}, {label}", f"{count:,}", f"{count * seconds(found):.3g}", shown(found, fd), f"{share:.2f}"]
            thousand = statistics.fmean(one.thousand for one in found)
            rows.append([*cells, shown(found, "gap_auc"), f"{thousand:.2f}"])
    layout = open_run(source).model.backbone.layout
    heading = f"{name}, {layout.dim:,} latents in {len(layout)} layers, {samples:,} samples per figure:"
    return f"{heading}\n\n{markdown_table(columns, rows)}\n"


def shown(results: list[Result], figure: str) -> str:
    """A figure and its spread."""
    mean, spread = over_seeds(results, figure)
    return f"{mean:.3f} ± {spread:.3f}"


def named(pairs: list[str], flag: str) -> dict[str, str]:
    """NAME=VALUE of each data set."""
    found = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(found) < len(pairs) or not set(found) <= set(KINDS):
        raise SystemExit(f"{flag}: expected NAME=VALUE with a name of {', '.join(KINDS)}, each once; got {' '.join(pairs)}.")
    return found


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", nargs="+", choices=list(KINDS), default=["digits"])
    parser.add_argument("--archives", nargs="+", default=[], metavar="NAME=zip:FILE", help="images of fashion and cifar")
    parser.add_argument("--source", nargs="+", default=[], metavar="NAME=RUN", help="finished runs whose backbones to take")
    parser.add_argument("--prior", choices=list(PRIORS), default="jointebm")
    parser.add_argument("--steps", type=int, help=f"N, at least {QUICK}; default: each data set's own")
    parser.add_argument("--seeds", type=int, default=1, help="of prior and samples, on one backbone")
    parser.add_argument("--set", nargs="+", default=[], help="more options KEY=VALUE of every prior")
    parser.add_argument("--quick", action="store_true", help=f"a rehearsal: {QUICK} steps of everything")
    parser.add_argument("--out", type=Path, help="default: runs/benchmark-spaces, and another folder for a rehearsal")
    arguments = parser.parse_args()
    arguments.out = arguments.out or Path("runs/benchmark-spaces" + "-quick" * arguments.quick)
    if arguments.steps is not None and arguments.steps < QUICK:
        parser.error(f"--steps: at least {QUICK}, for a step's seconds to be measured.")
    archives, sources = named(arguments.archives, "--archives"), named(arguments.source, "--source")
    if missing := [name for name in arguments.data if name not in ("digits", *archives, *sources)]:
        parser.error(f"--archives: {missing[0]} needs its images: --archives {missing[0]}=zip:FILE.")
    tables = []
    for name in arguments.data:
        source = Path(sources[name]) if name in sources else None
        tables.append(section(name, archives.get(name, name), source, arguments))
        print(tables[-1], flush=True)
    text = f"{protocol(arguments, parser)}\n\n" + "\n".join(tables)
    publish(text, arguments.write)


def without_folders(value: object) -> str:
    """A value of an option; a file without its folder."""
    return re.sub(r"(?<=[=:])[^=:]*/", "", str(value))


def protocol(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """The command, without folders, and what its figures are."""
    command = given_command("benchmarks/spaces.py", parser, arguments, without_folders)
    spread = f"the standard deviation over seeds 0 to {arguments.seeds - 1}"
    if arguments.seeds == 1:
        spread = "of the Fréchet distance the standard deviation over resamples, of the AUC half the 95 % interval"
    return (
        f"`{command}`: {platform.machine()} CPU, torch {torch.__version__}. Prior `{arguments.prior}`. Seconds "
        "are the processor's, of one thread; *training* is of the steps alone: images are encoded before, held-out figures "
        f"come after. ±: {spread}. The Fréchet distance is on this project's own features (not an FID); *share of z's*: "
        "divided by that of the energies on z with the same coupling. `gap_auc`: 0.5 is best."
    )


if __name__ == "__main__":
    main()
