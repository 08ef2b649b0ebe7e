"""Samples, figures and scores of one run are the same whether one process makes them or two."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from ports import free_ports
from quick_figures import quick_figures

from priorkit.config import resolve
from priorkit.errors import FellowError, InterruptedRunError, UsageError
from priorkit.workflows.measuring.evaluate import Evaluation, measure
from priorkit.workflows.measuring.ood import detect
from priorkit.workflows.session import open_run, share_work
from priorkit.workflows.training import train as workflow

OPTIONS = [
    "backbone=twolayer", "backbone.hidden=8", "backbone.latents=[3, 4]", "trainer.backbone_steps=3", "trainer.prior_steps=4",
    "trainer.posterior_samples=1", "trainer.validate_every=0", "prior.stages=2", "prior.adaptive=false",
    "prior.pool_size=300", "sampler.steps=2", "prior.energy.width=8", "engine.threads=1",
]  # fmt: skip
SAMPLES = 350
"""Of the prior, in four chunks, the last one of which is not full."""


def done(session):
    """What every process does of the run."""
    figures = measure(session.model, session.data, metrics=("reconstruction", "gap", "fidelity", "fd"), samples=SAMPLES)
    found = detect(session, ["ood:blurred"], images=260)
    scores = found[0].as_dict()["scores"]
    samples = session.model.sample(SAMPLES, seed=3, mean=False)
    return {name: (figure.value, figure.spread) for name, figure in figures.items()}, scores, samples


def work(rank, ports, folder, new):
    """One of two processes: measures a run; trains and measures another; and meets an error of one process alone."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(ports[0]))
    session = open_run(folder)
    with share_work(session), quick_figures():
        assert session.is_main == (rank == 0)
        found = done(session)
        raised = []
        for error in (UsageError("piece 1"), InterruptedRunError("piece 1", 15)):
            with pytest.raises(type(error), match="piece 1"):
                session.model.parallel_map(lambda number, error=error: fail(number, error), 2)
            raised.append(type(error))
        assert raised == [UsageError, InterruptedRunError]
        with pytest.raises(FellowError, match="another branch"):
            session.model.parallel_map(lambda number: {"u": torch.zeros(1)}, 2, title=f"work of process {rank}")
    torch.save(found, folder / f"found-{rank}.pt")
    os.environ["MASTER_PORT"] = str(ports[1])
    with quick_figures():
        workflow.train(resolve(None, OPTIONS), new, evaluation=Evaluation(samples=SAMPLES))


def fail(number, error):
    if number == 1:
        raise error
    return {"u": torch.zeros(1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    workflow.train(resolve(None, OPTIONS), folder, evaluation=Evaluation(samples=SAMPLES))
    mp.spawn(work, args=(free_ports(2), folder, folder.with_name("two")), nprocs=2)
    return folder


def test_two_processes_find_what_one_finds(folder):
    figures, scores, samples = done(open_run(folder))
    for rank in (0, 1):
        theirs = torch.load(folder / f"found-{rank}.pt", weights_only=True)
        assert theirs[0] == figures
        assert theirs[1] == scores
        assert torch.equal(theirs[2], samples)


def test_a_run_of_two_processes_measures_itself(folder):
    """Two processes train on other parts of a batch, so that the figures differ, but not which there are."""
    one, two = (json.loads((place / "summary.json").read_text()) for place in (folder, folder.with_name("two")))
    assert {*one["metrics"]} == {*two["metrics"]}
    measured = measure(*parts(open_run(folder.with_name("two"))), samples=SAMPLES)
    assert two["metrics"] == {name: figure.as_dict() for name, figure in measured.items()}


def parts(session):
    return session.model, session.data


def test_the_command_takes_a_number_of_processes(folder, tmp_path):
    outs = [tmp_path / f"{devices}.npy" for devices in (1, 2)]
    for devices, out in zip((1, 2), outs, strict=True):
        command = [sys.executable, "-m", "priorkit", "sample", str(folder), "--out", str(out), "--n", "150"]
        told = subprocess.run([*command, "--devices", str(devices)], check=True, capture_output=True, text=True).stdout
        assert told.count("wrote") == 1
    assert np.array_equal(*(np.load(out) for out in outs))
