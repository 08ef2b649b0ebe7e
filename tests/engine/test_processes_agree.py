"""One process and two give the same run for the same seed and number of shards, and go on with each other's checkpoints."""

import os

import pytest
import torch
import torch.multiprocessing as mp
from ports import free_ports
from same_run import assert_same
from stopping import stop_at

from priorkit.config import EngineSettings, resolve
from priorkit.core import Phase, Streams
from priorkit.engine import ProcessContext
from priorkit.engine.shard import Shards
from priorkit.errors import InterruptedRunError, UsageError
from priorkit.workflows.training import train as workflow

COMMON = [
    "trainer.backbone_steps=8", "trainer.prior_steps=16", "trainer.prior_batch=32", "trainer.posterior_samples=1",
    "trainer.validate_every=3", "trainer.validate_on=20", "prior.energy.width=8", "prior.energy.dropout=0.2",
    "sampler.steps=2", "engine.log_every=4", "engine.threads=1", "engine.shards=2",
]  # fmt: skip
TWOLAYER = ["backbone=twolayer", "backbone.hidden=8", "backbone.latents=[3, 4]", "trainer.backbone_batch=30"]
NVAE = [
    "backbone=nvae", "backbone.num_channels_enc=4", "backbone.num_channels_dec=4", "backbone.num_groups_per_scale=1",
    "trainer.backbone_batch=8", "backbone.weight_decay_norm=0.01", "trainer.flip=true",
]  # fmt: skip
TWO_STAGES = ["prior.stages=2", "prior.adaptive=false"]
RUNS = {
    "multistage": [*COMMON, *TWOLAYER, *TWO_STAGES, "prior.pool_size=4500", "engine.accumulate=2"],
    "jointebm": [*COMMON, *NVAE, "prior=jointebm", "prior.chain.chains=101"],
    "disk": [*COMMON, *TWOLAYER, "prior.stages=1", "trainer.bank_in=disk", "trainer.bank_precision=float16"],
}
JOINT = [
    "trainer=joint", "trainer.backbone_steps=2", "trainer.joint_steps=6", "trainer.batch=12", "trainer.chain.steps=2",
    "prior=jointebm", "prior.energy.width=8", "prior.chain.chains=30", "engine.threads=1", "engine.shards=2",
]  # fmt: skip
RUNS["joint"] = [*JOINT, *TWOLAYER[:-1]]
STOPS = [("multistage", "backbone", 6), ("multistage", "prior.2", 4), ("jointebm", "prior.1", 8), ("disk", "prior.1", 8)]


def fit(run, folder, stop=None, *, resume=False):
    """Train a run, or as far as (phase, step)."""
    try:
        workflow.fit(resolve(None, RUNS[run]), folder, resume=resume, on_log=stop_at(*(stop or (None, None))))
    except InterruptedRunError:
        assert stop
    else:
        assert not stop


def work(rank, ports, root):
    """What each of two processes does: whole runs, runs that one process stopped, and runs that are stopped."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    jobs = [(run, root / f"two-{run}", None, False) for run in RUNS]
    jobs += [(run, root / f"one-then-two-{run}-{phase}", None, True) for run, phase, _ in STOPS]
    jobs += [(run, root / f"two-then-one-{run}-{phase}", (phase, step), False) for run, phase, step in STOPS]
    for port, (run, folder, stop, resume) in zip(ports, jobs, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        # The leading process alone hears what is logged; the signal must reach the other by agreement.
        fit_as_rank(run, folder, stop, resume)


def fit_as_rank(run, folder, stop, resume):
    try:
        fit(run, folder, stop, resume=resume)
    except AssertionError as error:
        raise RuntimeError(f"{folder.name} did not end as it should") from error


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Every run by one process and by two, and those that change hands half-way."""
    root = tmp_path_factory.mktemp("runs")
    for run in RUNS:
        fit(run, root / f"one-{run}")
    for run, phase, step in STOPS:
        fit(run, root / f"one-then-two-{run}-{phase}", (phase, step))
    mp.spawn(work, args=(free_ports(len(RUNS) + 2 * len(STOPS)), root), nprocs=2)
    for run, phase, _ in STOPS:
        fit(run, root / f"two-then-one-{run}-{phase}", resume=True)
    return root


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_do_what_one_does(root, run):
    assert_same(root / f"two-{run}", root / f"one-{run}")


@pytest.mark.parametrize(("run", "phase", "step"), STOPS)
@pytest.mark.parametrize("order", ["one-then-two", "two-then-one"])
def test_a_checkpoint_is_read_by_another_number_of_processes(root, order, run, phase, step):
    assert_same(root / f"{order}-{run}-{phase}", root / f"one-{run}")


def phase(size, batch):
    """One step on all of `size` examples."""
    return Phase(
        name="prior.1",
        learner=torch.nn.Linear(1, 1),
        steps=1,
        batch_size=size,
        population=lambda: size,
        batch=batch,
        objectives=list,
    )


def test_shards_have_numbers_of_their_own():
    """In the loss, in the making of the batch and in torch's global state, which dropout draws from."""
    drawn = []

    def batch(indices, step):
        drawn.append(torch.rand(3, generator=step.generator))
        return indices

    shards = Shards(ProcessContext.find("cpu"), Streams(0), EngineSettings(shards=2)).of(phase(6, batch), 0)
    drawn += [torch.rand(3, generator=shard.step.generator) for shard in shards]
    for shard in shards:
        torch.set_rng_state(shard.random[0])
        drawn.append(torch.rand(3))
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == 6
    assert sorted(torch.cat([part for shard in shards for part in shard.batches]).tolist()) == list(range(6))


def test_parts_have_as_many_micro_batches():
    shards = Shards(ProcessContext.find("cpu"), Streams(0), EngineSettings(shards=2, accumulate=4)).of(
        phase(9, lambda indices, step: indices), 0
    )
    assert [len(shard.batches) for shard in shards] == [4, 4]


def test_a_batch_that_cannot_be_cut_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="batch of 30 cannot be split into 31 shards"):
        workflow.fit(resolve(None, [*RUNS["multistage"], "engine.shards=31"]), tmp_path / "run")


def test_processes_that_cannot_share_evenly_are_an_error(tmp_path, monkeypatch):
    settings = resolve(None, RUNS["multistage"]).engine
    with pytest.raises(UsageError, match="2 shards cannot be divided evenly among 3 processes"):
        Shards(ProcessContext(torch.device("cpu"), 0, 3), Streams(0), settings)
