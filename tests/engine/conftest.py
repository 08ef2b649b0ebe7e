"""Options of a run that trains in a second."""

import pytest

OPTIONS = [
    "backbone=twolayer", "backbone.hidden=16", "backbone.latents=[3, 4]", "prior.energy.width=16", "prior.pool_size=200",
    "prior.energy.dropout=0.2", "prior.stages=2", "sampler.steps=3", "trainer.backbone_steps=40", "trainer.prior_steps=80",
    "trainer.posterior_samples=1", "trainer.prior_batch=64", "engine.log_every=7", "engine.threads=1",
]  # fmt: skip


@pytest.fixture
def tiny():
    """`--set` arguments."""
    return list(OPTIONS)
