"""Weights under a right checksum may still be no weights."""

import pytest
import torch
from torch import nn

from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder
from priorkit.runs.restore import restore


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, name, value):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    restore(module, state, RunFolder(tmp_path))
    state[name].view(-1)[-1] = value
    with pytest.raises(UsageError, match=rf"NaN or infinite in '{name}'"):
        restore(module, state, RunFolder(tmp_path))


def test_a_mask_may_be_infinite(tmp_path):
    module = nn.Linear(2, 3)
    module.register_buffer("mask", torch.full((3,), -torch.inf))
    restore(module, module.state_dict(), RunFolder(tmp_path))
