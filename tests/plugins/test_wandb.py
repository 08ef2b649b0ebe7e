"""The logger of Weights & Biases, against a stand-in that keeps the calls, and the real library where it is installed."""

import sys
from types import SimpleNamespace

import pytest
from priorkit_wandb import WandbLogger

from priorkit.core import Logger
from priorkit.errors import UsageError
from priorkit.registry import hooks


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the module; its runs, in order."""
    begun = []

    class Run:
        def __init__(self, given):
            self.given, self.id = given, given["id"] or f"made-{len(begun)}"
            self.defined, self.logged, self.summary, self.settings, self.finished = {}, [], {}, {}, []
            self.config = SimpleNamespace(update=lambda tree, allow_val_change: self.settings.update(tree))

        def define_metric(self, name, step_metric=None, hidden=None):
            self.defined[name] = step_metric

        def log(self, values):
            self.logged.append(values)

        def finish(self, exit_code):
            self.finished.append(exit_code)

    def init(**given):
        begun.append(Run(given))
        return begun[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return begun


def summary(**values):
    figures = {name: {"value": value, "spread": spread, "protocol": ""} for name, (value, spread) in values.items()}
    return {"metrics": figures}


def test_figures_are_over_their_phases_steps(wandb, tmp_path):
    logger = WandbLogger(tmp_path)
    assert isinstance(logger, Logger)
    plugins = hooks([logger])
    plugins.hook.priorkit_run_begin(folder=tmp_path, config={"seed": 3, "data": {"root": "/home/me/sets"}})
    for phase in ("backbone", "prior.1"):
        for step in (0, 50):
            plugins.hook.priorkit_log(phase=phase, step=step, figures={"loss": 0.5 * step})
    plugins.hook.priorkit_run_end(folder=tmp_path, summary=summary(fd=(2.5, 0.1), nll=(1.0, None), bad=(float("nan"), None)))
    logger.close()
    (run,) = wandb
    assert run.settings == {"seed": 3, "data": {"root": "sets"}}
    assert run.logged[1] == {"backbone/step": 50, "backbone/loss": 25.0}
    assert run.logged[2] == {"prior.1/step": 0, "prior.1/loss": 0.0}
    assert run.defined["prior.1/*"] == "prior.1/step" and len(run.defined) == 4
    assert run.summary == {"fd": 2.5, "fd_spread": 0.1, "nll": 1.0}
    assert run.finished == [0]
    assert (run.given["project"], run.given["name"], run.given["dir"]) == ("priorkit", tmp_path.name, str(tmp_path))


def test_a_resumed_run_goes_on_and_an_incomplete_one_is_marked(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    for _ in range(2):
        WandbLogger(tmp_path).close()
    first, second = wandb
    assert (first.given["id"], second.given["id"]) == (None, first.id)
    assert second.given["resume"] == "allow" and second.given["project"] == "mine"
    assert first.finished == [1]


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"pip install priorkit\[wandb\]"):
        WandbLogger(tmp_path)


def test_a_refused_beginning_is_one_paragraph(tmp_path, monkeypatch):
    def refuse(**given):
        raise RuntimeError("no key\nconfigured")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse))
    with pytest.raises(UsageError, match=r"RuntimeError: no key configured.*WANDB_MODE=offline"):
        WandbLogger(tmp_path)


def test_the_real_library_takes_the_calls(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(tmp_path)
    # Unguarded, so that a failing call fails the test.
    logger.priorkit_run_begin(config={"seed": 0, "prior": {"name": "gaussian"}})
    logger.priorkit_log(phase="prior.1", step=0, figures={"loss": 1.0})
    logger.priorkit_run_end(summary=summary(fd=(2.5, 0.1)))
    logger.close()
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
