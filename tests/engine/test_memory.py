"""A step that does not fit into memory: taken again in smaller parts where that is wanted, told where it is not."""

import json

import pytest
import torch
from torch import nn

from priorkit.config import EngineSettings
from priorkit.core import Loss, Objective, OptimiserSettings, Phase, Streams, silent
from priorkit.engine import Engine, Place
from priorkit.engine.signals import StopRequest
from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder

BATCH = 8


class Learner(nn.Module):
    """Two numbers, and a count that every forward pass moves."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor(1.0))
        self.second = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("seen", torch.zeros(()))


def engine(folder, learner, place=None, **settings):
    place = place or Place(torch.device("cpu"))
    settings = EngineSettings(**{"log_every": 5, **settings})
    folder.mkdir(exist_ok=True)
    return Engine(RunFolder(folder), place, Streams(0), {"prior": learner}, settings, silent, StopRequest(), lambda *_: None)


def phase(learner, fits, *, tried=None, steps=10, name="prior.1"):
    """Two objectives; the second's loss runs out of memory at more than `fits(step)` examples, having moved the buffer."""

    def first(indices, step):
        learner.seen += len(indices)
        return Loss((learner.first - indices.float()).square().mean())

    def second(indices, step):
        learner.seen += 1
        if tried is not None:
            tried.append((step.index, len(indices)))
        if len(indices) > fits(step.index):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Loss((learner.second - indices.float()).square().mean())

    def objectives():
        kinds = [("first", learner.first, first), ("second", learner.second, second)]
        return [Objective(name, [parameter], OptimiserSettings(lr=0.1), loss) for name, parameter, loss in kinds]

    return Phase(
        name=name, learner=learner, objectives=objectives, steps=steps, batch_size=BATCH, population=lambda: 64,
        begin=lambda: None, batch=lambda indices, step: indices,
    )  # fmt: skip


def logged(folder):
    return [json.loads(line) for line in RunFolder(folder).metrics.read_text().splitlines()]


@pytest.mark.parametrize(("fits", "pieces"), [(8, 1), (4, 2), (3, 4), (1, 8)])
def test_it_takes_the_parts_that_fit_and_ends_where_that_number_ends_from_the_start(tmp_path, fits, pieces):
    found, given = Learner(), Learner()
    work = engine(tmp_path / "a", found, accumulate="auto")
    work.run([phase(found, lambda index: fits)])
    engine(tmp_path / "b", given, accumulate=pieces).run([phase(given, lambda index: BATCH)])
    assert work.shards.pieces == pieces
    for name, value in given.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    told = [line["micro_batches"] for line in logged(tmp_path / "a") if "micro_batches" in line]
    assert told == [2.0**k for k in range(1, pieces.bit_length())]


def test_it_happens_once_and_in_the_midst_of_a_phase_too(tmp_path):
    learner, tried = Learner(), []
    engine(tmp_path, learner, accumulate="auto").run([phase(learner, lambda index: 8 if index < 3 else 4, tried=tried)])
    assert tried == [*((i, 8) for i in range(4)), *((i, 4) for i in range(3, 10) for _ in range(2))]


def test_the_next_phase_begins_anew(tmp_path):
    learner = Learner()
    work = engine(tmp_path, learner, accumulate="auto")
    work.run([phase(learner, lambda index: 2), phase(learner, lambda index: 8, name="prior.2")])
    assert work.shards.pieces == 1


def test_a_resumed_run_goes_on_with_the_number_that_it_had(tmp_path):
    whole, halted = Learner(), Learner()
    engine(tmp_path / "whole", whole, accumulate="auto").run([phase(whole, lambda index: 8 if index != 2 else 4)])

    def stop(items, total, title):
        for item in items:
            if item == 6:
                raise KeyboardInterrupt
            yield item

    first = engine(tmp_path / "halted", halted, accumulate="auto", checkpoint_seconds=0)
    first.checkpoints.due = lambda: True
    first.progress = stop
    with pytest.raises(KeyboardInterrupt):
        first.run([phase(halted, lambda index: 8 if index != 2 else 4)])
    again, tried = Learner(), []
    engine(tmp_path / "halted", again, accumulate="auto").run([phase(again, lambda index: 8, tried=tried)])
    assert {size for _, size in tried} == {4}
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_one_example_that_does_not_fit_is_told(tmp_path):
    learner = Learner()
    with pytest.raises(UsageError, match=r"prior\.1: a training step of one example at a time does not fit"):
        engine(tmp_path, learner, accumulate="auto").run([phase(learner, lambda index: 0)])


def test_where_it_is_not_wanted_the_option_is_named_and_nothing_has_moved(tmp_path):
    learner = Learner()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    with pytest.raises(UsageError, match=r"does not fit into the memory of cpu.*engine\.accumulate=auto"):
        engine(tmp_path, learner).run([phase(learner, lambda index: 4)])
    for name, value in before.items():
        assert torch.equal(learner.state_dict()[name], value), name


def test_several_processes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="auto is for one process"):
        engine(tmp_path, Learner(), Place(torch.device("cpu"), 0, 2), accumulate="auto")
