"""Every prior trains, draws and is evaluated on a device that is not the CPU, and its chains do not wait for it."""

from importlib.util import find_spec

import pytest
import torch
from waiting import BACKBONES, PRIORS, TRAINERS, chain_waits, on_fake_device, options

from priorkit.testing.fake_device import DEVICE
from priorkit.workflows.measuring.evaluate import measure

needs_zuko = pytest.mark.skipif(find_spec("zuko") is None, reason="the extra 'flow' is not installed")
CASES = [pytest.param(name, marks=needs_zuko if name == "flow" else ()) for name in PRIORS]
CHECK = "a value is read at engine/update.py"
"""Whether the loss and the gradient of an objective are finite: the only wait of a training step."""
GROUPS = ("reconstruction", "elbo", "logz", "fd", "gap")


@pytest.mark.parametrize("prior", CASES)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_run_stays_on_its_device_and_hardly_waits_for_it(tmp_path, trainer, backbone, prior):
    with on_fake_device(tmp_path / "run", options(backbone, prior, trainer)) as (device, ran):
        model = ran.model
        for phase, step in ran.usual().items():
            learners = 1 + (trainer == "joint" and phase.startswith("joint"))
            checks = learners + (prior == "vdrme" and phase != "backbone")
            others = {place: count for place, count in step.waits.items() if not place.startswith(CHECK)}
            assert not others, f"{phase}: the step also waits where {others}"
            assert step.waits.total() <= checks, f"{phase}: {step.waits}"
        x = ran.data.heldout.batch(torch.arange(3)).to(DEVICE)
        for chain, added in chain_waits(device, model, x).items():
            assert not added, f"2 steps of the {chain}'s chain wait: {added}"
        u = model.sample_latents(3)
        assert (
            u.device == model.sample(3, mean=False).device == model.log_ratio(u).device == model.infer(x).u.device == DEVICE
        )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_run_is_evaluated_on_its_device(tmp_path, backbone):
    with on_fake_device(tmp_path / "run", options(backbone, "jointebm", "two-phase")) as (_, ran):
        figures = measure(ran.model, ran.data, metrics=GROUPS, samples=20)
    assert {"reconstruction", "elbo_nats", "fd_digits"} <= figures.keys()
