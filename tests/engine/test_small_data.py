"""Fewer data than a batch: every process has its share of them, none is left out and none is seen twice."""

from types import SimpleNamespace

import pytest
import torch

from priorkit.config import EngineSettings
from priorkit.core import Streams
from priorkit.engine import ProcessContext
from priorkit.engine.shard import Shards
from priorkit.errors import UsageError


def shares(population, world, index, **settings):
    """What each process computes of a step's batch of 64."""
    phase = SimpleNamespace(
        name="prior.1", steps=10, batch_size=64, population=lambda: population, batch=lambda indices, step: indices
    )
    found = []
    for rank in range(world):
        shards = Shards(ProcessContext(torch.device("cpu"), rank, world), Streams(0), EngineSettings(**settings))
        shards.check(phase)
        found.append([batch.tolist() for part in shards.of(phase, index) for batch in part.batches])
    return found


@pytest.mark.parametrize("settings", [{}, {"accumulate": 4}, {"shards": 3}])
@pytest.mark.parametrize("population", [3, 4, 5, 10, 63])
def test_three_processes_share_data_shorter_than_a_batch(population, settings):
    for index in range(4):
        found = shares(population, 3, index, **settings)
        assert all(batches and all(batches) for batches in found)
        assert sorted(number for batches in found for batch in batches for number in batch) == list(range(population))


def test_a_process_without_any_datum_is_refused():
    with pytest.raises(UsageError, match=r"a batch of 2 cannot be split into 3 shards. Use a larger batch, fewer"):
        shares(2, 3, 0)
