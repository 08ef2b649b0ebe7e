"""Kill a run with SIGKILL at random moments, resume it, and compare weights and metrics bit for bit.

    python benchmarks/kill.py --trials 200
    python benchmarks/kill.py --trials 20 --runs all

A run is a prior with its trainer, such as `multistage` or `joint-multistage`.  Each trial starts a small one, kills it at a
moment drawn uniformly over the length of an uninterrupted one, kills the resumed run once more in every second trial, lets
it end, and compares `weights/*.safetensors` and `metrics.jsonl` with those of the uninterrupted run.  One thread, since sums
depend on the number of threads in their last bits.
"""

import argparse
import multiprocessing
import random
import shutil
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

SHARED = (
    "backbone=twolayer",
    "backbone.hidden=32",
    "backbone.latents=[4, 6]",
    "sampler.steps=5",
    "trainer.backbone_steps=60",
    "trainer.validate_every=20",
    "engine.checkpoint_seconds=0.02",
    "engine.log_every=7",
    "engine.threads=1",
)
TWO_PHASE = ("trainer.prior_steps=120", "trainer.posterior_samples=1", "trainer.prior_batch=64")
JOINT = ("trainer=joint", "trainer.joint_steps=60", "trainer.batch=32", "trainer.chain.steps=3", "trainer.stage_samples=60")
ENERGY = ("prior.energy.width=16", "prior.energy.dropout=0.1")
STAGES = ("prior=multistage", *ENERGY, "prior.pool_size=300", "prior.stages=2")
CHAINS = ("prior=jointebm", *ENERGY, "prior.chain.chains=100")
NETS = ("prior=vdrme", "prior.energy.width=16", "prior.generator.width=16", "prior.scales=2")
RUNS = {
    "multistage": (*STAGES, *TWO_PHASE),
    "gaussian": ("prior=gaussian", *TWO_PHASE),
    "jointebm": (*CHAINS, *TWO_PHASE),
    "ncp": ("prior=ncp", *ENERGY, "prior.proposals=20", *TWO_PHASE),
    "diffusion": ("prior=diffusion", *ENERGY, *TWO_PHASE),
    "vdrme": (*NETS, *TWO_PHASE),
    "tre": ("prior=tre", "prior.energy.width=16", "prior.waymarks=2", *TWO_PHASE),
    "flowmatching": ("prior=flowmatching", "prior.net.width=16", *TWO_PHASE),
    "flow": ("prior=flow", "prior.width=16", "prior.transforms=2", *TWO_PHASE),
    "vampprior": ("prior=vampprior", "prior.number=20", *TWO_PHASE),
    "mixture": ("prior=mixture", *TWO_PHASE),
    "multistage-on-mixture": (*STAGES, *TWO_PHASE, "prior.base_prior=mixture", "prior.energy.coupling=coupled"),
    "bank-on-disk": (*STAGES, *TWO_PHASE, "trainer.bank_in=disk"),
    "joint-multistage": (*STAGES, *JOINT, "backbone.inference=none"),
    "joint-jointebm": (*CHAINS, *JOINT, "backbone.inference=none"),
    "joint-variational": (*STAGES, *JOINT, "trainer.posterior=variational", "backbone.inference=bottom-up"),
}
"""Every prior, and both trainers with each kind of state that they have."""
OPTIONS = (*SHARED, *RUNS["multistage"])
PLUGINS = (
    *("twolayer", "mcmc", "twophase", "joint"),
    *("multistage", "gaussian", "jointebm", "ncp", "diffusion", "vdrme"),
    *("tre", "flowmatching", "flow", "vampprior", "mixture"),
)
"""Imported before the processes that are killed begin."""


def work(folder: Path, options: tuple[str, ...] = OPTIONS) -> None:
    """What the killed process does: begin the run, or go on with it."""
    from priorkit.config import RunConfig, resolve
    from priorkit.workflows.training.train import fit

    resume = (folder / "config.yaml").exists()
    config = RunConfig.read(folder / "config.yaml") if resume else resolve(None, options)
    fit(config, folder, resume=resume)


def start(folder: Path, options: tuple[str, ...] = OPTIONS) -> BaseProcess:
    """A process at work; the fork server has torch imported already."""
    context = multiprocessing.get_context("forkserver")
    plugins = [f"priorkit_{name}" for name in PLUGINS]
    # The first optimiser of a process imports torch._dynamo, which takes as long as the rest of the run.
    context.set_forkserver_preload(["priorkit.workflows.training.train", "sklearn.datasets", "torch._dynamo", *plugins])
    process = context.Process(target=work, args=(folder, options))
    process.start()
    return process


def finish(folder: Path, options: tuple[str, ...] = OPTIONS) -> float:
    """Run to the end; gives the seconds it took."""
    begun = time.monotonic()
    process = start(folder, options)
    process.join()
    if process.exitcode:
        raise SystemExit(f"the run in {folder} ended with exit code {process.exitcode}")
    return time.monotonic() - begun


def result(folder: Path) -> dict[str, bytes]:
    """What must not depend on kills."""
    files = [*sorted((folder / "weights").glob("*.safetensors")), folder / "metrics.jsonl"]
    return {file.name: file.read_bytes() for file in files}


def killed(folder: Path, after: float, options: tuple[str, ...] = OPTIONS) -> bool:
    """Start, and kill after so many seconds; False if the run was over by then."""
    process = start(folder, options)
    process.join(after)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


def trials(count: int, seed: int, root: Path, run: str = "multistage", more: tuple[str, ...] = ()) -> list[str]:
    """Run the trials of one kind of run, with `more` options; returns a line for each that went wrong."""
    whole, options = root / "whole", (*SHARED, *RUNS[run], *more)
    finish(root / "warm-up", options)
    length = finish(whole, options)
    expected = result(whole)
    moments = random.Random(seed)
    wrong, kills = [], 0
    for trial in range(count):
        folder = root / f"trial-{trial}"
        while not killed(folder, moments.uniform(0.0, length), options):
            shutil.rmtree(folder)  # over before its moment came: not a trial
        kills += 1
        if trial % 2:
            kills += killed(folder, moments.uniform(0.0, length), options)
        finish(folder, options)
        different = [name for name, content in result(folder).items() if content != expected[name]]
        if different:
            wrong.append(f"{run}, trial {trial}: {', '.join(different)} differ")
        shutil.rmtree(folder)
    print(f"{count} trials, {kills} kills over runs of {length:.1f} s, {len(wrong)} wrong", flush=True)
    return wrong


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="multistage", help=f"all, or by commas: {', '.join(RUNS)}")
    arguments = parser.parse_args()
    runs, wrong = list(RUNS) if arguments.runs == "all" else arguments.runs.split(","), list[str]()
    for run in runs:
        if len(runs) > 1:
            print(f"{run}: ", end="")
        with tempfile.TemporaryDirectory() as root:
            wrong += trials(arguments.trials, arguments.seed, Path(root), run)
    raise SystemExit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
