"""Memory of a known size, calls and speed of draws of a known duration."""

import time

import pytest
import torch

from priorkit.core import Chain, Draw
from priorkit.metrics.cost import RESIDENT, PeakMemory, parameter_count, sampling_cost


@pytest.mark.skipif(not RESIDENT.exists(), reason="resident memory is read from /proc")
def test_memory_that_was_let_go_is_in_the_peak():
    with PeakMemory(torch.device("cpu")) as memory:
        block = torch.ones(50 * 2**20 // 4)
        del block
        time.sleep(0.05)
    # Pages already held may serve a part of it; what the allocator keeps for itself may add to it.
    assert memory.bytes is None or 0 <= memory.bytes < 200 * 2**20
    with PeakMemory(torch.device("cpu")) as memory:
        block = torch.ones(400 * 2**20 // 4)
        time.sleep(0.1)
    assert 300 * 2**20 < (memory.bytes or 0) < 600 * 2**20
    assert len(block) > 0


def test_calls_are_those_of_all_chains_and_speed_is_per_sample():
    u = torch.zeros(10, 2)

    def draw():
        time.sleep(0.1)
        return Draw(u, [Chain(u, calls=30), Chain(u, calls=12)])

    found = sampling_cost(draw, lambda u: u)
    assert found.calls == 42
    # Sleeping may take longer than asked, never shorter.
    assert 5 < found.samples_per_second <= 100


def test_a_slow_draw_is_made_once():
    made = []

    def draw():
        made.append(time.sleep(0.6))
        return Draw(torch.zeros(3, 2))

    assert sampling_cost(draw, lambda u: u).calls == 0
    assert len(made) == 1


def test_parameters_are_counted_and_buffers_are_not():
    assert parameter_count(torch.nn.BatchNorm1d(7)) == 14
