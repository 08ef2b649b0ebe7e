"""Memory that does not suffice is told as that, and not as a mistake of the plugin that happened to ask for it."""

import pytest
import torch
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.core import Sampler
from priorkit.core.memory import ran_out
from priorkit.data import names
from priorkit.metrics.extractor import Extractor, extracted
from priorkit.runs.conduct import blamed, traced
from priorkit.workflows import foreign_metrics

ERRORS = [
    MemoryError("cannot allocate array"),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 140737488355328 bytes."),
    RuntimeError("CUDA error: out of memory"),
]


class Stranger(Sampler):
    """No plugin of priorkit's own."""

    def run(self, log_prob, start, **asked):
        raise asked["error"]


class Large(Extractor):
    """Features that need more memory than there is."""

    name = "large"

    def __init__(self, error):
        super().__init__()
        self.error = error

    def __call__(self, images):
        raise self.error


class Registry:
    """A registry whose only plugin raises an error."""

    def __init__(self, error):
        self.error = error

    def resolve(self, kind, name):
        return type("Entry", (), {"key": f"{kind}.{name}", "origin": "stranger 1.0"})

    def load_entry(self, entry):
        def raising(*arguments, **named):
            raise self.error

        return raising


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_plugin_is_blamed(error, monkeypatch):
    assert ran_out(error)
    with pytest.raises(type(error)), blamed(Stranger, "draw"):
        raise error
    with pytest.raises(type(error)), traced([Stranger]):
        Stranger.run(None, None, None, error=error)
    with pytest.raises(type(error)):
        extracted(Large(error), [torch.zeros(2, 1, 4, 4, dtype=torch.uint8)])
    for module in (names, foreign_metrics):
        monkeypatch.setattr(module, "installed", lambda: Registry(error))
    with pytest.raises(type(error)):
        names._of_plugin("mine", None)
    with pytest.raises(type(error)):
        foreign_metrics.figures_of_plugins(["mine"], None, None, samples=2, seed=0)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_command_tells_of_it_in_one_line(error, monkeypatch):
    def raising():
        raise error

    monkeypatch.setattr("priorkit.plugins.installed", raising)
    done = CliRunner().invoke(app, ["plugins", "list"])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"priorkit: memory does not suffice ({type(error).__name__}: ") and "fewer samples" in line


def test_another_error_is_a_defect_and_keeps_its_traceback(monkeypatch):
    def raising():
        raise RuntimeError("size mismatch")

    monkeypatch.setattr("priorkit.plugins.installed", raising)
    assert not ran_out(RuntimeError("size mismatch"))
    assert isinstance(CliRunner().invoke(app, ["plugins", "list"]).exception, RuntimeError)
