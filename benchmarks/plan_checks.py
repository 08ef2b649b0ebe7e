"""The formulas of `plan_formulas.py` against a step of the backbone and of each prior, at sizes that are small."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch
from clock import operations
from plan_formulas import Local, backbone_kept, backbone_step, bytes_moved, negatives, prior_step, rows_bytes, state_bytes
from plan_units import BackboneUnits, Moved, backbone_units, configured, kept, units
from priorkit_twophase.positives import encode
from torch import Tensor

from priorkit.config import RunConfig
from priorkit.core import (
    DataSpec,
    Latents,
    Layout,
    StageContext,
    Step,
    Streams,
    Workbench,
    frozen,
    no_progress,
    set_learning,
)
from priorkit.engine import ProcessContext
from priorkit.engine.ema import ExponentialMovingAverage
from priorkit.engine.update import Updater
from priorkit.model import Model
from priorkit.workflows.assemble import build_model

__all__ = ["SMALL", "Check", "checks"]

CPU = torch.device("cpu")
SMALL = {"digits": DataSpec("digits", (1, 8, 8), 17), "small": DataSpec("noise", (3, 32, 32), 256)}
BATCH, IMAGES, SAMPLES, POOL, JUDGED, PILOT, CHAIN = 16, 24, 2, 64, 32, 10, 4
OWN_CHAIN = {"jointebm": 5, "diffusion": 10}
"""Steps of the chains within a training step: the defaults."""

Check = tuple[str, float, float]
"""What, by formula, measured."""


# Plans are for GPUs, on which no convolution is a matrix product.
@patch("priorkit_nvae.small_maps.products_allowed", lambda: False)
def checks(preset: str, priors: Sequence[str]) -> list[Check]:
    """Formulas against a step of the backbone and of each prior."""
    backbone = backbone_units(configured(preset, "gaussian"), SMALL[preset])
    layout, found = backbone.network.layout, _of_backbone(preset, backbone)
    for name in priors:
        found += _of_prior(preset, name, layout, 0.0)
        if name == "jointebm":
            found += _of_prior(preset, name, layout, backbone.walk)
        if name == "multistage":
            found += _of_stages(preset, backbone)
    return found


def held(updater: Updater, average: ExponentialMovingAverage) -> float:
    """Bytes of the weights, gradients, moments and averages that there are."""
    own = list(updater.learner.parameters())
    gradients = [parameter.grad for parameter in own if parameter.grad is not None]
    moments = [value for one in updater.optimisers for entries in one.state.values() for value in entries.values()]
    return float(sum(tensor.nbytes for tensor in [*own, *gradients, *moments, *average.shadow]))


def _of_backbone(preset: str, one: BackboneUnits) -> list[Check]:
    network = build_model(configured(preset, "gaussian"), SMALL[preset], CPU).backbone
    set_learning(network, True)
    objective = network.objectives()
    updater, average = Updater(network, objective, ProcessContext(CPU)), ExponentialMovingAverage(network, 0.9)
    x, step = torch.rand(BATCH, *SMALL[preset].shape), Step(1, 1000, torch.Generator().manual_seed(0))
    keeps = kept(lambda: objective[0].loss(x, step), network)
    counted = operations(lambda: updater.step([x], step))
    expected = backbone_step(one.forward, BATCH, one.filters, regularised=one.regularised)
    least = backbone_kept(one.kept, BATCH, one.filters)
    return [
        (f"backbone: operations of a step of {BATCH}", expected, counted),
        ("backbone: bytes kept for the gradient", least, keeps),
        ("backbone: bytes of weights, gradient, moments, average", state_bytes(one.parameters), held(updater, average)),
    ]


def _of_prior(preset: str, name: str, layout: Layout, walk: float) -> list[Check]:
    """A training step of the first stage, on made-up positives; with `walk`, T, the energies read z."""
    config = configured(preset, name, *(["prior.energy_input=z"] if walk else []))
    model = _frozen(config, preset)
    prior, positives = model.prior, _positives(model, 2 * BATCH)
    prior.train().begin_stage(1, StageContext(positives, positives[:0], model.sampler, Streams(0)))
    updater, average = Updater(prior, prior.objectives(), ProcessContext(CPU)), ExponentialMovingAverage(prior, 0.9)
    step, one = Step(1, 1000, torch.Generator().manual_seed(0)), units(name, config, layout)
    expected = prior_step(name, one, BATCH, OWN_CHAIN.get(name, 0), walk)
    label = f"{name}{', energies on z' * bool(walk)}"
    counted = operations(lambda: updater.step([positives[:BATCH]], step))
    found = [(f"{label}: operations of a step of {BATCH}", expected, counted)]
    if walk:
        return found
    state = state_bytes(one.parameters, one.stages)
    found.append((f"{label}: bytes of weights, gradient, moments, average", state, held(updater, average)))
    if name == "multistage":
        keeps = kept(lambda: prior.objectives()[0].loss(positives[:BATCH], step), prior)
        found.append((f"{label}: bytes kept for the gradient", 2 * BATCH * one.kept, keeps))
        with Moved() as moved:
            updater.step([positives[:BATCH]], step)
            average.update(1)
        least = bytes_moved(one.parameters, one.kept, 2 * BATCH, layout.dim, one.stages)
        found.append((f"{label}: bytes moved in a step, at least", least, moved.bytes))
    if name == "multistage" and config.component("prior")[1].energy.separable(layout):
        own = Local(layout.shapes, prior.settings.energy.channels, prior.settings.energy.depth)
        found.append(("network `local`: F", own.forward, one.forward["F"]))
        found.append(("network `local`: P", own.parameters, one.parameters))
        found.append(("network `local`: bytes kept at a point", own.kept, one.kept))
    return found


def _of_stages(preset: str, backbone: BackboneUnits) -> list[Check]:
    """The bank, and what a second stage draws before it begins and after it has ended."""
    sizes = [f"sampler.steps={CHAIN}", f"sampler.pilot_steps={PILOT}", f"prior.pool_size={POOL}", "prior.stages=2"]
    config, layout = configured(preset, "multistage", *sizes), backbone.network.layout
    model, bytes_kept = _frozen(config, preset), dict[str, int]()

    def keep(name: str, make: Any) -> dict[str, Tensor]:
        made: dict[str, Tensor] = make()
        bytes_kept[name] = sum(tensor.nbytes for tensor in made.values())
        return made

    images = _Noise(torch.rand(IMAGES, *SMALL[preset].shape))
    bench = Workbench(model.backbone, model.prior, model.sampler, images, images, Streams(0), CPU, keep, no_progress)
    found = list[Latents]()
    encoding = operations(lambda: found.append(encode(bench, images, "train", SAMPLES, 10**6).shown(bench.streams)))
    positives = found[0]
    context = StageContext(positives, positives[:0], model.sampler, Streams(0), keep)
    prior = model.prior.train()
    prior.begin_stage(1, context)
    prior.end_stage(1, context)
    points = torch.randn(POOL, layout.dim, requires_grad=True)
    with frozen(prior):
        chain = kept(lambda: prior.log_prob(points), prior)
    judged = StageContext(positives, positives[:JUDGED], model.sampler, Streams(0), keep)
    drawn = operations(lambda: (prior.begin_stage(2, judged), prior.end_stage(2, judged)))
    one = units("multistage", config, layout)
    bank, pool = rows_bytes(SAMPLES * IMAGES, layout.dim), rows_bytes(POOL, layout.dim)
    drawing = negatives(one.forward["F"], 2, POOL, JUDGED, CHAIN, PILOT)
    return [
        (f"bank: bytes of {SAMPLES} samples of {IMAGES} images", bank, bytes_kept["positives-train"]),
        ("bank: operations of encoding them", SAMPLES * IMAGES * backbone.encoding, encoding),
        (f"chain: bytes kept for the gradient at {POOL} points", POOL * one.chain, chain),
        (f"pool: bytes of {POOL} points", pool, bytes_kept["multistage-pool-2"]),
        ("pool: operations of drawing it, pilot and judging included", drawing, drawn),
    ]


class _Noise:
    """Images as a data split."""

    labels = None

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> Tensor:
        """The chosen images."""
        return self.images[indices]


def _frozen(config: RunConfig, preset: str) -> Model:
    model = build_model(config, SMALL[preset], CPU)
    set_learning(model.backbone, False)
    return model


@torch.no_grad()
def _positives(model: Model, count: int) -> Latents:
    u = torch.randn(count, model.backbone.layout.dim, generator=torch.Generator().manual_seed(0))
    return Latents(u, model.backbone.latents(u) if model.prior.energy_input == "z" else None)
