"""One training step of every prior on the NVAE of the published CIFAR-10 size, and what memory it takes.

    python benchmarks/published_size.py --threads 2 --write docs/results/published_size.md

The `cifar10` preset has 30 groups, 153,600 latents and 131 million parameters.  Each prior has a process of its own, which
builds the backbone, encodes two made-up images, takes a training step on the two posterior samples (energies on u, chains
of 10 steps, a pool of four points where there are pools, two stages) and draws two samples.  Peak memory is that of the
process.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from priorkit.config import resolve
from priorkit.core import DataSpec, Latents, Sampling, StageContext, Step, Streams
from priorkit.engine import ProcessContext
from priorkit.engine.update import Updater
from priorkit.workflows.assemble import build_model

PRIORS: dict[str, list[str]] = {
    "gaussian": [],
    "multistage": ["prior.stages=2", "prior.pool_size=4"],
    "jointebm": ["prior.chain.steps=10"],
    # Flattened, the layers above would be 150,000 inputs of the last classifier.
    "ncp": ["prior.context=decoder", "prior.proposals=20"],
    "diffusion": [],
    "vdrme": [],
}
"""Options beyond the defaults."""
BATCH = 2


def measured(prior: str, options: list[str], threads: int) -> dict[str, float]:
    """Seconds and GiB of one prior, in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    chosen = ["backbone=nvae", "backbone.preset=cifar10", f"prior={prior}", "sampler=langevin", "sampler.steps=10"]
    config = resolve(None, [*chosen, *options])
    model = build_model(config, DataSpec("noise", (3, 32, 32), 256), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    figures, begun = {}, time.perf_counter()
    with torch.no_grad():
        images = torch.rand(BATCH, 3, 32, 32, generator=generator)
        latents = Latents(model.backbone.eval().infer(images, generator=generator).u)
    figures["encoding, s"] = time.perf_counter() - begun
    for stage in range(1, model.prior.stages + 1):
        context = StageContext(latents, latents, model.sampler, Streams(0))
        model.prior.train().begin_stage(stage, context)
        learnt = Updater(model.prior, model.prior.objectives(), ProcessContext(torch.device("cpu")))
        begun = time.perf_counter()
        learnt.step([latents], Step(0, 1, generator))
        figures["a step, s"] = time.perf_counter() - begun
        model.prior.end_stage(stage, context)
    begun = time.perf_counter()
    with torch.no_grad():
        u = model.prior.eval().draw(BATCH, Sampling(model.sampler, generator)).u
        finite = bool(torch.isfinite(model.backbone.generate(u).likelihood.mean).all())
    if not finite:
        raise RuntimeError(f"{prior}: a sample is not finite")
    figures["two samples, s"] = time.perf_counter() - begun
    figures["latents"] = model.backbone.layout.dim
    figures["backbone, M parameters"] = sum(p.numel() for p in model.backbone.parameters()) / 1e6
    figures["prior, M parameters"] = sum(p.numel() for p in model.prior.parameters()) / 1e6
    figures["peak memory, GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    parser.add_argument("--only", help="measure one prior in this process and print its figures as JSON")
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measured(arguments.only, PRIORS[arguments.only], arguments.threads)))
        return
    rows = {}
    for prior in arguments.priors:
        command = [sys.executable, __file__, "--only", prior, "--threads", str(arguments.threads)]
        rows[prior] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    heads = ["encoding, s", "a step, s", "two samples, s", "prior, M parameters", "peak memory, GiB"]
    lines = ["| prior | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for prior, row in rows.items():
        lines.append(f"| {prior} | " + " | ".join(f"{row[head]:.3g}" if head in row else "" for head in heads) + " |")
    some = next(iter(rows.values()))
    body = "\n".join(lines)
    text = (
        f"`python benchmarks/published_size.py --threads {arguments.threads}`: seed 0, "
        f"{platform.machine()} CPU, {arguments.threads} threads, torch "
        f"{torch.__version__}; {some['latents']:,.0f} latents, a backbone of {some['backbone, M parameters']:.1f} million "
        f"parameters, untrained; batch {BATCH}; *a step* is the last stage's.\n\n{body}\n"
    )
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
