"""A prior that is trained on a finished backbone leaves it as it is, to the last bit."""

import pytest
import torch
from safetensors.torch import load_file

from priorkit.config import resolve
from priorkit.core import DataSpec
from priorkit.workflows.assemble import build_model
from priorkit.workflows.training import train as workflow

TINY = [
    "backbone=nvae", "backbone.num_channels_enc=4", "backbone.num_channels_dec=4", "data=digits", "engine.threads=1",
    "trainer.posterior_samples=1", "trainer.prior_batch=16", "sampler.steps=2", "sampler.pilot_steps=2",
]  # fmt: skip
READS_FEATURES = [
    ["prior=ncp", "prior.context=decoder"],
    ["prior=multistage", "prior.energy.coupling=conditional", "prior.base.kind=conditional"],
    ["prior=multistage", "prior.energy_input=z"],
]
"""Priors that walk down the generator, whose batch norms would take in what they see in training mode."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "backbone"
    workflow.fit(resolve(None, [*TINY, "prior=gaussian", "trainer.backbone_steps=2"]), folder)
    return folder


@pytest.mark.parametrize("options", READS_FEATURES, ids=" ".join)
def test_a_prior_leaves_its_backbone_alone(source, tmp_path, options):
    config = resolve(None, [*TINY, *options, "trainer.backbone_steps=0", "trainer.prior_steps=2"])
    workflow.fit(config, tmp_path / "run", source=source)
    before, after = (load_file(run / "weights" / "backbone.safetensors") for run in (source, tmp_path / "run"))
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize("options", READS_FEATURES, ids=" ".join)
def test_a_backbone_starts_the_same_whatever_its_prior(options):
    def initial(*prior):
        config = resolve(None, [*TINY, *prior])
        return build_model(config, DataSpec("digits", (1, 8, 8), 17), torch.device("cpu")).backbone.state_dict()

    alone, together = initial("prior=gaussian"), initial(*options)
    assert [name for name in alone if not torch.equal(alone[name], together[name])] == []
