"""A step of an optimiser is taken back without a trace."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim import Adam, Adamax, AdamW

from priorkit.engine.snapshot import Snapshot


def moved(optimiser, parameters, scale=1.0):
    for parameter in parameters:
        parameter.grad = scale * torch.ones_like(parameter)
    optimiser.step()


@pytest.mark.parametrize("kind", [Adam, AdamW, Adamax])
@pytest.mark.parametrize("earlier", [0, 1, 3])
def test_what_is_restored_is_what_was(kind, earlier):
    parameters = list(nn.Linear(3, 2).parameters())
    optimiser = kind(parameters, lr=0.1)
    snapshot = Snapshot(optimiser)
    for _ in range(earlier):
        moved(optimiser, parameters)
    before, state = deepcopy(parameters), deepcopy(optimiser.state_dict())
    snapshot.remember()
    optimiser.param_groups[0]["lr"] = 0.5
    moved(optimiser, parameters, scale=-2.0)
    assert not torch.equal(parameters[0], before[0])
    snapshot.restore()
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))
    assert optimiser.state_dict()["param_groups"] == state["param_groups"]
    found = optimiser.state_dict()["state"]
    assert found.keys() == state["state"].keys() == ({0, 1} if earlier else set())
    for number, entries in state["state"].items():
        assert all(torch.equal(found[number][name], value) for name, value in entries.items())


def test_a_parameter_that_first_learns_in_the_refused_step():
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimiser = Adam([first, second], lr=0.1)
    moved(optimiser, [first])
    snapshot = Snapshot(optimiser)
    snapshot.remember()
    moved(optimiser, [first, second])
    snapshot.restore()
    assert set(optimiser.state) == {first} and torch.equal(second, torch.ones(2))


def test_remembering_makes_no_new_tensors_once_the_moments_exist():
    parameters = list(nn.Linear(3, 2).parameters())
    optimiser = Adam(parameters)
    snapshot = Snapshot(optimiser)
    moved(optimiser, parameters)
    snapshot.remember()
    held = [copy.data_ptr() for copy in snapshot._copies]
    moved(optimiser, parameters)
    snapshot.remember()
    assert [copy.data_ptr() for copy in snapshot._copies] == held
