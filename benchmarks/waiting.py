"""Runs of priorkit on the fake device, and how often their steps wait for it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorkit.config import resolve
from priorkit.core import PosteriorChain, Sampling, no_progress
from priorkit.data import Dataset
from priorkit.engine import ProcessContext
from priorkit.engine.signals import StopRequest
from priorkit.model import Model
from priorkit.registry import hooks
from priorkit.runs.folder import RunFolder
from priorkit.testing.fake_device import DEVICE, FakeDevice, fake_device
from priorkit.workflows.assemble import build_model
from priorkit.workflows.session import open_data
from priorkit.workflows.training.begin import Begun
from priorkit.workflows.training.run_phases import run_phases

__all__ = ["BACKBONES", "PRIORS", "TRAINERS", "Ran", "Step", "chain_waits", "on_fake_device", "options", "trained"]

BACKBONES = {
    "twolayer": ("backbone=twolayer", "backbone.latents=[3,4]", "backbone.hidden=8"),
    "nvae": (
        "backbone=nvae", "backbone.num_channels_enc=4", "backbone.num_channels_dec=4", "backbone.num_latent_per_group=2",
        "backbone.num_groups_per_scale=1", "backbone.num_preprocess_blocks=1", "backbone.num_postprocess_blocks=1",
    ),
}  # fmt: skip
PRIORS = {
    "gaussian": (),
    "mixture": ("prior.components=2",),
    "vampprior": ("prior.number=3",),
    "flow": ("prior.width=8", "prior.transforms=2"),
    "flowmatching": (
        "prior.net.width=8",
        "prior.net.depth=1",
        "prior.steps=2",
        "prior.density_steps=1",
        "prior.divergence=hutchinson",
        "prior.probes=1",
    ),
    "tre": ("prior.energy.width=8", "prior.waymarks=2"),
    "jointebm": ("prior.energy.width=8",),
    "ncp": ("prior.energy.width=8", "prior.proposals=20"),
    "multistage": ("prior.stages=2", "prior.pool_size=32", "prior.energy.width=8"),
    "diffusion": ("prior.energy.width=8", "prior.levels=2"),
    "diffusion-paper": ("prior.energy.width=8", "prior.levels=2", "prior.chain=paper"),
    "jointebm-z": ("prior.energy.width=8", "prior.energy_input=z"),
    "vdrme": (),
}
"""The priors, and variants of them after a hyphen."""
COMMON = (
    "data=digits", "engine.threads=1", "engine.log_every=1000", "engine.checkpoint_seconds=100000", "sampler.steps=2",
    "sampler.pilot_steps=2",
)  # fmt: skip
"""No step but the last of a phase logs, and none writes a checkpoint, however slow the machine is."""
STEPS = 3
"""Steps of a phase: of the first, of the last and one between."""
TRAINERS = {
    "two-phase": (
        "trainer=two-phase", "trainer.backbone_batch=8", "trainer.prior_batch=8", "trainer.posterior_samples=1",
        "trainer.validate_every=0", "trainer.prior_validate_every=0",
    ),
    "joint": (
        "trainer=joint", "trainer.batch=8", "trainer.stage_samples=16", "trainer.chain.steps=2",
        "trainer.validate_every=0", "trainer.final_share=0.3334",
    ),
}  # fmt: skip
"""The smallest settings with which every part of a method has something to do."""


@dataclass
class Step:
    """What one training step asked of the device."""

    waits: Counter[str]
    launches: int


@dataclass
class Ran:
    """A trained run on the device."""

    model: Model
    data: Dataset
    steps: dict[str, list[Step]] = field(default_factory=dict)
    """The steps of each phase. The first one may also prepare constants; the last one also writes the log."""

    def usual(self) -> dict[str, Step]:
        """Return the step between the first and the last of each phase that waits longest."""
        return {name: max(steps[1:-1], key=lambda step: step.waits.total()) for name, steps in self.steps.items()}


def options(backbone: str, prior: str, trainer: str, *more: str) -> list[str]:
    """Return the options of a tiny run. The backbone alone is trained beside the Gaussian prior only."""
    phases = {"multistage": 3 if trainer == "joint" else 2}.get(prior, 1)
    alone, name = prior == "gaussian", "prior_steps" if trainer == "two-phase" else "joint_steps"
    steps = [f"trainer.{name}={0 if alone else STEPS * phases}", f"trainer.backbone_steps={STEPS if alone else 0}"]
    own = [*BACKBONES[backbone], f"prior={prior.partition('-')[0]}", *PRIORS[prior], *TRAINERS[trainer]]
    return [*COMMON, *own, *steps, *more]


def trained(device: FakeDevice, folder: Path, given: list[str], process: ProcessContext | None = None) -> Ran:
    """Train a run on the device, as `priorkit train` does, on a few images."""
    config = resolve(None, given)
    data = open_data(config, no_progress)
    data = replace(data, train=data.train.subset(torch.arange(48)), heldout=data.heldout.subset(torch.arange(16)))
    process = process or ProcessContext(DEVICE)
    model = build_model(config, data.spec, DEVICE)
    model.prior.should_train = lambda stage: True
    folder.mkdir(parents=True, exist_ok=True)
    home = RunFolder(folder)
    if process.is_main:
        config.write(home.config)
        home.begin()
    seen: dict[str, list[tuple[Counter[str], int]]] = {}

    def progress(steps: Iterable[Any], total: int | None = None, title: str = "", **where: Any) -> Iterator[Any]:
        for step in steps:
            seen.setdefault(title, []).append((device.waits.copy(), device.launches))
            yield step
        seen.setdefault(title, []).append((device.waits.copy(), device.launches))

    begun = Begun(config, home, process, data, model, StopRequest(), no_progress)
    state, _ = run_phases(begun, hooks([]), progress, _unheard)
    return Ran(model, data, {name: _steps(seen[name]) for name in state.done if len(seen.get(name, [])) > 3})


def _steps(seen: list[tuple[Counter[str], int]]) -> list[Step]:
    """Return what lies between the counts."""
    return [Step(later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in pairwise(seen)]


def chain_waits(device: FakeDevice, model: Model, x: Tensor) -> dict[str, Counter[str]]:
    """Return the waits that 2 more steps of a chain add: of a draw of the prior and, for a model without an inference
    network, of the posterior's chain for data x (B, *shape)."""
    found = {"draw": _added(device, lambda steps: _draw(model, steps))}
    if model.chain is not None:
        found["posterior"] = _added(device, lambda steps: _infer(model, x, steps))
    return found


def _draw(model: Model, steps: int) -> None:
    sampler = type(model.sampler)(model.sampler.settings.model_copy(update={"steps": steps}))
    model.prior.draw(4, Sampling(sampler, torch.Generator(DEVICE).manual_seed(0)))


def _infer(model: Model, x: Tensor, steps: int) -> None:
    assert model.chain is not None
    chain = PosteriorChain(model.chain.settings.model_copy(update={"steps": steps}), model.chain.space)
    chain.infer(model.backbone, model.prior, x, generator=torch.Generator(DEVICE).manual_seed(0))


def _added(device: FakeDevice, run: Callable[[int], None]) -> Counter[str]:
    run(1)  # what is prepared once
    counts = []
    for steps in (1, 3):
        before = device.waits.copy()
        run(steps)
        counts.append(device.waits - before)
    return counts[1] - counts[0]


def _unheard(phase: str, step: int, figures: dict[str, float]) -> None:
    pass


@contextmanager
def on_fake_device(folder: Path, given: list[str]) -> Iterator[tuple[FakeDevice, Ran]]:
    """Train a run on the device, and leave the device there inside the block."""
    with fake_device() as device:
        yield device, trained(device, folder, given)
