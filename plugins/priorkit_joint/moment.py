"""The current posterior when a stage of the prior begins or ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from priorkit.core import Examples, Latents, StageContext, Workbench

__all__ = ["Infer", "begin_stage", "end_stage"]

Infer = Callable[[Tensor, Generator], Tensor]
"""Observed data (B, *spec.shape) to posterior samples u (B, D)."""

CHUNK = 500
"""Number of data encoded at once; part of the definition of the samples, since each chunk has a separate random stream."""


def begin_stage(bench: Workbench, stage: int, count: int, infer: Infer) -> None:
    """Begin the prior's stage with the current posterior.

    An interrupted run repeats this call with another state of the generator, so samples and weights are stored.
    """
    name = f"joint.{stage}.begin"

    def make() -> dict[str, Tensor]:
        weights = {f"backbone/{key}": value.clone() for key, value in bench.backbone.state_dict().items()}
        return {**_samples(bench, name, count, infer), **weights}

    kept = {key: value.to(bench.device) for key, value in bench.cache(f"joint-{stage}", make).items()}
    weights = {key.removeprefix("backbone/"): value for key, value in kept.items() if key.startswith("backbone/")}
    with _holding(bench.backbone, weights):
        bench.prior.begin_stage(stage, _context(bench, kept))


def end_stage(bench: Workbench, stage: int, count: int, infer: Infer) -> dict[str, float]:
    """End the prior's stage, validated on the current posterior."""
    return bench.prior.end_stage(stage, _context(bench, _samples(bench, f"joint.{stage}.end", count, infer)))


def _context(bench: Workbench, samples: dict[str, Tensor]) -> StageContext:
    return StageContext(
        positives=_latents(bench.train, samples, "train"),
        heldout=_latents(bench.heldout, samples, "heldout"),
        sampler=bench.sampler,
        streams=bench.streams,
        cache=bench.cache,
        progress=bench.progress,
        parallel_map=bench.parallel_map,
    )


def _latents(data: Examples, samples: dict[str, Tensor], split: str) -> Latents:
    u = samples[f"{split}.u"]
    return Latents(u, samples.get(f"{split}.z"), None if data.labels is None else data.labels[: len(u)].to(u.device))


@torch.no_grad()
def _samples(bench: Workbench, name: str, count: int, infer: Infer) -> dict[str, Tensor]:
    """Return a posterior sample of each of the first data of both splits, with z if the prior reads it."""
    samples = {}
    for split, data in (("train", bench.train), ("heldout", bench.heldout)):
        parts = [part for part in torch.split(torch.arange(min(count, len(data))), CHUNK) if len(part)]
        u = [torch.empty(0, bench.backbone.layout.dim, device=bench.device)]
        for indices in bench.progress(parts, len(parts), f"posterior of the {split} split"):
            generator = bench.streams.generator(f"{name}.{split}", int(indices[0]), device=bench.device)
            x = bench.backbone.observe(bench.batch(data, indices), generator=generator)
            u.append(infer(x, generator))
        samples[f"{split}.u"] = torch.cat(u)
        if bench.prior.energy_input == "z":
            samples[f"{split}.z"] = torch.cat([bench.backbone.latents(part) for part in u])
    return samples


@contextmanager
def _holding(module: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Give the module other weights inside the block."""
    present = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(weights)
    try:
        yield
    finally:
        module.load_state_dict(present)
