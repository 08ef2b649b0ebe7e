"""Views of a run that trains: they change nothing, and come when they are due."""

import copy
import time

import pytest
import torch

from priorkit.config import resolve
from priorkit.engine import Watch
from priorkit.errors import DivergedError, UsageError
from priorkit.runtime.on_host import OnHost
from priorkit.workflows.sampling import live
from priorkit.workflows.training import estimate
from priorkit.workflows.training import train as workflow
from priorkit.workflows.training.begin import begun
from priorkit.workflows.training.run_phases import opened_loggers, run_phases

TINY = [
    "backbone=twolayer", "backbone.hidden=16", "backbone.latents=[3, 4]", "prior.energy.width=16", "prior.pool_size=200",
    "prior.energy.dropout=0.2", "prior.stages=2", "prior.adaptive=false", "sampler.steps=3", "trainer.backbone_steps=20",
    "trainer.prior_steps=40", "trainer.posterior_samples=1", "trainer.prior_batch=64", "engine.log_every=7",
    "engine.threads=1",
]  # fmt: skip


class Restless(Watch):
    """Looks after every step, uses random numbers and changes modes."""

    def __init__(self, model):
        self.model, self.looks, self.ends = model, 0, []

    def due(self, phase, step):
        return True

    def look(self, phase, step):
        assert not self.model.backbone.training and not self.model.prior.training
        assert not any(parameter.requires_grad for parameter in phase.learners.parameters())
        torch.rand(7)
        self.model.sample(3)
        self.looks += 1

    def ended(self, phase):
        torch.rand(5)
        self.ends.append(phase.name)


def trained(folder, watched, kind=Restless, told=None):
    with begun(resolve(None, TINY), folder, resume=False, source=None, progress=lambda items, *_, **__: items) as run:
        watches = [kind(run.model)] if watched else []
        with opened_loggers(run) as listeners:
            state, _ = run_phases(run, listeners, run.progress, lambda *_: None, watches)
        if told is not None:
            told.append(state)
        run.folder.close()
    return watches


def test_who_looks_changes_no_bit(tmp_path):
    (watch,) = trained(tmp_path / "seen", watched=True)
    trained(tmp_path / "unseen", watched=False)
    assert watch.looks == 60 and watch.ends == ["backbone", "prior.1", "prior.2"]
    for name in ("metrics.jsonl", "weights/backbone.safetensors", "weights/prior.safetensors"):
        assert (tmp_path / "seen" / name).read_bytes() == (tmp_path / "unseen" / name).read_bytes()


@pytest.mark.parametrize("error", [UsageError("the disk is full"), OSError("no space"), MemoryError(), DivergedError("far")])
def test_a_view_that_fails_ends_no_run_and_is_left_out(tmp_path, caplog, error):
    class Failing(Restless):
        def look(self, phase, step):
            self.looks += 1
            raise error

    watch = trained(tmp_path / "run", watched=True, kind=Failing)[0]
    assert watch.looks == 1 and watch.ends == []
    assert "Failing failed and is left out from now on" in caplog.text
    assert (tmp_path / "run" / "weights" / "prior.safetensors").is_file()


def test_the_time_of_looking_is_not_the_phases(tmp_path):
    class Slow(Restless):
        def due(self, phase, step):
            return phase.name == "backbone" and step == 3

        def look(self, phase, step):
            time.sleep(1.5)

    assert trained(tmp_path / "run", watched=True, kind=Slow, told=(told := []))
    assert told[0].seconds["backbone"] < 1.5


def test_values_on_the_host_are_read_anew_after_a_change():
    read, tensor = OnHost(), torch.tensor([1, 2])
    assert read(tensor) == [1, 2] and read(tensor) == [1, 2]
    tensor.fill_(5)
    assert read(tensor) == [5, 5]
    other = copy.deepcopy(read)
    assert other(torch.tensor(7)) == 7
    with torch.inference_mode():
        frozen = torch.tensor(3)
        assert read(frozen) == 3
        frozen.add_(1)
        assert read(frozen) == 4


@pytest.fixture
def clock(monkeypatch):
    """The time that both modules see."""
    now = [100.0]
    for module in (live, estimate):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class PhaseOf:
    def __init__(self, learner, name="backbone", steps=1_000):
        self.learner, self.name, self.steps = learner, name, steps


def test_pictures_come_soon_and_every_three_minutes(clock, monkeypatch):
    model = type("Model", (), {"backbone": object()})()
    pictures = live.LivePictures(model, None, None)
    monkeypatch.setattr(pictures, "_overview", lambda told: None)
    backbone = PhaseOf(model.backbone)
    seen = []
    for second in range(0, 400, 5):
        clock[0] = 100.0 + second
        if pictures.due(backbone, second):
            pictures.look(backbone, second)
            seen.append(second)
    assert seen == [5, 65, 245]
    assert not pictures.due(PhaseOf(object(), "prior.1"), 1)


@pytest.mark.parametrize(("seconds", "told"), [(1.0, 1), (0.1, 0)])
def test_a_long_run_is_estimated_once(clock, monkeypatch, seconds, told):
    monkeypatch.setattr(estimate, "plan", lambda *_: "the plan")
    heard = []
    watch = estimate.FirstEstimate(resolve(None, []), None, None, heard.append, None)
    phase = PhaseOf(None)
    for step in range(1, 100):
        clock[0] += seconds
        if watch.due(phase, step):
            watch.look(phase, step)
    assert heard == ["the plan"] * told


def test_a_run_has_its_overview_when_the_backbone_stands(tmp_path, monkeypatch):
    seen = {}

    class Looking(live.LivePictures):
        def ended(self, phase):
            super().ended(phase)
            seen[phase.name] = sorted(path.name for path in self.folder.samples.glob("*.png"))

    monkeypatch.setattr(workflow, "LivePictures", Looking)
    workflow.train(resolve(None, TINY), tmp_path / "run", evaluation=workflow.Evaluation((), 100))
    both = ["overview.png", "stages.png"]
    assert seen == {"backbone": ["overview.png"], "prior.1": both, "prior.2": both}
