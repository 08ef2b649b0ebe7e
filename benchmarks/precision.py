"""Training steps of the `small` NVAE in float32 and in bfloat16, taken in turns so that other load falls on both alike.

    python benchmarks/precision.py --threads 2
"""

import argparse
import statistics
import time

import torch

from priorkit.config import resolve
from priorkit.core import DataSpec, Step
from priorkit.engine import Place
from priorkit.engine.update import Updater
from priorkit.workflows.assemble import build_model


def main() -> None:
    """Print the median seconds of a step of 64 images (3, 32, 32), and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = resolve(None, ["backbone=nvae", "backbone.preset=small"])
    backbone = build_model(config, DataSpec("noise", (3, 32, 32), 256), torch.device("cpu")).backbone.train()
    place = Place(torch.device("cpu"))
    updaters = {name: Updater(backbone, backbone.objectives(), place, bf16=name == "bf16") for name in ("32", "bf16")}
    x = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {name: [] for name in updaters}
    for index in range(arguments.rounds + 1):
        for name, updater in updaters.items():
            begun = time.perf_counter()
            updater.step([x], Step(index, arguments.rounds + 1, torch.Generator().manual_seed(index)))
            seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    print(f"float32 {medians['32']:.3f} s, bfloat16 {medians['bf16']:.3f} s a step, {medians['32'] / medians['bf16']:.2f} x")


if __name__ == "__main__":
    main()
