"""The options of the run that tests of the command line share."""

TINY = [
    "--backbone", "twolayer",
    "--set", "backbone.hidden=32", "--set", "backbone.latents=[4, 6]",
    "--set", "prior.energy.width=16", "--set", "prior.pool_size=300", "--set", "prior.stages=2",
    "--set", "prior.adaptive=false", "--set", "sampler.steps=5", "--set", "trainer.backbone_steps=60",
    "--set", "trainer.prior_steps=60", "--set", "trainer.posterior_samples=1", "--set", "engine.threads=1",
]  # fmt: skip
