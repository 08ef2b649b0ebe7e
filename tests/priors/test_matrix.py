"""Any prior on any backbone: each pair trains some steps, samples, and gives the same sample again when it is read back."""

from importlib.util import find_spec

import pytest
import torch

from priorkit.config import resolve
from priorkit.errors import UsageError
from priorkit.workflows.session import open_run
from priorkit.workflows.training.train import fit

BACKBONES = {
    "nvae": ["data=digits", "backbone=nvae"],
    "twolayer-1": ["data=digits", "backbone=twolayer", "backbone.latents=[6]"],
    "twolayer-2": ["data=digits", "backbone=twolayer", "backbone.latents=[4,6]"],
    "twolayer-3": ["data=digits", "backbone=twolayer", "backbone.latents=[3,4,6]"],
    "identity": ["data=toy:moons", "backbone=identity"],
}
PRIORS = {
    "gaussian": [],
    "multistage": ["prior.stages=2", "prior.pool_size=64", "prior.energy.width=16"],
    "jointebm": ["prior.energy.width=16"],
    "ncp": ["prior.energy.width=16", "prior.proposals=20"],
    "diffusion": ["prior.energy.width=16"],
    "vdrme": [],
    "mixture": ["prior.components=2"],
    "tre": ["prior.energy.width=16", "prior.waymarks=2"],
    "flow": ["prior.width=8", "prior.transforms=2"],
    "flowmatching": ["prior.net.width=16", "prior.density_steps=4"],
}
needs_zuko = pytest.mark.skipif(find_spec("zuko") is None, reason="the extra 'flow' is not installed")
CASES = [pytest.param(name, marks=needs_zuko if name == "flow" else ()) for name in PRIORS]
STEPS = ["trainer.backbone_steps=2", "trainer.backbone_batch=16", "trainer.prior_steps=6", "trainer.prior_batch=16"]
SHORT = ["trainer.posterior_samples=1", "trainer.validate_every=0", "sampler.steps=3", "sampler.pilot_steps=5"]
SHORT += ["engine.threads=1"]  # two threads beside another test worker are slower than one


@pytest.mark.parametrize("prior", CASES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_pair_trains_samples_and_comes_back(tmp_path, backbone, prior):
    overrides = [*BACKBONES[backbone], f"prior={prior}", *PRIORS[prior], *STEPS, *SHORT]
    fit(resolve(None, overrides), tmp_path)
    first, second = (open_run(tmp_path).model for _ in range(2))
    u = first.sample_latents(7, seed=3)
    assert u.shape == (7, first.backbone.layout.dim) and bool(torch.isfinite(u).all())
    assert torch.equal(u, second.sample_latents(7, seed=3))
    assert not torch.equal(u, second.sample_latents(7, seed=4))
    assert first.sample(7, seed=3).shape == (7, *first.spec.shape)
    assert first.log_ratio(u).shape == (7,)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["data=digits", "backbone=twolayer", "prior=jointebm", "prior.energy.network=conv"], "square maps"),
        (["data=digits", "backbone=twolayer", "prior=multistage", "prior.logit=layer"], "one network per layer"),
    ],
)
def test_pairs_that_make_no_sense_are_refused_with_a_reason(tmp_path, overrides, reason):
    with pytest.raises(UsageError, match=reason):
        fit(resolve(None, [*overrides, *STEPS, *SHORT]), tmp_path)
