"""What `speed.py` measures: for each prior a training step and a draw, the product's beside the plain reference's."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from reference import DiffusionReference, JointEbmReference, MultistageReference, PlainGenerator
from torch import Generator, Tensor, nn

from priorkit.config import resolve
from priorkit.core import DataSpec, Latents, Sampling, StageContext, Step, Streams
from priorkit.engine import ProcessContext
from priorkit.engine.update import Updater
from priorkit.model import Model
from priorkit.workflows.assemble import build_model

__all__ = ["CASES", "Case", "Scale", "Sides", "build", "small_nvae"]

SMALL = (
    *("backbone=nvae", "backbone.preset=cifar10", "backbone.num_channels_enc=32", "backbone.num_channels_dec=32"),
    *("backbone.num_latent_scales=2", "backbone.num_groups_per_scale=6", "backbone.ada_groups=true"),
)
"""2 scales of 6 and 3 groups, 5.8 million parameters, D = 34,560."""
TINY = (
    *("backbone=nvae", "backbone.preset=cifar10", "backbone.num_channels_enc=4", "backbone.num_channels_dec=4"),
    *("backbone.num_latent_scales=2", "backbone.num_groups_per_scale=2", "backbone.num_latent_per_group=2"),
    *("backbone.ada_groups=true", "backbone.num_cell_per_cond_enc=1", "backbone.num_cell_per_cond_dec=1"),
)
"""For a rehearsal of the command."""
CONV = ("prior.energy.network=conv", "prior.energy.coupling=separable", "prior.energy.dropout=0.0")
RESIDUAL = (
    *("prior.energy.network=residual", "prior.energy.coupling=separable", "prior.energy.dropout=0.0"),
    *("prior.energy.channels=128", "prior.energy.width=256", "prior.energy.blocks=8"),
)
SHORT_RUN = ("prior.chain.start=noise", "prior.chain.adjust=false", "prior.chain.step_size=1e-5", "prior.bound=null")
ON_Z = ("prior.energy_input=z", "prior.base_density=z")
PAPER = ("prior.network=paper", "prior.chain=paper", "prior.levels=3", "prior.bound=null", "prior.base_step=3e-5")
POOL, POOL_STEPS = 20_000, 5_000
"""Points of a stage's pool and the training steps that share it."""


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    backbone: Sequence[str] = SMALL
    batch: int = 16
    steps: int = 10
    """K, the Langevin steps of every chain, of the product and of the reference."""
    pool: int = 128
    """Points that are drawn to measure the drawing of a pool."""
    channels: int | None = None
    """Channels of the energies, or None for those of the methods."""


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str
    options: Sequence[str]
    reference: str | None = None
    """jointebm, multistage or diffusion; None where there is no reference."""
    stages: int = 1


CASES = (
    Case("jointebm, energies on z", ("prior=jointebm", *ON_Z, *CONV, *SHORT_RUN), "jointebm"),
    Case("jointebm, energies on u", ("prior=jointebm", *CONV, *SHORT_RUN), "jointebm"),
    Case("jointebm, energies on u, networks of 6.2", ("prior=jointebm", *RESIDUAL, *SHORT_RUN), "jointebm"),
    Case("multistage, stage 3, energies on u", ("prior=multistage", *CONV), "multistage", 3),
    Case("multistage, stage 3, energies on u, networks of 6.2", ("prior=multistage", *RESIDUAL), "multistage", 3),
    Case("diffusion, energies on u, 64 channels", ("prior=diffusion", *PAPER, "prior.energy.channels=64"), "diffusion"),
    Case("diffusion, energies on u, 128 channels", ("prior=diffusion", *PAPER, "prior.energy.channels=128"), "diffusion"),
    Case("gaussian", ("prior=gaussian",)),
    Case("ncp", ("prior=ncp", *CONV, "prior.context=none", "prior.proposals=50")),
    Case("vdrme", ("prior=vdrme",)),
)


@dataclass(frozen=True)
class Sides:
    """What is timed; each call does the work once.  None where a side has no such work."""

    step: Callable[[], object] | None
    sample: Callable[[], object]
    pool: Callable[[], object] | None
    """Draws `Scale.pool` points of a stage's pool."""
    reference_step: Callable[[], object] | None
    reference_sample: Callable[[], object] | None
    encode: Callable[[], object]
    """The positives of one batch, which the product encodes once."""
    model: Model


def small_nvae(scale: Scale, options: Sequence[str], device: torch.device) -> Model:
    """The model of a case; noise stands in for images, since no time depends on them."""
    extra = [f"prior.energy.channels={scale.channels}"] if scale.channels and "prior=gaussian" not in options else []
    extra = [] if "prior=vdrme" in options else extra
    extra += ["prior.layers=all"] if not {"prior=gaussian", "prior=multistage"} & set(options) else []
    chain = ["sampler=langevin", f"sampler.steps={scale.steps}", "sampler.step_size=1e-5"]
    config = resolve(None, [*scale.backbone, *options, *chain, *_steps(options, scale), *extra])
    model = build_model(config, DataSpec("noise", (3, 32, 32), 256), device)
    model.backbone.eval().requires_grad_(False)
    return model


def _steps(options: Sequence[str], scale: Scale) -> list[str]:
    if "prior=jointebm" in options:
        return [f"prior.chain.steps={scale.steps}"]
    if "prior=diffusion" in options:
        return [f"prior.training_steps={scale.steps}"]
    return [f"prior.pool_size={scale.pool}"] if "prior=multistage" in options else []


def build(case: Case, scale: Scale, device: torch.device, *, bf16: bool = False) -> Sides:
    """Both sides of a case, from the same weights; the product's step in bfloat16, if that is asked for."""
    model = small_nvae(scale, case.options, device)
    images = torch.rand(scale.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    generator = torch.Generator(device=device).manual_seed(0)
    plain = _reference(case, scale, model)
    return Sides(
        step=_training(case, scale, model, bf16=bf16),
        sample=lambda: drawn(model, scale.batch, generator),
        pool=_pool(case, scale, model, generator),
        reference_step=None if plain is None else lambda: plain.step(images, generator),
        reference_sample=None if plain is None else lambda: plain.sample(scale.batch, generator),
        encode=lambda: encoded(model, images, generator),
        model=model,
    )


@torch.no_grad()
def drawn(model: Model, count: int, generator: Generator) -> Tensor:
    """Images (count, 3, 32, 32) of the prior."""
    model.prior.eval().requires_grad_(False)
    u = model.prior.draw(count, Sampling(model.sampler, generator)).u
    return model.backbone.generate(u).likelihood.sample(generator)


@torch.no_grad()
def encoded(model: Model, images: Tensor, generator: Generator) -> Tensor:
    """Posterior noise (B, D) of images."""
    return model.backbone.infer(images, generator=generator).u


def _training(case: Case, scale: Scale, model: Model, *, bf16: bool) -> Callable[[], object] | None:
    """The engine's step on cached positives, in the case's last stage."""
    prior, device = model.prior, model.backbone.device
    if not prior.stages:
        return None
    streams = Streams(0)
    bank = torch.randn(4 * scale.batch, model.backbone.layout.dim, generator=torch.Generator().manual_seed(1)).to(device)
    with torch.no_grad():
        positives = Latents(bank, model.backbone.latents(bank) if prior.energy_input == "z" else None)
    nothing = Latents(bank[:0], None if positives.z is None else positives.z[:0])
    context = StageContext(positives, nothing, model.sampler, streams)
    for stage in range(1, case.stages + 1):
        prior.train().requires_grad_(True)
        prior.begin_stage(stage, context)
        updater = Updater(prior, prior.objectives(), ProcessContext(device), bf16=bf16)
        if stage < case.stages:
            prior.end_stage(stage, context)
    if case.stages > 1:
        # Samples are drawn of all stages, though the last one has not ended.
        cast(Tensor, prior.active).fill_(case.stages)
    index = iter(range(1, 10**9))

    def step() -> object:
        prior.train()
        _learning(case, prior)
        now = next(index)
        rows = torch.randint(len(bank), (scale.batch,), generator=torch.Generator().manual_seed(now)).to(device)
        random = streams.generator("step", now, device=device)
        return updater.step([positives[rows]], Step(now, 10**9, random))

    return step


def _learning(case: Case, prior: nn.Module) -> None:
    """Put back what a draw has frozen: of several stages the last one learns."""
    prior.requires_grad_(case.stages == 1)
    if case.stages > 1:
        prior.eval()
        last = prior.get_submodule(f"energies.{case.stages - 1}")
        last.train().requires_grad_(True)


def _pool(case: Case, scale: Scale, model: Model, generator: Generator) -> Callable[[], object] | None:
    if case.stages == 1:
        return None
    draw, sampler = model.prior.draw, model.sampler
    return lambda: draw(scale.pool, Sampling(sampler, generator, stages=case.stages - 1))


def _reference(
    case: Case, scale: Scale, model: Model
) -> JointEbmReference | MultistageReference | DiffusionReference | None:
    """The plain method with copies of the product's networks."""
    if case.reference is None:
        return None
    network, prior = deepcopy(model.backbone), deepcopy(model.prior)
    if case.reference == "jointebm":
        return JointEbmReference(PlainGenerator(network), list(prior.net.nets.train()), steps=scale.steps)
    if case.reference == "multistage":
        stages = [list(energy.nets.train()) for energy in prior.energies]
        return MultistageReference(PlainGenerator(network), stages, steps=scale.steps)
    plain = PlainGenerator(network, image_head=False)
    return DiffusionReference(plain, list(prior.energy.nets.train()), steps=scale.steps)
