"""What `auto` means for the multi-stage prior: its energies' couplings, inputs and networks for equal processor time.

    python benchmarks/couplings.py --run runs/benchmark-share/backbone --seconds 120 --images 20000 --seed 7

On the backbone of a finished run.  Each row is one ratio (after its base, where it has one; half of the seconds each),
trained on the same posterior samples of the first training images, and judged on held-out images: the loss of each
layer's classifier (2 log 2 = 1.386 is chance), and the Fréchet distance of draws on this project's own features (not an
FID).
"""

import argparse
import platform
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor

from priorkit.core import Latents, Sampling, StageContext, Step, Streams
from priorkit.metrics import FidelityReference
from priorkit.registry import installed
from priorkit.workflows.session import Session, open_run

BATCH, HELDOUT, DRAWN = 256, 2_000, 2_000
NORMAL = {"base": {"kind": "normal"}}
CHOICES: Mapping[str, Mapping[str, Any]] = {
    "auto": {},
    "coupled": {"energy": {"coupling": "coupled"}},
    "separable": {"energy": {"coupling": "separable"}},
    "separable, on z": {"energy": {"coupling": "separable"}, "energy_input": "z"},
    "conditional, no base": {"energy": {"coupling": "conditional"}, **NORMAL},
    "conditional, no base, on z": {"energy": {"coupling": "conditional"}, "energy_input": "z", **NORMAL},
    "conditional, base": {"energy": {"coupling": "conditional"}, "base": {"kind": "conditional"}},
    "conditional, diagonal base": {
        "energy": {"coupling": "conditional"},
        "base": {"kind": "conditional", "covariance": "diagonal"},
    },
    "conditional, base, all layers resmlp": {"energy": {"coupling": "conditional", "network": "resmlp"}, "layers": "all"},
    "conditional, base, all layers resmap": {"energy": {"coupling": "conditional", "network": "resmap"}, "layers": "all"},
    "conditional, base, all layers local": {"energy": {"coupling": "conditional", "network": "local"}, "layers": "all"},
}


@dataclass
class Bench:
    """Posterior samples and the judge."""

    session: Session
    train: Latents
    heldout: Latents
    judge: FidelityReference
    streams: Streams

    @classmethod
    def of(cls, run: Path, images: int, seed: int) -> "Bench":
        """Encode the first images of both splits."""
        session, streams = open_run(run), Streams(seed)
        data, space = session.data, session.model.backbone.space()

        def encoded(split: Any, count: int, name: str) -> Latents:
            parts = []
            for number, rows in enumerate(torch.split(torch.arange(min(count, len(split))), 500)):
                generator = streams.generator(f"couplings.{name}", number)
                found = session.model.backbone.infer(split.batch(rows), generator=generator)
                kept = {
                    "mean": found.mean,
                    "scale": found.scale,
                    "features": space.features(found.u),
                    "z": space.latents(found.u),
                }
                parts.append({"u": found.u} | {key: value for key, value in kept.items() if value is not None})
            return Latents(**{key: torch.cat([part[key] for part in parts]) for key in parts[0]})

        with torch.no_grad():
            train, heldout = encoded(data.train, images, "train"), encoded(data.heldout, HELDOUT, "heldout")
        return cls(session, train, heldout, FidelityReference(data.spec, data.heldout, split_name="held-out"), streams)

    def distance(self, u: Tensor) -> float:
        """The Fréchet distance of decoded latents to held-out images."""
        return self.judge.fd(self.session.model.decode(u), generator=self.streams.generator("couplings.fd")).value


def measured(bench: Bench, options: Mapping[str, Any], seconds: float, seed: int) -> dict[str, Any]:
    """Train one choice and judge it."""
    kind = installed().load("prior", "multistage")
    torch.manual_seed(seed)
    prior = kind(kind.Config.model_validate({"stages": 1, **options}), bench.session.model.backbone.space())
    context = StageContext(bench.train, bench.heldout, bench.session.model.sampler, bench.streams)
    figures: dict[str, float] = {}
    for stage in range(1, prior.stages + 1):
        prior.begin_stage(stage, context)
        steps = fit(prior, bench, seconds / prior.stages, stage)
        prior.eval()
        figures = prior.end_stage(stage, context)
    sampler = prior.tuned(bench.session.model.sampler, generator=bench.streams.generator("couplings.tune"))
    begun = process_time()
    keys = [bench.streams.generator("couplings.draw", k) for k in range(DRAWN // 500)]
    u = torch.cat([prior.draw(500, Sampling(sampler, key)).u for key in keys])
    losses = [value for name, value in sorted(figures.items()) if name.startswith("heldout_loss_layer")]
    shown = losses or [figures["heldout_loss"]]
    return {"fd": bench.distance(u), "losses": shown, "steps": steps, "draws": process_time() - begun}


def fit(prior: Any, bench: Bench, seconds: float, stage: int) -> int:
    """Steps of the stage's objective for so many processor seconds; returns their number."""
    (objective,) = prior.objectives()
    own = objective.optimiser
    kind = torch.optim.AdamW if own.name == "adamw" else torch.optim.Adam
    optimiser = kind(objective.parameters, lr=own.lr, weight_decay=own.weight_decay)
    begun, index = process_time(), 0
    while (spent := process_time() - begun) < seconds:
        generator = bench.streams.generator("couplings.step", stage, index)
        rows = torch.randint(len(bench.train), (BATCH,), generator=generator)
        for group in optimiser.param_groups:
            group["lr"] = own.rate(int(1_000 * spent / seconds), 1_000)
        optimiser.zero_grad(set_to_none=True)
        objective.loss(bench.train[rows], Step(index, 10**6, generator)).value.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters, own.clip or 10.0)
        optimiser.step()
        index += 1
    return index


def rows(bench: Bench, names: list[str], seconds: float, seed: int) -> Iterator[str]:
    """Markdown lines, as they come."""
    chance = f"held-out loss by layer (chance {2 * log(2):.3f})"
    yield f"| energies | {chance} | fd, held-out | steps of the ratio | s per {DRAWN:,} draws |"
    yield "|---|---|---|---|---|"
    noise = torch.randn(DRAWN, bench.train.u.shape[1], generator=bench.streams.generator("couplings.noise"))
    yield f"| Gaussian prior | | {bench.distance(noise):.2f} | | |"
    for name in names:
        found = measured(bench, CHOICES[name], seconds, seed)
        losses = ", ".join(f"{loss:.3f}" for loss in found["losses"])
        yield f"| {name} | {losses} | {found['fd']:.2f} | {found['steps']} | {found['draws']:.0f} |"
    yield f"| posterior samples | | {bench.distance(bench.train.u[:DRAWN]):.2f} | | |"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a finished run; its backbone is used")
    parser.add_argument("--seconds", type=float, default=120, help="processor seconds of training per row")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench.of(arguments.run, arguments.images, arguments.seed)
    lines = []
    for line in rows(bench, arguments.choices, arguments.seconds, arguments.seed):
        lines.append(line)
        print(line, flush=True)
    command = [
        "python",
        "benchmarks/couplings.py",
        "--run",
        f"runs/{arguments.run.name}",
        "--seconds",
        f"{arguments.seconds:g}",
    ]
    command += ["--images", str(arguments.images), "--seed", str(arguments.seed)]
    told = f"`{shlex.join(command)}`: data {bench.session.data.spec.name}, {platform.machine()} CPU, "
    told += f"torch {torch.__version__}, one thread, processor time."
    if arguments.write:
        arguments.write.write_text("\n".join([told, "", *lines, ""]))


if __name__ == "__main__":
    main()
