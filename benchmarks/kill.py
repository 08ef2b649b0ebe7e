"""Kill a run with SIGKILL at random moments, resume it, and compare weights and metrics bit for bit.

    python benchmarks/kill.py --trials 200

Each trial starts a small run, kills it at a moment drawn uniformly over the length of an uninterrupted one, kills the
resumed run once more in every second trial, lets it end, and compares `weights/*.safetensors` and `metrics.jsonl` with
those of the uninterrupted run.  One thread, since sums depend on the number of threads in their last bits.
"""

import argparse
import multiprocessing
import random
import shutil
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

OPTIONS = (
    "backbone=twolayer",
    "backbone.hidden=32",
    "backbone.latents=[4, 6]",
    "prior.energy.width=16",
    "prior.energy.dropout=0.1",
    "prior.pool_size=300",
    "prior.stages=2",
    "sampler.steps=5",
    "trainer.backbone_steps=60",
    "trainer.prior_steps=120",
    "trainer.posterior_samples=1",
    "trainer.validate_every=20",
    "trainer.prior_batch=64",
    "engine.checkpoint_seconds=0.02",
    "engine.log_every=7",
    "engine.threads=1",
)


def work(folder: Path) -> None:
    """What the killed process does: begin the run, or go on with it."""
    from priorkit.config import RunConfig, resolve
    from priorkit.workflows.train import fit

    resume = (folder / "config.yaml").exists()
    config = RunConfig.read(folder / "config.yaml") if resume else resolve(None, OPTIONS)
    fit(config, folder, resume=resume)


def start(folder: Path) -> BaseProcess:
    """A process at work; the fork server has torch imported already."""
    context = multiprocessing.get_context("forkserver")
    plugins = ["priorkit_twolayer", "priorkit_multistage", "priorkit_mcmc", "priorkit_twophase"]
    context.set_forkserver_preload(["priorkit.workflows.train", "sklearn.datasets", *plugins])
    process = context.Process(target=work, args=(folder,))
    process.start()
    return process


def finish(folder: Path) -> float:
    """Run to the end; gives the seconds it took."""
    begun = time.monotonic()
    process = start(folder)
    process.join()
    if process.exitcode:
        raise SystemExit(f"the run in {folder} ended with exit code {process.exitcode}")
    return time.monotonic() - begun


def result(folder: Path) -> dict[str, bytes]:
    """What must not depend on kills."""
    files = [*sorted((folder / "weights").glob("*.safetensors")), folder / "metrics.jsonl"]
    return {file.name: file.read_bytes() for file in files}


def killed(folder: Path, after: float) -> bool:
    """Start, and kill after so many seconds; False if the run was over by then."""
    process = start(folder)
    process.join(after)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


def trials(count: int, seed: int, root: Path) -> list[str]:
    """Run the trials; gives a line for each that went wrong."""
    whole = root / "whole"
    finish(root / "warm-up")
    length = finish(whole)
    expected = result(whole)
    moments = random.Random(seed)
    wrong, kills = [], 0
    for trial in range(count):
        folder = root / f"trial-{trial}"
        while not killed(folder, moments.uniform(0.0, length)):
            shutil.rmtree(folder)  # over before its moment came: not a trial
        kills += 1
        if trial % 2:
            kills += killed(folder, moments.uniform(0.0, length))
        finish(folder)
        different = [name for name, content in result(folder).items() if content != expected[name]]
        if different:
            wrong.append(f"trial {trial}: {', '.join(different)} differ")
        shutil.rmtree(folder)
    print(f"{count} trials, {kills} kills over runs of {length:.1f} s, {len(wrong)} wrong")
    return wrong


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        wrong = trials(arguments.trials, arguments.seed, Path(root))
    raise SystemExit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
