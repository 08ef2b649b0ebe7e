"""The loop on a learner of one number: what is validated when, what a checkpoint holds, which streams a step reads."""

import time

import pytest
import torch
from torch import nn

from priorkit.config import EngineSettings
from priorkit.core import Loss, Objective, OptimiserSettings, Phase, Streams, no_progress
from priorkit.engine import Engine, ProcessContext
from priorkit.engine.checkpoint import Checkpoint, Checkpoints
from priorkit.engine.signals import StopRequest
from priorkit.errors import DivergedError
from priorkit.runs.folder import RunFolder


class Learner(nn.Module):
    """A number, and a second module that a phase has frozen."""

    def __init__(self):
        super().__init__()
        self.new = nn.Linear(1, 1)
        self.old = nn.Sequential(nn.Linear(1, 1), nn.Dropout())


def engine(folder, learner, **settings):
    settings = EngineSettings(**{"log_every": 30, **settings})
    process = ProcessContext(torch.device("cpu"))
    return Engine(
        RunFolder(folder), process, Streams(0), {"prior": learner}, settings, no_progress, StopRequest(), lambda *_: None
    )


def phase(learner, loss, **options):
    def freeze():
        learner.old.eval().requires_grad_(False)

    defaults = {"steps": 40, "batch_size": 4, "population": lambda: 8, "begin": freeze}
    defaults["batch"] = lambda indices, step: indices
    objective = Objective("fit", list(learner.new.parameters()), OptimiserSettings(), loss)
    return Phase(name="prior.1", learner=learner, objectives=lambda: [objective], **{**defaults, **options})


def square(learner):
    return lambda indices, step: Loss(learner.new(indices[:, None].float()).square().mean())


def test_validation_has_its_own_steps_and_leaves_the_flags_alone(tmp_path):
    learner, seen = Learner(), []

    def flags():
        parameters = [parameter.requires_grad for parameter in learner.parameters()]
        return parameters, [module.training for module in learner.modules()]

    def loss(indices, step):
        seen.append(flags())
        return square(learner)(indices, step)

    def validate():
        gradients, modes = flags()
        assert not any(gradients + modes)
        return {"heldout": 1.0}

    run = engine(tmp_path, learner)
    run.run([phase(learner, loss, validate=validate, validate_every=8)])
    assert [record["step"] for record in run.folder.records() if "heldout" in record] == [8, 16, 24, 32, 40]
    assert seen[0] == ([True, True, False, False], [True, True, False, False, False])
    assert all(at == seen[0] for at in seen)


def test_batch_loss_and_modules_read_different_streams(tmp_path):
    learner, drawn = Learner(), []

    def batch(indices, step):
        drawn.append(torch.rand(4, generator=step.generator))
        return indices

    def loss(indices, step):
        drawn.extend([torch.rand(4, generator=step.generator), torch.rand(4)])
        return square(learner)(indices, step)

    engine(tmp_path, learner).run([phase(learner, loss, batch=batch, steps=2)])
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == 6


def test_refused_steps_count_on_over_a_resume(tmp_path):
    learner = Learner()
    calls = []

    def loss(indices, step):
        calls.append(step.index)
        value = square(learner)(indices, step).value
        return Loss(value * float("nan") if step.index >= 10 else value)

    def stop(items, total, title, *, start=0):
        for item in items:
            if item == 13:
                raise KeyboardInterrupt
            yield item

    first = engine(tmp_path, learner, checkpoint_seconds=0, patience=5)
    first.checkpoints.due = lambda: True
    first.progress = stop
    with pytest.raises(KeyboardInterrupt):
        first.run([phase(learner, loss)])
    assert first.checkpoints.latest().refused == 3
    with pytest.raises(DivergedError, match="5 consecutive steps up to step 15"):
        engine(tmp_path, learner, patience=5).run([phase(learner, loss)])
    assert calls == list(range(15))


def test_progress_of_a_resumed_phase_is_told_where_it_starts(tmp_path):
    """Stopped after 6 of 10 steps: the second process does 4, from the sixth on."""
    learner, told = Learner(), []

    def shown(items, total, title, *, start=0):
        told.append((list(items), total, title, start))
        for item in items:
            if len(told) == 1 and item == 6:
                raise KeyboardInterrupt
            yield item

    first = engine(tmp_path, learner, checkpoint_seconds=0)
    first.checkpoints.due = lambda: True
    first.progress = shown
    with pytest.raises(KeyboardInterrupt):
        first.run([phase(learner, square(learner), steps=10)])
    again = engine(tmp_path, learner)
    again.progress = shown
    again.run([phase(learner, square(learner), steps=10)])
    assert [(each[0][0], each[1], each[3]) for each in told] == [(0, 10, 0), (6, 4, 6)]


def test_refused_steps_with_a_good_one_between_them_are_not_in_a_row(tmp_path):
    """Steps 2, 3, 5, 6, 8 and 9 of ten, never three one after the other."""
    learner = Learner()

    def loss(indices, step):
        value = square(learner)(indices, step).value
        return Loss(value * float("nan") if step.index % 3 else value)

    state = engine(tmp_path, learner, patience=3).run([phase(learner, loss, steps=10)])
    assert (state.skipped, state.refused) == (6, 0)


def test_a_short_phase_of_which_nothing_was_kept_does_not_end_well(tmp_path):
    learner = Learner()

    def loss(indices, step):
        return Loss(square(learner)(indices, step).value * float("nan"))

    with pytest.raises(DivergedError, match="3 consecutive steps up to step 3"):
        engine(tmp_path, learner, patience=5).run([phase(learner, loss, steps=3)])


def test_a_slow_checkpoint_puts_the_next_one_off(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slow(target, files):
        now[0] += 3.0

    monkeypatch.setattr("priorkit.engine.checkpoint.replace_folder", slow)
    store = Checkpoints(RunFolder(tmp_path), seconds=20.0)
    assert not store.due()
    now[0] = 20.0
    assert store.due()
    store.write(Checkpoint("prior.1", ["prior"], 1, False, {}, {}, 0, 0, 0, {}, 0))
    now[0] = 23.0 + 59.9
    assert not store.due()
    now[0] = 23.0 + 60.0
    assert store.due()


def test_a_phase_keeps_its_last_weights_unless_it_is_told_otherwise():
    phase = Phase("one", torch.nn.Linear(1, 1), 1, 1, lambda: 1, lambda indices, step: indices, list)
    assert phase.average == 0 and phase.selection is None
