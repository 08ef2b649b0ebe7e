"""Memory that does not suffice is told as that, and not as a mistake of the plugin that happened to ask for it."""

from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.core import DataSpec, Elbo, FeatureExtractor, Sampler
from priorkit.core.data_source import as_source
from priorkit.data.declared import Named
from priorkit.data.examples import Points
from priorkit.metrics import extracted
from priorkit.metrics.likelihood import elbo
from priorkit.runs.plugin_errors import blamed, traced
from priorkit.runtime.memory import in_parts, ran_out
from priorkit.workflows.measuring import metric_entries
from priorkit.workflows.measuring.shared_work import SharedWork

ERRORS = [
    MemoryError("cannot allocate array"),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 140737488355328 bytes."),
    RuntimeError("CUDA error: out of memory"),
]


class Vendor(Sampler):
    """No plugin of priorkit's own."""

    def run(self, log_prob, start, **asked):
        raise asked["error"]


class Large(FeatureExtractor):
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
        return SimpleNamespace(key=f"{kind}.{name}", name=name, origin="vendor 1.0", own=False)

    def load_entry(self, entry):
        def raising(*arguments, **named):
            raise self.error

        return raising


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_plugin_is_blamed(error, monkeypatch):
    assert ran_out(error)
    with pytest.raises(type(error)), blamed(Vendor, "draw"):
        raise error
    with pytest.raises(type(error)), traced([Vendor]):
        Vendor.run(None, None, None, error=error)
    with pytest.raises(type(error)):
        extracted(Large(error), [torch.zeros(2, 1, 4, 4, dtype=torch.uint8)])
    registry = Registry(error)
    monkeypatch.setattr(metric_entries, "installed", lambda: registry)
    entry = registry.resolve("data", "mine")
    with pytest.raises(type(error)):
        Named("mine", entry, as_source(registry.load_entry(entry)), "").open()
    with pytest.raises(type(error)):
        metric_entries.measured_figures(["mine"], SharedWork(None, None, samples=2, seed=0))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_command_tells_of_it_in_one_line(error, monkeypatch):
    def raising():
        raise error

    monkeypatch.setattr("priorkit.registry.installed", raising)
    done = CliRunner().invoke(app, ["plugins", "list"])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"priorkit: out of memory ({type(error).__name__}: ") and "fewer samples" in line


def test_another_error_is_a_defect_and_keeps_its_traceback(monkeypatch):
    def raising():
        raise RuntimeError("size mismatch")

    monkeypatch.setattr("priorkit.registry.installed", raising)
    assert not ran_out(RuntimeError("size mismatch"))
    assert isinstance(CliRunner().invoke(app, ["plugins", "list"]).exception, RuntimeError)


@pytest.mark.parametrize("fits", [1, 3, 4, 7, 20])
def test_halves_are_taken_until_they_fit_and_the_log_says_so(fits, caplog):
    tried = []

    def compute(rows):
        tried.append(len(rows))
        if len(rows) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * rows

    rows = torch.arange(13.0)[:, None]
    assert torch.equal(in_parts(compute, rows, "images"), 2 * rows)
    assert sum(count for count in tried if count <= fits) == 13
    told = ["out of memory with 13 images at once: 7 are used"] if fits < 13 else []
    assert caplog.messages[:1] == told


def test_one_row_that_does_not_fit_and_other_errors_go_on():
    def compute(rows):
        raise MemoryError if len(rows) == 1 else torch.OutOfMemoryError

    with pytest.raises(MemoryError):
        in_parts(compute, torch.zeros(4, 1), "images")
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda rows: rows / (1 // 0), torch.zeros(4, 1), "images")


def small(most):
    """What a bound asks of a backbone; of at most so many rows at once."""

    def bound(x, *, generator=None):
        if len(x) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return Elbo(-x.square().sum(1), x.abs(), False, "a density")

    return SimpleNamespace(elbo=bound, device=torch.device("cpu"), spec=DataSpec("points", (2,), None))


def test_a_bound_is_the_same_whatever_fits(caplog):
    examples = Points(torch.randn(11, 2, generator=torch.Generator().manual_seed(0)))
    whole, parts = (elbo(small(most), examples) for most in (100, 3))
    assert {name: figure.value for name, figure in whole.items()} == {name: figure.value for name, figure in parts.items()}
    assert "out of memory with 11 examples at once: 6 are used" in caplog.messages
