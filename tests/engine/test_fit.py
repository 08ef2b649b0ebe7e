"""Whole fits of a tiny run: its loggers hear it, and every option of the multi-stage prior trains."""

import pytest

from priorkit.config import resolve
from priorkit.runs.folder import RunFolder
from priorkit.workflows.training.train import fit

TINY = (
    "backbone=twolayer",
    "backbone.hidden=16",
    "backbone.latents=[2, 3]",
    "prior.energy.width=8",
    "prior.pool_size=50",
    "prior.stages=2",
    "sampler=langevin",
    "sampler.steps=2",
    "trainer.backbone_steps=6",
    "trainer.prior_steps=8",
    "trainer.prior_batch=16",
    "trainer.posterior_samples=1",
    "engine.threads=1",
)
VARIANTS = [
    ["prior.energy_input=z"],
    ["prior.energy.coupling=separable", "prior.logit=layer"],
    ["prior.energy.coupling=separable"],
    ["prior.negatives=chain"],
    ["prior.sampling=progressive", "prior.bound=null"],
    ["prior.adaptive=true"],
    ["trainer.bank=0.000001"],
    ["trainer.bank=0.000001", "trainer.bank_in=disk", "trainer.bank_precision=float16"],
    ["engine.accumulate=2", "engine.precision=bf16"],
    ["backbone=nvae", "prior.energy_input=z"],
    ["backbone=identity", "data=toy:moons", "sampler=sir", "sampler.proposals=5"],
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: " ".join(options))
def test_every_option_trains(tmp_path, options):
    state = fit(resolve(None, [*TINY[:1], *options, *[o for o in TINY[1:] if _fits(o, options)]]), tmp_path / "run")
    assert state is not None
    assert state.skipped == 0
    assert "prior.1" in state.done
    assert {path.stem for path in (tmp_path / "run" / "weights").glob("*.safetensors")} == {"backbone", "prior"}


def _fits(option, options):
    """Options of the two-layer backbone or of Langevin go with them."""
    given = {option.split("=")[0] for option in options}
    if option.startswith("backbone."):
        return "backbone" not in given
    return not option.startswith("sampler") or "sampler" not in given


def test_separable_energies_log_a_loss_a_layer(tmp_path):
    fit(resolve(None, [*TINY, "prior.energy.coupling=separable"]), tmp_path / "run")
    records = RunFolder(tmp_path / "run").records()
    last = [record for record in records if record["phase"] == "prior.1" and "loss" in record][-1]
    assert {"layer.0", "layer.1"} <= set(last)


def test_tensorboard_hears_the_figures(tmp_path):
    pytest.importorskip("tensorboard")
    fit(resolve(None, [*TINY, "engine.loggers=[tensorboard]"]), tmp_path / "run")
    events = list((tmp_path / "run" / "tensorboard").glob("events*"))
    assert events
    assert events[0].stat().st_size > 500
