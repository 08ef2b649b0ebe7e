"""Tiny runs that every test of run folders reads: a finished one on another's backbone, its twin, and a stopped one."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from stopping import stop_at

from priorkit.config import resolve
from priorkit.errors import InterruptedRunError
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training import train as workflow

TINY = (
    "backbone=twolayer", "backbone.hidden=4", "backbone.latents=[2, 2]", "prior.energy.width=4", "prior.pool_size=50",
    "prior.stages=1", "sampler.steps=2", "sampler.pilot_steps=2", "trainer.backbone_steps=4", "trainer.prior_steps=6",
    "trainer.posterior_samples=1", "trainer.prior_batch=16", "engine.log_every=2", "engine.threads=1",
    "engine.checkpoint_seconds=0",
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Their folders."""

    base: Path
    finished: Path
    twin: Path
    stopped: Path


@pytest.fixture(scope="session")
def runs(tmp_path_factory, call):
    """The runs; their figures are two, so that they are quick to measure."""
    root = tmp_path_factory.mktemp("runs")
    found = Runs(*(root / name for name in ("base", "finished", "twin", "stopped")))
    few = Evaluation(("reconstruction", "gap"), 100)
    shared = [option for option in TINY if not option.startswith("prior.")]
    workflow.fit(resolve(None, [*shared, "prior=gaussian"]), found.base)
    options = [option for option in TINY if not option.startswith(("backbone", "trainer.backbone"))]
    settings = [resolve(None, workflow.from_run(found.base, options), seed=seed) for seed in (0, 1)]
    workflow.train(settings[0], found.finished, source=found.base, evaluation=few)
    workflow.train(settings[1], found.twin, source=found.base, evaluation=few)
    printed = call("ood", found.finished, "--ood", "ood:constant", "--images", 10, "--layers", "0", "--json")
    assert printed.exit_code == 0, printed.output
    (found.finished / "ood.json").write_text(printed.stdout)
    with pytest.raises(InterruptedRunError):
        workflow.fit(settings[0], found.stopped, source=found.base, on_log=stop_at("prior.1", 4))
    return found


@pytest.fixture
def tiny():
    """`--set` arguments of a run that trains in a moment."""
    return list(TINY)
