"""A phase ends with the averaged weights that had the least held-out loss."""

import math

import pytest
import torch
from test_loop import Learner, engine, phase
from torch import nn

from priorkit.core import Loss, Selection
from priorkit.engine import ProcessContext
from priorkit.engine.best_weights import BestWeights

STEPS = 40


def climbs(learner):
    """A loss by which the weight grows by about a thousandth per step."""
    return lambda indices, step: Loss(-learner.new.weight.sum())


def run(folder, steps=STEPS, *, end=dict, target=0.0, average=0.9, **selection):
    """A learner whose weight grows from 0, judged by its distance from `target`, and what its run logged and told."""
    torch.manual_seed(0)
    learner = Learner()
    nn.init.zeros_(learner.new.weight)
    choice = Selection(lambda: abs(float(learner.new.weight) - target), **selection) if selection else None
    folder.mkdir()
    made = engine(folder, learner)
    state = made.run([phase(learner, climbs(learner), steps=steps, average=average, selection=choice, end=end)])
    return learner.state_dict(), made.folder.records(), state.done["prior.1"]


def equal(ours, theirs):
    return all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_a_phase_that_overfits_ends_with_the_weights_of_its_least_loss(tmp_path, average):
    found, records, told = run(tmp_path / "a", every=4, target=0.02, average=average)
    losses = {row["step"]: row["heldout_validation_loss"] for row in records if "heldout_validation_loss" in row}
    assert list(losses) == list(range(4, STEPS + 1, 4))
    best = min(losses, key=losses.get)
    assert 4 < best < STEPS and told == {"weights_of_step": best}
    assert records[-1] == {"phase": "prior.1", "step": STEPS, "weights_of_step": best}
    stopped, *_ = run(tmp_path / "b", best, average=average)
    last, *_ = run(tmp_path / "c", average=average)
    assert equal(found, stopped) and not equal(found, last)


def test_the_last_weights_are_judged_too(tmp_path):
    found, records, told = run(tmp_path / "a", every=25, target=1.0)
    assert [row["step"] for row in records if "heldout_validation_loss" in row] == [25, 40]
    assert told == {} and equal(found, run(tmp_path / "b")[0])


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_without_a_judgement_nothing_is_changed(tmp_path, average):
    """Asked once, since nothing can be told; torch's global state at the end is that of a phase that is not asked."""
    asked, ends = [], []

    def end():
        ends.append(torch.rand(2))
        return {}

    def loss():
        asked.append(torch.rand(1))

    torch.manual_seed(0)
    learner = Learner()
    nn.init.zeros_(learner.new.weight)
    options = {"average": average, "end": end, "selection": Selection(loss, 4)}
    (tmp_path / "a").mkdir()
    made = engine(tmp_path / "a", learner)
    made.run([phase(learner, climbs(learner), **options)])
    found, records, _ = run(tmp_path / "b", average=average, end=end)
    assert len(asked) == 1 and torch.equal(*ends)
    assert equal(learner.state_dict(), found) and made.folder.records() == records


def test_patience_ends_a_phase_and_what_is_left_in_the_window_is_logged(tmp_path):
    found, records, told = run(tmp_path / "a", every=4, patience=2, target=0.01)
    best = int(told["weights_of_step"])
    assert records[-1]["step"] == best + 8 < STEPS
    assert any("loss" in row and row["step"] == best + 8 for row in records)
    assert equal(found, run(tmp_path / "b", best)[0])


def test_judging_leaves_weights_modes_and_statistics_as_they_are():
    """The averages are in place, and frozen in evaluation mode, while they are judged, and only then."""
    learner = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())])
    learner[0][0].weight.requires_grad_(False)
    seen = []

    def loss():
        seen.append(learner[0][0].bias.clone())
        assert not learner.training and not any(parameter.requires_grad for parameter in learner.parameters())
        return float(learner[0](torch.randn(8, 2)).square().mean())

    best, first = (
        BestWeights(learner, 0.9, Selection(loss, 1), ProcessContext(torch.device("cpu"))),
        learner[0][0].bias.clone(),
    )
    with torch.no_grad():
        learner[0][0].bias.fill_(1.0)
    own = {name: value.clone() for name, value in learner.state_dict().items()}
    flags = [parameter.requires_grad for parameter in learner.parameters()]
    assert best.judge(1) is not None
    assert torch.equal(seen[0], first) and equal(learner.state_dict(), own)
    assert [parameter.requires_grad for parameter in learner.parameters()] == flags
    assert all(part.training for part in learner.modules())


class Second(ProcessContext):
    """The second of two processes; the first had the loss 1."""

    def all_gather(self, value):
        return torch.stack([torch.ones_like(value), value])


def test_all_processes_take_the_leading_ones_loss():
    best = BestWeights(nn.Linear(1, 1), 0.9, Selection(lambda: 2.0, 1), Second(torch.device("cpu"), 1, 2))
    assert best.judge(5) == best.loss == 1.0 and best.step == 5
    assert best.judge(6) == 1.0 and (best.step, best.in_vain) == (5, 1)


@pytest.mark.parametrize("losses", [[3.0, 1.0, 2.0], [], [math.nan]])
def test_a_checkpoint_has_the_best_weights_and_their_record(losses):
    told = iter(losses)
    made = BestWeights(nn.Linear(2, 2), 0.9, Selection(lambda: next(told), 1), ProcessContext(torch.device("cpu")))
    for step in range(len(losses)):
        with torch.no_grad():
            made.learner.weight.add_(1.0)
        made.update(step)
        made.judge(step + 1)
    again = BestWeights(nn.Linear(2, 2), 0.9, made.selection, made.process)
    again.load(made.state())
    assert (again.loss, again.step, again.in_vain) == (made.loss, made.step, made.in_vain)
    made.apply()
    again.apply()
    assert equal(again.learner.state_dict(), made.learner.state_dict())


def test_a_checkpoint_of_before_has_none():
    made = BestWeights(nn.Linear(2, 2), 0.9, Selection(lambda: 1.0, 1), ProcessContext(torch.device("cpu")))
    state = {name: value for name, value in made.state().items() if name.isdigit()}
    made.load(state)
    assert (made.loss, made.step) == (math.inf, 0)
