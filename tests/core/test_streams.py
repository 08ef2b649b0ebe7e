"""Streams: the same name gives the same numbers, another name others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from priorkit.core import OptimiserSettings, Streams
from priorkit.errors import UsageError


@given(st.integers(0, 2**40), st.text(max_size=8), st.lists(st.integers(0, 99), max_size=3))
def test_a_stream_is_a_function_of_its_name(seed, name, numbers):
    draws = [torch.rand(4, generator=Streams(seed).generator(name, *numbers)) for _ in range(2)]
    assert torch.equal(*draws)
    for other in (Streams(seed + 1).generator(name, *numbers), Streams(seed).generator(name, *numbers, 0)):
        assert not torch.equal(draws[0], torch.rand(4, generator=other))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_no_64_bits_hold(seed):
    with pytest.raises(UsageError, match=rf"^seed: expected an integer from 0 to 2\*\*64 - 1 = \d+, got {seed}\.$"):
        Streams(seed)
    Streams(2**64 - 1).generator("any")


@given(st.integers(1, 500), st.floats(0, 0.9))
def test_learning_rate_rises_then_falls(total, warmup):
    settings = OptimiserSettings(lr=1.0, warmup=warmup, schedule="cosine", lr_min=0.1)
    rates = [settings.rate(step, total) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
