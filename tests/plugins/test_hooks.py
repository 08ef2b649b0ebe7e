"""Listeners hear a run and cannot stop it."""

import logging
import sys
from pathlib import Path

import pytest

from priorkit.core import Logger
from priorkit.errors import PluginError, UsageError
from priorkit.registry import hookimpl, hooks, installed


class Listening:
    def __init__(self):
        self.heard = []

    @hookimpl
    def priorkit_log(self, step, figures):
        self.heard.append((step, figures))

    @property
    def costly(self):
        raise RuntimeError("a property must not be read")


class Failing:
    calls = 0

    @hookimpl
    def priorkit_log(self, phase, step, figures):
        self.calls += 1
        raise ValueError("no space left")


def test_listeners_take_the_arguments_they_want():
    listener = Listening()
    plugins = hooks([listener, listener, object()])
    plugins.hook.priorkit_log(phase="prior.1", step=3, figures={"loss": 1.0})
    plugins.hook.priorkit_run_begin(folder=Path(), config={})
    assert listener.heard == [(3, {"loss": 1.0})]


def test_a_failing_listener_is_told_once_and_does_not_stop_the_others(caplog):
    before, failing, after = Listening(), Failing(), Listening()
    plugins = hooks([before, failing, after])
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            plugins.hook.priorkit_log(phase="backbone", step=step, figures={})
    assert len(before.heard) == len(after.heard) == 3
    assert failing.calls == 1
    assert len(caplog.records) == 1
    assert "no space left" in caplog.text
    assert "Failing" in caplog.text


class Misspelt:
    @hookimpl
    def priorkit_lgo(self, step):
        """No such hook."""


class Demanding:
    @hookimpl
    def priorkit_log(self, colour):
        """No such argument."""


@pytest.mark.parametrize("component", [Misspelt(), Demanding()])
def test_hooks_that_do_not_exist_are_refused_before_the_run(component):
    with pytest.raises(PluginError, match="wrong signature"):
        hooks([component])


def test_tensorboard_writes_scalars(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = installed().load("logger", "tensorboard")(tmp_path)
    assert isinstance(logger, Logger)
    plugins = hooks([logger])
    for step in range(3):
        plugins.hook.priorkit_log(phase="prior.1", step=step, figures={"loss": 0.5 * step})
    plugins.hook.priorkit_run_end(folder=tmp_path, summary={})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("prior.1/loss")] == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_absent_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(UsageError, match=r"pip install priorkit\[tensorboard\]"):
        installed().load("logger", "tensorboard")(tmp_path)
