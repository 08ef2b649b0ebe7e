"""`speed.py` on a tiny network: its table is whole, and what it counts is what it says."""

import argparse

import pytest
import speed
import torch
from clock import Clock
from speed_cases import CASES, Scale, small_nvae


def arguments(**given):
    usual = {"threads": 1, "device": "cpu", "clock": "processor", "rounds": 1, "batch": 2, "quick": True, "write": None}
    return argparse.Namespace(**usual, **given)


def test_the_table_has_a_row_of_each_side():
    report = speed.run(arguments(rows=["jointebm, energies on u", "gaussian"], parts=["priors", "data"]))
    training, sampling = report.split("## A training step")[1].split("## A thousand samples")
    row = next(line for line in training.splitlines() if line.startswith("| jointebm"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == len(speed.TRAINING + speed.REFERENCE)
    assert float(cells[-1]) == pytest.approx(float(cells[-3]) / float(cells[1]), rel=0.1)
    assert "| gaussian |" in sampling and "| gaussian |" not in training
    assert "1 threads" in report and "cached positives" in report


def test_operations_are_counted():
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert speed.operations(lambda: a @ b) == 2 * 3 * 5 * 7
    leaf = torch.randn(3, 5, requires_grad=True)
    assert speed.operations(lambda: torch.autograd.grad((leaf @ b).sum(), leaf)) == 2 * (2 * 3 * 5 * 7)


def test_the_first_round_warms_up():
    calls = []
    Clock(torch.device("cpu"), "wall").medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b"] * 3


def test_the_setting_is_the_one_that_is_asked_for():
    network = small_nvae(Scale(), CASES[1].options, torch.device("cpu")).backbone
    assert network.geometry.groups == (6, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(6e6, rel=0.05)
