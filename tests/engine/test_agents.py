"""Two agents of torchrun, as on two machines with a shared folder, train, sample and compare as one process does; they meet
on the loopback interface."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from ports import free_ports
from same_run import assert_same
from typer.testing import CliRunner

from priorkit.cli import app

OPTIONS = (
    "backbone=twolayer backbone.hidden=8 backbone.latents=[3,4] prior.energy.width=8 prior.energy.dropout=0.2 "
    "prior.stages=1 prior.pool_size=200 sampler.steps=2 trainer.backbone_steps=8 trainer.prior_steps=16 "
    "trainer.prior_batch=32 trainer.posterior_samples=1 engine.threads=1 engine.log_every=4 engine.shards=2"
)
SCRIPT = """
import sys
from priorkit.cli import app
for command in sys.argv[1].split("; "):
    if code := app(command.split(), standalone_mode=False):
        sys.exit(code)
"""
"""Several commands in one process: to start a process for each would take most of the test's time."""


def train(out, *more):
    return f"train --quiet --figures none {' '.join(f'--set {one}' for one in OPTIONS.split())} {' '.join(more)} --out {out}"


def sample(run, out):
    return f"sample {run} --n 150 --out {out}"


def compare(run, out, jobs):
    options = "--priors gaussian --seeds 2 --budget steps:1 --samples 20 --set engine.threads=1"
    return f"compare --from {run} {options} --jobs {jobs} --out {out}"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two agents have worked."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "script.py").write_text(SCRIPT)
    run = folder / "run"
    todo = [train(run, "--nodes 2"), sample(run, folder / "samples.npy"), compare(run, folder / "compared", 1)]
    (port,) = free_ports(1)
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank)),
                *("--master-addr", "127.0.0.1", "--master-port", str(port), str(folder / "script.py"), "; ".join(todo)),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        told = [agent.communicate(timeout=200)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(told)
    assert "wrote" in told[0] and "wrote" not in told[1], "the first agent alone tells of results"
    return folder


def call(command):
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output


def test_the_run_is_that_of_one_process(two, tmp_path):
    call(train(tmp_path / "run"))
    assert_same(two / "run", tmp_path / "run")


def test_the_samples_are_those_of_one_process(two, tmp_path):
    """Bit for bit: with one thread, a chunk is computed in the same way by either process."""
    call(sample(two / "run", tmp_path / "samples.npy"))
    np.testing.assert_array_equal(np.load(two / "samples.npy"), np.load(tmp_path / "samples.npy"))


def test_the_comparison_is_that_of_one_process(two, tmp_path):
    """Bit for bit, since each of its runs is one process's; the two runs were divided between the agents."""
    call(compare(two / "run", tmp_path / "compared", 0))
    ours, theirs = (json.loads((folder / "compared" / "compare.json").read_text()) for folder in (two, tmp_path))
    assert [row["prior"] for row in ours["rows"]] == ["posterior samples", "gaussian"]
    assert [row["metrics"] for row in ours["rows"]] == [row["metrics"] for row in theirs["rows"]]
    assert len(list((two / "compared" / "runs").iterdir())) == 2
