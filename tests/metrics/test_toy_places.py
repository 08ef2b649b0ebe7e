"""Where samples of a toy lie, for samples whose shares are known."""

import pytest
import torch

from priorkit.data import toy
from priorkit.workflows.measuring.toys import _placed


def test_true_samples_lie_outside_the_allowed_set_as_often_as_it_says():
    source = toy("8gaussians")
    x = source.sample(100_000, torch.Generator().manual_seed(0))
    threshold = float(source.log_density(source.sample(100_000, torch.Generator().manual_seed(1))).quantile(0.001))
    found = _placed(source, x, threshold=threshold)
    # 0.1 % of 100,000 points, each of the two counts with a standard error of 0.01 %.
    assert found["forbidden"].value == pytest.approx(0.001, abs=6e-4)
    assert found["cell_least"].value > 0.12 and found["cell_most"].value < 0.13


def test_samples_spread_over_the_whole_board_are_half_forbidden():
    x = torch.rand(100_000, 2, generator=torch.Generator().manual_seed(0)) * 8 - 4
    source = toy("checkerboard")
    found = _placed(source, x, threshold=float(source.log_density(source.sample(9, torch.Generator().manual_seed(0))).min()))
    assert found["forbidden"].value == pytest.approx(0.5, abs=0.01)
    assert found["cell_most"].value == pytest.approx(1 / 16, abs=0.005)
