"""Training steps of the `small` NVAE and of a prior on it, in float32 and in bfloat16, in turns so that other load falls
on both alike.

    python benchmarks/precision.py --threads 2
"""

import argparse
import statistics
import time

import torch

from priorkit.config import resolve
from priorkit.core import DataSpec, Latents, StageContext, Step, Streams
from priorkit.engine import ProcessContext
from priorkit.engine.update import Updater
from priorkit.workflows.assemble import build_model


def main() -> None:
    """Print the median seconds of a step of 64 images (3, 32, 32) and of 128 latents, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = resolve(None, ["backbone=nvae", "backbone.preset=small", "prior=multistage"])
    model = build_model(config, DataSpec("noise", (3, 32, 32), 256), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 3, 32, 32, generator=generator)
    latents = Latents(torch.randn(128, model.backbone.layout.dim, generator=generator))
    model.prior.begin_stage(1, StageContext(latents, latents, model.sampler, Streams(0)))
    for name, learner, batch in (("backbone", model.backbone, images), ("prior stage", model.prior, latents)):
        seconds = timed(learner, batch, arguments.rounds)
        ratio = seconds["32"] / seconds["bf16"]
        print(f"{name}: float32 {seconds['32']:.3f} s, bfloat16 {seconds['bf16']:.3f} s a step, {ratio:.2f} x")


def timed(learner: torch.nn.Module, batch: object, rounds: int) -> dict[str, float]:
    """Median seconds of a step in each precision; the first round warms up."""
    learner.train()
    process = ProcessContext(torch.device("cpu"))
    updaters = {name: Updater(learner, learner.objectives(), process, bf16=name == "bf16") for name in ("32", "bf16")}
    seconds: dict[str, list[float]] = {name: [] for name in updaters}
    for index in range(rounds + 1):
        for name, updater in updaters.items():
            begun = time.perf_counter()
            updater.step([batch], Step(index, rounds + 1, torch.Generator().manual_seed(index)))
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
