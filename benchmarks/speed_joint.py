"""A joint training step of generator and prior, product against plain reference: the same chains, networks and numbers."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, cast

import torch
from clock import Clock
from priorkit_twolayer import TwoLayer
from reference import JointReference
from speed_cases import Scale
from torch import Tensor

from priorkit.config import resolve
from priorkit.core import DataSpec, Phase, Step, Streams, Workbench, no_cache, no_progress, set_learning
from priorkit.engine import ProcessContext
from priorkit.engine.update import Updater
from priorkit.model import Model
from priorkit.workflows.assemble import build_model, build_trainer

__all__ = ["JOINT_HEADER", "JointCase", "joint_steps", "made"]

POSTERIOR, PRIOR = (40, 0.01), (60, 0.16)
"""Steps and step sizes of the released chains."""
JOINT_HEADER = ("joint step", "s", "reference, s", "ratio")
GENERATOR = ("backbone=twolayer", "backbone.likelihood=fixed-normal", "backbone.sigma=0.3", "backbone.inference=none")
ENERGIES = (
    *("prior=jointebm", "prior.layers=all", "prior.energy.coupling=separable", "prior.energy.network=mlp"),
    *("prior.energy.width=200", "prior.energy.depth=3", "prior.energy.activation=leaky_relu", "prior.energy.dropout=0"),
    *("prior.bound=null", "prior.energy_l2=0", "prior.chain.start=noise", "prior.chain.adjust=false"),
    *("prior.optimiser.lr=2e-5", "prior.optimiser.betas=[0.9,0.999]", "prior.optimiser.weight_decay=0"),
    *("prior.optimiser.schedule=constant", "prior.optimiser.clip=null", "sampler=langevin"),
)
TRAINER = (
    *("trainer=joint", "trainer.backbone_steps=0", "trainer.average=0", "trainer.stage_samples=2"),
    *("trainer.optimiser.lr=1e-4", "trainer.optimiser.clip=null", "trainer.validate_every=0"),
)
SPACES = {"z": ("prior.energy_input=z", "trainer.chain_space=z", "trainer.share_prior_samples=true"), "u": ()}
DECODERS = {
    "dense, 8x8": ((1, 8, 8), ("backbone.latents=[8,16]", "backbone.hidden=128", "backbone.depth=4")),
    "dcgan, 32x32": ((3, 32, 32), ("backbone.latents=[100,100]", "backbone.hidden=256", "backbone.width=16")),
}
TINY = ("backbone.latents=[3,4]", "backbone.hidden=8", "backbone.width=4")


@dataclass(frozen=True)
class JointCase:
    """Both sides with the same weights."""

    model: Model
    phase: Phase
    step: Callable[[], object]
    reference: JointReference
    reference_step: Callable[[], object]


class _Images:
    """Made-up images, as no time depends on them."""

    labels = None

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, indices: Tensor) -> Tensor:
        """The images of the indices (B,)."""
        return self.values[indices]


def made(
    space: Literal["u", "z"],
    shape: tuple[int, ...],
    options: Sequence[str],
    *,
    batch: int,
    posterior: tuple[int, float] = POSTERIOR,
    prior: tuple[int, float] = PRIOR,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> JointCase:
    """A case in its joint phase."""
    device = device or torch.device("cpu")
    chains = [f"trainer.chain.steps={posterior[0]}", f"trainer.chain.step_size={posterior[1]}", f"trainer.batch={batch}"]
    chains += [f"{owner}.steps={prior[0]}" for owner in ("sampler", "prior.chain")]
    chains += [f"{owner}.step_size={prior[1]}" for owner in ("sampler", "prior.chain")]
    config = resolve(None, [*GENERATOR, *ENERGIES, *TRAINER, *SPACES[space], *options, *chains])
    model = build_model(config, DataSpec("noise", shape, 256), device)
    for tensor in model.prior.parameters():  # it begins at zero
        torch.nn.init.normal_(tensor, std=0.05, generator=torch.Generator().manual_seed(1)) if tensor.dim() > 1 else None
    for module in (model.backbone, model.prior):
        module.to(dtype)
    nets = [deepcopy(net) for net in model.prior.net.nets]
    reference = JointReference(cast(TwoLayer, deepcopy(model.backbone)), nets, space, posterior=posterior, prior=prior)
    images = torch.rand(2 * batch, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype).to(device)
    parts = (model.backbone, model.prior, model.sampler, _Images(images), _Images(images[:2]))
    bench = Workbench(*parts, Streams(0), device, no_cache, no_progress)
    phase = next(phase for phase in build_trainer(config).phases(bench) if phase.name == "joint.1")
    for learner in phase.learners:
        set_learning(learner, True)
    phase.begin()
    updater = Updater(phase.learners, phase.objectives(), ProcessContext(device))
    counted = iter(range(10**9))

    def step() -> object:
        now = next(counted)
        rows = torch.randint(len(images), (batch,), generator=torch.Generator().manual_seed(now))
        at = Step(now, 10**9, Streams(0).generator("step", now, device=device))
        return updater.step([phase.batch(rows, at)], at)

    random = torch.Generator(device=device).manual_seed(0)
    return JointCase(model, phase, step, reference, lambda: reference.step(images[:batch], random))


def joint_steps(clock: Clock, scale: Scale, rounds: int, quick: bool) -> tuple[str, tuple[str, ...], list[list[str]]]:
    """A row for each space and decoder."""
    rows = []
    for name, (shape, options) in DECODERS.items():
        for space in ("z", "u"):
            small = {"posterior": (2, 0.01), "prior": (2, 0.16)} if quick else {}
            chosen = [*options, *(TINY if quick else ())]
            case = made(space, shape, chosen, batch=scale.batch, device=clock.device, **small)
            seconds = clock.medians({"own": case.step, "plain": case.reference_step}, rounds)
            ratio = seconds["plain"] / seconds["own"]
            rows.append([f"{name}, on {space}", f"{seconds['own']:.4f}", f"{seconds['plain']:.4f}", f"{ratio:.2f}"])
    return f"A joint training step ({POSTERIOR[0]} posterior and {PRIOR[0]} prior steps)", JOINT_HEADER, rows
