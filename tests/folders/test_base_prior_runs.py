"""Runs of a ratio to another prior: stopped, resumed and read back, with as many components as were fitted."""

import pytest
import torch
from safetensors.torch import load_file
from stopping import stop_at

from priorkit.config import RunConfig, resolve
from priorkit.errors import InterruptedRunError
from priorkit.workflows.session import open_run
from priorkit.workflows.training import train as workflow

BASED = ("prior.base_prior=mixture", "prior.base_options.components=3", "prior.adaptive=false")


@pytest.mark.parametrize("kind", ["multistage", "jointebm"])
def test_a_run_stopped_in_the_ratio_ends_with_the_same_weights(tmp_path, tiny, kind):
    own = tiny if kind == "multistage" else [o for o in tiny if not o.startswith(("prior.pool", "prior.stages"))]
    options = [*own, f"prior={kind}", *(BASED if kind == "multistage" else BASED[:2])]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    workflow.fit(resolve(None, options), whole)
    with pytest.raises(InterruptedRunError):
        workflow.fit(resolve(None, options), broken, on_log=stop_at("prior.2", 4))
    workflow.fit(RunConfig.read(broken / "config.yaml"), broken, resume=True)
    first, second = (load_file(folder / "weights" / "prior.safetensors") for folder in (whole, broken))
    assert set(first) == set(second) and all(torch.equal(value, second[name]) for name, value in first.items())
    model = open_run(broken).model
    means = first["base_prior.mixtures.0.means"]
    assert means.shape[0] == 3 and torch.equal(model.prior.base_prior.mixtures[0].means.cpu(), means)
    assert model.prior.trained_stages == 2 and model.sample_latents(4).isfinite().all()


def test_a_run_records_the_package_of_its_base():
    config = resolve(None, ["prior=multistage", "prior.base_prior=mixture"])
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr("priorkit.config.run_config.versions", lambda entries, *_: seen.extend(entries) or {})
        config.versions()
    assert "prior.mixture" in {entry.key for entry in seen}
