"""Buffers that two parts of a batch move, and a step of two parts that is refused."""

import pytest
import torch
from torch import nn

from priorkit.core import Loss, Objective, OptimiserSettings, Step
from priorkit.engine import ProcessContext
from priorkit.engine.buffer_sync import BufferSync
from priorkit.engine.shard import Shard
from priorkit.engine.update import Updater
from priorkit.errors import UsageError

CPU = ProcessContext(torch.device("cpu"))


def test_the_mean_of_the_moves_and_constants_as_they_were():
    mean, mask, count = torch.zeros(2), torch.tensor([0.0, -torch.inf]), torch.tensor(3)
    merge = BufferSync(CPU, [mean, mask, count])
    merge.begin(2)
    for move in (1.0, 4.0):
        merge.shard()
        mean += move
        count += 1
        merge.moved()
    merge.end()
    assert mean.tolist() == [2.5, 2.5] and mask.tolist() == [0.0, -torch.inf] and count == 4


def test_a_refused_step_of_two_parts_leaves_everything_as_it_was():
    learner = nn.BatchNorm1d(1)
    states = torch.zeros(4)

    def loss(batch, step):
        states[step.rows] += 1
        value = learner(batch).square().mean()
        return Loss(value * float("nan") if step.shard else value)

    objective = Objective(
        name="loss",
        parameters=list(learner.parameters()),
        optimiser=OptimiserSettings(lr=0.1),
        loss=loss,
        rows=[states],
    )
    updater = Updater(learner, [objective], CPU)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    parts = [Shard([torch.randn(5, 1)], Step(0, 1, torch.Generator(), number, 2), CPU.random_state()) for number in range(2)]
    taken, _ = updater.take(parts)
    assert not taken and states.tolist() == [0.0] * 4
    after = learner.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if value.is_floating_point())


@pytest.mark.parametrize("chains", [0, 1])
def test_chains_that_cannot_be_shared_out_are_told_of_and_none_are_fine(chains):
    learner, states = nn.Linear(1, 1), torch.zeros(chains, 1)
    objective = Objective(
        name="loss",
        parameters=list(learner.parameters()),
        optimiser=OptimiserSettings(lr=0.1),
        loss=lambda batch, step: Loss(learner(batch).square().mean()),
        rows=[states],
    )
    parts = [Shard([torch.ones(2, 1)], Step(0, 1, torch.Generator(), number, 2), CPU.random_state()) for number in range(2)]
    if chains:
        with pytest.raises(UsageError, match="2 shards cannot divide 1 chains"):
            Updater(learner, [objective], CPU).take(parts)
    else:
        assert Updater(learner, [objective], CPU).take(parts)[0]
