"""A run that is stopped, resumed, or resumed after its end."""

import json
from typing import ClassVar

import pytest
import torch
from stopping import stop_at
from torch import nn
from typer.testing import CliRunner

from priorkit.config import RunConfig, resolve
from priorkit.core import Logger, Loss, Objective, OptimiserSettings, Prior
from priorkit.errors import InterruptedRunError
from priorkit.registry import hookimpl, installed
from priorkit.workflows.training import run_phases
from priorkit.workflows.training import train as workflow
from priorkit.workflows.training.register import register


def files(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("weights/*.safetensors"), folder / "metrics.jsonl"]}


def fit(folder, **options):
    return workflow.fit(RunConfig.read(folder / "config.yaml"), folder, resume=True, **options)


@pytest.mark.parametrize(("phase", "step"), [("backbone", 14), ("prior.2", 21)])
def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path, tiny, phase, step):
    """Dropout draws from the global state, the flips and the posterior from streams of their own."""
    config = resolve(None, [*tiny, "trainer.flip=true"])
    before = torch.get_rng_state()
    workflow.fit(config, tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), before)

    with pytest.raises(InterruptedRunError):
        workflow.fit(config, tmp_path / "stopped", on_log=stop_at(phase, step))
    assert (tmp_path / "stopped" / "resume" / "kept").exists() == (phase != "backbone")
    torch.rand(3)
    fit(tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


class Moved(Prior):
    """Notes its parameter whenever its stage begins."""

    begun: ClassVar[list[float]] = []

    def __init__(self, settings, space):
        super().__init__(settings, space)
        self.offset = nn.Parameter(torch.zeros(space.layout.dim))

    def log_ratio(self, u, *, stages=None):
        return u @ self.offset

    def begin_stage(self, stage, context):
        self.begun.append(float(self.offset.detach().abs().sum()))

    def objectives(self):
        return [Objective("fit", [self.offset], OptimiserSettings(lr=0.1), self._loss)]

    def _loss(self, batch, step):
        return Loss((self.offset - 1).square().sum())


def test_a_stage_begins_again_with_the_weights_of_the_checkpoint(tmp_path, tiny):
    register("prior.moved", Moved)
    shared = [option for option in tiny if not option.startswith("prior.")]

    try:
        with pytest.raises(InterruptedRunError):
            workflow.fit(resolve(None, [*shared, "prior=moved"]), tmp_path / "run", on_log=stop_at("prior.1", 21))
        fit(tmp_path / "run")
    finally:
        installed.cache_clear()
    first, again = Moved.begun
    assert first == 0 and again > 1


class Recorder(Logger):
    """Notes what it hears."""

    heard: ClassVar[list[str]] = []

    def __init__(self, folder):
        super().__init__(folder)
        self.heard.append("made")

    @hookimpl
    def priorkit_run_begin(self):
        self.heard.append("begin")

    @hookimpl
    def priorkit_run_end(self, summary):
        self.heard.append("end")

    def close(self):
        self.heard.append("closed")


class OnlyRecorder:
    def load(self, kind, name):
        return Recorder


def test_a_picture_that_fails_loses_nothing_and_a_finished_run_is_measured_again(tmp_path, tiny, monkeypatch):
    def broken(session, **options):
        raise RuntimeError("no picture")

    drawn = []
    monkeypatch.setattr(workflow, "measure", lambda model, data, **options: {})
    monkeypatch.setattr(workflow, "draw_pictures", broken)
    monkeypatch.setattr(run_phases, "installed", OnlyRecorder)
    monkeypatch.setattr(Recorder, "heard", [])
    config, folder = resolve(None, [*tiny, "engine.loggers=[tensorboard]"]), tmp_path / "run"
    with pytest.raises(RuntimeError, match="no picture"):
        workflow.train(config, folder)
    assert Recorder.heard == ["made", "begin", "closed"]
    assert json.loads((folder / "summary.json").read_text())["run"] == str(folder)
    assert not (folder / "resume" / "kept").exists()
    before = files(folder)
    monkeypatch.setattr(workflow, "draw_pictures", lambda session, **options: drawn.append(session))
    (folder / "summary.json").unlink()
    workflow.train(RunConfig.read(folder / "config.yaml"), folder, resume=True)
    assert Recorder.heard[3:] == ["made", "begin", "end", "closed"]
    assert files(folder) == before
    assert drawn and (folder / "summary.json").exists()


@pytest.mark.parametrize(
    "option", [["--set", "seed=1"], ["--seed", "1"], ["--from", "other"], ["--backbone", "nvae"], ["--out", "x"]]
)
def test_resume_takes_no_other_option(tmp_path, tiny, option):
    from priorkit.cli import app

    resolve(None, tiny).write(tmp_path / "config.yaml")
    result = CliRunner().invoke(app, ["train", "--resume", str(tmp_path), *option])
    assert result.exit_code == 2
    assert option[0] in result.output
