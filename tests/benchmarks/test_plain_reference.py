"""The plain reference gives the product's numbers: same weights, same random numbers, double precision.

Sums are taken in another order, so that the two agree to rounding: 1e-9 relative.
"""

from copy import deepcopy

import pytest
import torch
from reference import DiffusionReference, JointEbmReference, MultistageReference, PlainGenerator
from seeding import seeded
from speed_cases import PAPER, SHORT_RUN, TINY

from priorkit.config import resolve
from priorkit.core import DataSpec, Latents, Sampling, StageContext, Step, Streams
from priorkit.engine import ProcessContext
from priorkit.engine.update import Updater
from priorkit.workflows.assemble import build_model

BATCH, STEPS = 3, 3
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
SEPARABLE = (
    *("prior.energy.network=conv", "prior.energy.coupling=separable"),
    *("prior.energy.dropout=0", "prior.energy.channels=4"),
)
PLAIN_ADAM = ("prior.optimiser.betas=[0.99,0.999]", "prior.optimiser.weight_decay=3e-5", "prior.optimiser.clip=null")


def model(prior, *options, lr=2e-5):
    chain = ("sampler=langevin", f"sampler.steps={STEPS}", "sampler.step_size=1e-5")
    rate = (f"prior.optimiser.lr={lr}", "prior.optimiser.schedule=constant", *PLAIN_ADAM)
    layers = [] if prior == "multistage" else ["prior.layers=all"]
    config = resolve(None, [*TINY, f"prior={prior}", "prior.energy_input=z", *layers, *options, *chain, *rate])
    found = build_model(config, DataSpec("noise", (3, 32, 32), 256), torch.device("cpu"))
    found.backbone.double().eval().requires_grad_(False)
    found.prior.double()
    generator = torch.Generator().manual_seed(5)
    # Networks start at zero, and batch norms at the identity, where much would agree by chance.
    for tensor in [*found.prior.parameters(), *(b for name, b in found.backbone.named_buffers() if "running" in name)]:
        with torch.no_grad():
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
    return found


def positives(found):
    u = torch.randn(BATCH, found.backbone.layout.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Latents(u, found.backbone.latents(u))


def updated(found, stage=1):
    """The product's prior after a step of the engine on the same positives."""
    found.prior.train()
    latents = positives(found)
    empty = Latents(latents.u[:0], latents.z[:0])
    context = StageContext(latents, empty, found.sampler, Streams(0))
    for number in range(1, stage + 1):
        found.prior.begin_stage(number, context)
        updater = Updater(found.prior, found.prior.objectives(), ProcessContext(torch.device("cpu")))
        if number < stage:
            found.prior.end_stage(number, context)
    taken, _ = updater.step([latents], Step(0, 10, seeded(7)))
    assert taken
    return found.prior


def assert_same(nets, twins, moved_from):
    for net, twin, old in zip(nets, twins, moved_from, strict=True):
        for (name, a), b, c in zip(net.named_parameters(), twin.parameters(), old.parameters(), strict=True):
            torch.testing.assert_close(a, b, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")
            assert not torch.equal(a, c), "the step moved nothing"


@pytest.fixture(scope="module")
def joint():
    return model("jointebm", *SEPARABLE, *SHORT_RUN, "prior.base_density=z", f"prior.chain.steps={STEPS}")


def test_the_plain_walk_is_the_products(joint):
    u = positives(joint).u
    plain = PlainGenerator(deepcopy(joint.backbone))
    torch.testing.assert_close(torch.cat([z.flatten(1) for z in plain.walk(u).z], 1), joint.backbone.latents(u), **CLOSE)
    generated = joint.backbone.generate(u).likelihood
    torch.testing.assert_close(plain.likelihood(u).mean, generated.mean, **CLOSE)


def test_encoding_is_the_products(joint):
    images = torch.rand(BATCH, 3, 32, 32, dtype=torch.float64, generator=seeded(7))
    u, z = PlainGenerator(deepcopy(joint.backbone)).encode(images, seeded(7))
    torch.testing.assert_close(u, joint.backbone.infer(images, generator=seeded(7)).u, rtol=1e-7, atol=1e-9)
    flat = torch.cat([part.flatten(1) for part in z], 1)
    torch.testing.assert_close(flat, joint.backbone.latents(u), rtol=1e-7, atol=1e-9)


def test_jointebm_density_and_draws(joint):
    nets = list(deepcopy(joint.prior.net.nets))
    plain = JointEbmReference(PlainGenerator(deepcopy(joint.backbone)), nets, steps=STEPS)
    u = positives(joint).u
    torch.testing.assert_close(plain.log_density(u), joint.prior.log_prob(u), **CLOSE)
    random = seeded(7)
    ends = plain.chain(torch.randn(u.shape, generator=random, dtype=u.dtype), random)
    torch.testing.assert_close(ends, joint.prior.draw(BATCH, Sampling(joint.sampler, seeded(7))).u, **CLOSE)


def test_jointebm_step(joint):
    old = list(deepcopy(joint.prior.net.nets))
    nets = list(deepcopy(joint.prior.net.nets))
    plain = JointEbmReference(PlainGenerator(deepcopy(joint.backbone)), nets, steps=STEPS)
    negatives = plain.negatives(BATCH, seeded(7))
    plain.update(joint.backbone.layout.split(positives(joint).z), negatives)
    assert_same(updated(joint).net.nets, nets, old)


def test_multistage_draws_and_step():
    found = model("multistage", *SEPARABLE, "prior.stages=2", "prior.negatives=chain", lr=4e-5)
    stages = [list(deepcopy(energy.nets)) for energy in found.prior.energies]
    old = list(deepcopy(found.prior.energies[1].nets))
    plain = MultistageReference(PlainGenerator(deepcopy(found.backbone)), stages, steps=STEPS)
    random = seeded(7)
    z = plain.generator.walk(plain.chain(BATCH, 1, random)).z
    plain.update(found.backbone.layout.split(positives(found).z), z)
    assert_same(updated(found, stage=2).energies[1].nets, stages[1], old)
    found.prior.eval()
    found.prior.active.fill_(2)
    drawn = found.prior.draw(BATCH, Sampling(found.sampler, seeded(7))).u
    torch.testing.assert_close(plain.chain(BATCH, 2, seeded(7)), drawn, **CLOSE)


def test_diffusion_chain_and_energies():
    found = model("diffusion", *PAPER, "prior.energy.channels=4", f"prior.training_steps={STEPS}", lr=4e-5)
    found.prior.eval()
    nets = list(deepcopy(found.prior.energy.nets).eval())
    plain = DiffusionReference(PlainGenerator(deepcopy(found.backbone), image_head=False), nets, steps=STEPS)
    latents, level = positives(found), torch.tensor([0, 1, 2])
    energies = found.prior.energies(latents.u, level)
    scaled = torch.stack(plain.outputs(found.backbone.layout.split(latents.z), level), 1) / plain.sizes[level][:, None]
    torch.testing.assert_close(scaled, energies, rtol=1e-6, atol=1e-6)
    chain = found.prior.recover(latents.u, level, Sampling(found.sampler, seeded(7))).u
    torch.testing.assert_close(plain.chain(latents.u, level, seeded(7)), chain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [JointEbmReference, MultistageReference, DiffusionReference])
def test_every_reference_steps_and_draws(kind):
    name = {JointEbmReference: "jointebm", MultistageReference: "multistage", DiffusionReference: "diffusion"}[kind]
    found = model(name, *((*PAPER, "prior.energy.channels=4") if name == "diffusion" else SEPARABLE))
    nets = {
        "jointebm": lambda prior: list(prior.net.nets),
        "multistage": lambda prior: [list(energy.nets) for energy in prior.energies],
        "diffusion": lambda prior: list(prior.energy.nets),
    }[name](found.prior)
    plain = kind(PlainGenerator(found.backbone), nets, steps=1)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=seeded(7))
    assert plain.step(images, seeded(7)).shape == (len(found.backbone.layout),)
    sample = plain.sample(2, seeded(7))
    assert sample.shape == (2, 3, 32, 32) and bool(sample.isfinite().all())
