"""A step that does not fit into memory: taken again in smaller parts where that is wanted, told where it is not."""

import json

import pytest
import torch
from torch import nn

from priorkit.config import EngineSettings
from priorkit.core import Loss, Objective, OptimiserSettings, Phase, Streams, no_progress
from priorkit.engine import Engine, ProcessContext
from priorkit.engine.signals import StopRequest
from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder

BATCH = 8


class Learner(nn.Module):
    """Two numbers, and counts that every forward pass moves."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor(1.0))
        self.second = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))


class Scarce(torch.autograd.Function):
    """A number on the way forward, too little memory on the way back."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise torch.OutOfMemoryError("CUDA out of memory")


def engine(folder, learner, process=None, **settings):
    process = process or ProcessContext(torch.device("cpu"))
    settings = EngineSettings(**{"log_every": 5, **settings})
    folder.mkdir(exist_ok=True)
    return Engine(
        RunFolder(folder), process, Streams(0), {"prior": learner}, settings, no_progress, StopRequest(), lambda *_: None
    )


def phase(learner, fits, *, tried=None, steps=10, name="prior.1", where="forward", population=64):
    """Two objectives; the second runs out of memory at more than `fits(step)` examples, once the buffers have moved."""

    def first(indices, step):
        learner.seen += len(indices)
        learner.calls += 1
        return Loss((learner.first - indices.float()).square().mean())

    def second(indices, step):
        learner.seen += 1
        learner.calls += 1
        if tried is not None:
            tried.append((step.index, len(indices)))
        value = (learner.second - indices.float()).square().mean()
        if len(indices) > fits(step.index):
            if where == "backward":
                return Loss(Scarce.apply(value))
            raise {
                "forward": torch.OutOfMemoryError("CUDA out of memory"),
                "library": RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
                "allocator": RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
                "machine": MemoryError("cannot allocate array"),
            }[where]
        return Loss(value)

    def batch(indices, step):
        if where == "batch" and len(indices) > fits(step.index):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return indices

    def objectives():
        kinds = [("first", learner.first, first), ("second", learner.second, second)]
        return [Objective(name, [parameter], OptimiserSettings(lr=0.1), loss) for name, parameter, loss in kinds]

    return Phase(
        name=name, learner=learner, objectives=objectives, steps=steps, batch_size=BATCH, population=lambda: population,
        begin=lambda: None, batch=batch, average=0.9,
    )  # fmt: skip


def logged(folder):
    return [json.loads(line) for line in RunFolder(folder).metrics.read_text().splitlines()]


@pytest.mark.parametrize("where", ["forward", "backward", "library", "allocator", "machine", "batch"])
@pytest.mark.parametrize(("fits", "count"), [(8, 1), (4, 2), (3, 4)])
def test_it_takes_the_micro_batches_that_fit_and_ends_where_that_number_ends_from_the_start(tmp_path, fits, count, where):
    found, given = Learner(), Learner()
    work = engine(tmp_path / "a", found, accumulate="auto")
    work.run([phase(found, lambda index: fits, where=where)])
    engine(tmp_path / "b", given, accumulate=count).run([phase(given, lambda index: BATCH)])
    assert work.shards.micro_batches == count
    for name, value in given.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    told = [line["micro_batches"] for line in logged(tmp_path / "a") if "micro_batches" in line]
    assert told == [2.0**k for k in range(1, count.bit_length())]


def test_it_happens_once_and_in_the_midst_of_a_phase_too(tmp_path):
    learner, tried = Learner(), []
    engine(tmp_path, learner, accumulate="auto").run([phase(learner, lambda index: 8 if index < 3 else 4, tried=tried)])
    assert tried == [*((i, 8) for i in range(4)), *((i, 4) for i in range(3, 10) for _ in range(2))]


def test_the_next_phase_begins_anew(tmp_path):
    learner = Learner()
    work = engine(tmp_path, learner, accumulate="auto")
    work.run([phase(learner, lambda index: 2), phase(learner, lambda index: 8, name="prior.2")])
    assert work.shards.micro_batches == 1


def test_a_resumed_run_goes_on_with_the_number_that_it_had(tmp_path):
    whole, halted = Learner(), Learner()
    engine(tmp_path / "whole", whole, accumulate="auto").run([phase(whole, lambda index: 8 if index != 2 else 4)])

    def stop(items, total, title, *, start=0):
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


@pytest.mark.parametrize(("population", "smallest"), [(64, 2), (7, 3), (1, 1)])
def test_the_smallest_parts_that_do_not_fit_are_told(tmp_path, population, smallest):
    learner = Learner()
    with pytest.raises(UsageError, match=rf"prior\.1: a training step does not fit .*\(here of {smallest}\)"):
        engine(tmp_path, learner, accumulate="auto").run([phase(learner, lambda index: 0, population=population)])


def test_parts_of_parts_are_taken_back_whole(tmp_path):
    """In the second step the second of two shards runs out: nothing of the first remains."""
    learner, asked = Learner(), []

    def fits(index):
        asked.append(index)
        return 0 if len(asked) == 4 else BATCH

    engine(tmp_path, learner, accumulate="auto", shards=2).run([phase(learner, fits, where="backward")])
    assert asked[:6] == [0, 0, 1, 1, 1, 1]
    # As one part counts: two calls in the first step, four in each later one, whose parts are halved.
    assert learner.calls == 2 + 9 * 4


def test_an_optimiser_that_does_not_fit_is_told_and_not_tried_again(tmp_path, monkeypatch):
    def step(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    learner, tried = Learner(), []
    with pytest.raises(UsageError, match=r"first: .* optimiser's moments do not fit.*micro-batches do not help"):
        engine(tmp_path, learner, accumulate="auto").run([phase(learner, lambda index: BATCH, tried=tried)])
    assert not tried


def test_other_errors_go_their_way(tmp_path):
    learner = Learner()

    def broken(index):
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        engine(tmp_path, learner, accumulate="auto").run([phase(learner, broken)])


def test_where_it_is_not_wanted_the_option_is_named_and_nothing_has_moved(tmp_path):
    learner = Learner()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    with pytest.raises(UsageError, match=r"does not fit into the memory of cpu.*engine\.accumulate: auto or a number"):
        engine(tmp_path, learner).run([phase(learner, lambda index: 4)])
    for name, value in before.items():
        assert torch.equal(learner.state_dict()[name], value), name


def test_several_processes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="auto works with one process"):
        engine(tmp_path, Learner(), ProcessContext(torch.device("cpu"), 0, 2), accumulate="auto")
