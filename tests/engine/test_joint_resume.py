"""Two learners in a phase: a joint run that is stopped, or killed, and resumed is bit for bit the one that was not."""

import kill
import pytest
from stopping import stop_at

from priorkit.config import RunConfig, resolve
from priorkit.errors import InterruptedRunError
from priorkit.workflows.training import train as workflow

TINY = (
    "trainer=joint",
    "backbone=twolayer",
    "backbone.hidden=16",
    "backbone.latents=[3, 4]",
    "backbone.inference=none",
    "prior.energy.width=16",
    "trainer.backbone_steps=10",
    "trainer.joint_steps=24",
    "trainer.batch=32",
    "trainer.chain.steps=3",
    "trainer.stage_samples=60",
    "trainer.validate_every=4",
    "engine.log_every=5",
    "engine.threads=1",
)
STAGES = (
    "prior=multistage",
    "prior.stages=2",
    "prior.energy.dropout=0.2",
    "prior.pool_size=100",
    "sampler=langevin",
    "sampler.steps=3",
)
PRIORS = {
    "stages on u": STAGES,
    "stages on z, step size tuned": (*STAGES[:-2], "prior.energy_input=z", "sampler.steps=3", "sampler.pilot_steps=3"),
    "persistent chains": ("prior=jointebm", "prior.energy_input=z", "sampler.steps=3", "sampler.pilot_steps=3"),
    "posterior samples as negatives": (*STAGES, "prior.negatives=posterior"),
    "no chain": (*STAGES, "backbone.inference=bottom-up", "trainer.posterior=variational"),
}


def files(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("weights/*.safetensors"), folder / "metrics.jsonl"]}


@pytest.mark.parametrize(
    ("options", "stage"), [*((options, "last") for options in PRIORS.values()), (STAGES, "backbone")],
    ids=[*PRIORS, "generator alone"],
)  # fmt: skip
def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path, options, stage):
    config = resolve(None, [*TINY, *options])
    whole = workflow.fit(config, tmp_path / "whole")
    assert whole.skipped == 0 and set(whole.weights) == {"backbone", "prior"}
    last = [name for name in whole.done if name.startswith("joint.")][-1]

    with pytest.raises(InterruptedRunError):
        workflow.fit(config, tmp_path / "stopped", on_log=stop_at(last if stage == "last" else stage, 5))
    workflow.fit(RunConfig.read(tmp_path / "stopped" / "config.yaml"), tmp_path / "stopped", resume=True)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_random_kills(tmp_path):
    """As tests/engine/test_kill.py, which trains one learner at a time."""
    config = resolve(None, [*TINY, *STAGES, "engine.checkpoint_seconds=0.02"])
    names = ["warm-up", "whole", *(f"killed-{i}" for i in range(2))]
    for name in names:
        (tmp_path / name).mkdir()
        config.write(tmp_path / name / "config.yaml")
    kill.finish(tmp_path / "warm-up")
    length = kill.finish(tmp_path / "whole")
    alive = [kill.killed(tmp_path / name, length * (i + 1.5) / 4) for i, name in enumerate(names[2:])]
    assert any(alive), "all runs were over when the kill came"
    for name in names[2:]:
        kill.finish(tmp_path / name)
        assert kill.result(tmp_path / name) == kill.result(tmp_path / "whole")
