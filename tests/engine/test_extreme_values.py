"""Energies that are infinite, NaN or immense on one of two processes: both go the same way, and the message says whose."""

import json
import sys

import pytest

from priorkit.engine.launch import run_ranks

WORK = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from priorkit.config import EngineSettings
from priorkit.core import Loss, Objective, OptimiserSettings, Phase, Streams, no_progress
from priorkit.engine import Engine, ProcessContext
from priorkit.engine.signals import StopRequest
from priorkit.errors import DivergedError
from priorkit.runs.folder import RunFolder

torch.set_num_threads(1)
process, folder, found = ProcessContext.find("cpu"), sys.argv[1], {}

class Learner(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

def run(name, loss, steps, patience):
    learner = Learner()
    settings = EngineSettings(log_every=1, patience=patience, checkpoint_seconds=100)
    at = RunFolder(Path(folder) / name)
    at.path.mkdir(exist_ok=True)
    def objectives():
        settings = OptimiserSettings(lr=0.1, clip=1.0)
        return [Objective("fit", [learner.weight], settings, lambda batch, step: loss(learner, step))]
    phase = Phase(name="prior.1", learner=learner, objectives=objectives, steps=steps, batch_size=4,
                  population=lambda: 8, begin=lambda: None, batch=lambda indices, step: indices)
    work = Engine(at, process, Streams(0), {"prior": learner}, settings, no_progress, StopRequest(), lambda *_: None)
    told = ""
    try:
        work.run([phase])
    except DivergedError as error:
        told = str(error)
    return [learner.weight.tolist(), work.state.skipped, told]

def energy(value, steps=(1,)):
    def loss(learner, step):
        scale = value if process.rank == 1 and step.index in steps else 1.0
        return Loss((learner.weight * scale).sum())
    return loss

def gradient(learner, step):
    root = (learner.weight - 1).square().sum().sqrt() if process.rank == 1 else learner.weight.sum()
    return Loss(root)

with process.joined():
    for text in ("inf", "-inf", "nan", "1e30", "-1e30", "3e38"):
        found[text] = run(text, energy(float(text)), 3, 10)
    found["given up"] = run("up", energy(float("nan"), range(9)), 9, 3)
    found["gradient"] = run("gradient", gradient, 9, 3)
json.dump(found, open(f"{folder}/{process.rank}.json", "w"))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes ended with, by the value that the second one's energies had."""
    folder = tmp_path_factory.mktemp("ranks")
    assert run_ranks([sys.executable, "-c", WORK, str(folder)], 2) == 0
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e30", "-1e30", "3e38"])
def test_both_refuse_it_and_end_where_the_other_two_steps_lead(found, value):
    """1e30 too: the square of such a gradient is infinite, and so would be the optimiser's moments from then on."""
    (weight, skipped, told), theirs = found[0][value], found[1][value]
    assert [weight, skipped, told] == theirs and (skipped, told) == (1, "")
    assert weight == pytest.approx([1 - 2 * 0.1] * 3, rel=1e-6)  # Adam's first steps are as long as its rate


def test_giving_up_tells_the_loss_of_the_process_where_it_was_not_finite(found):
    for own in found:
        assert "non-finite loss or gradient (loss nan in process 1 of 2, counted from 0)" in own["given up"][2]


def test_giving_up_tells_that_the_loss_was_finite_where_it_was_the_gradient(found):
    told = found[0]["gradient"][2]
    assert "non-finite loss or gradient (the gradient; loss 3)" in told, told
