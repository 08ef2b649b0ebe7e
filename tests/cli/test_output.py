"""What commands print, and where it cannot be printed."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from priorkit.cli import terminal
from priorkit.config import resolve
from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.report.console import plain_console
from priorkit.report.progress import PlainProgress, showing
from priorkit.report.table import backbone_table, protocol_table
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training.train import train

NAMES = ("runs/lr[a=1]", "runs/[old]/x", "runs/a[/b]c", "runs/[red]:smile:", "runs/[/]")


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_printed_as_it_is(name):
    """Whatever console it goes to, and on one line however long."""
    out, long = io.StringIO(), Path("x" * 200) / name
    folder = SimpleNamespace(samples=long / "samples", summary=long / "summary.json")
    config = SimpleNamespace(prior=SimpleNamespace(name="gaussian"))
    trained = SimpleNamespace(session=SimpleNamespace(folder=folder, config=config), figures={}, seconds={})
    terminal.tell(Console(file=out, width=80), trained)
    assert f"{long}/samples/overview.png" in out.getvalue() and f"{long}/summary.json" in out.getvalue()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("terminal_like", [True, False])
def test_titles_of_progress_and_cells_of_tables_are_no_markup(name, terminal_like):
    out = io.StringIO()
    console = plain_console(file=out, width=300, force_terminal=terminal_like)
    with showing(console) as progress:
        if isinstance(progress, PlainProgress):
            progress.every = -1.0
        for _ in progress([1], 1, name):
            pass
    console.print(protocol_table({"elbo": Metric(1.0, None, f"two sources ({name})")}))
    assert out.getvalue().count(name) >= (1 if terminal_like else 2), out.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["plugins", "list"], ["plugins", "list", "--json"], ["--help"]])
def test_a_full_standard_output_is_told_in_a_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "priorkit", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "priorkit: cannot write to standard output (No space left on device).\n"


def test_a_reader_that_has_had_enough():
    command = f"{sys.executable} -m priorkit plugins list --json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "{\n" and done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "{run}", "--n", "999999999999", "--out", "{out}.npy"],
        ["sample", "{run}", "--n", "999999999999", "--out", "{out}.png"],
        ["sample", "{run}", "--n", "999999999999", "--progressive", "--out", "{out}.png"],
        ["sample", "{run}", "--n", "8", "--keep-top", "1", "--tops", "999999999999", "--out", "{out}.npy"],
        ["evaluate", "{run}", "--samples", "999999999999", "--metrics", "energy_distance"],
    ],
)
def test_more_samples_than_memory_holds_are_refused_at_once(call, finished, tmp_path, arguments):
    given = [text.format(run=finished, out=tmp_path / "x") for text in arguments]
    done = call(*given)
    assert done.exit_code == 2 and "GiB, and this machine has" in done.output, done.output
    assert not list(tmp_path.iterdir())


def test_training_is_not_begun_for_figures_of_more_samples_than_memory_holds(tmp_path):
    with pytest.raises(UsageError, match="this machine has"):
        train(
            resolve(None, ["backbone=twolayer", "prior=gaussian"]), tmp_path / "run", evaluation=Evaluation(samples=10**12)
        )
    assert list((tmp_path / "run").iterdir()) == []


FIGURES = """
from priorkit.cli.app import app, main
from priorkit.metrics import Metric
from priorkit.report.console import plain_console
from priorkit.report.table import backbone_table


@app.command("figures")
def figures(place: str) -> None:
    plain_console().print(backbone_table({"elbo": Metric(-5.25, 0.5, "nats")}))
    plain_console().print(place)


main()
"""


@pytest.mark.parametrize(
    ("encoding", "value", "place"),
    [
        ("ascii", b"-5.25 ?0.5", b"a???"),
        ("latin-1", b"-5.25 \xb10.5", b"a???"),
        ("utf-8", "-5.25 ±0.5".encode(), b"a\xe2\x82\xff"),
    ],
)
def test_what_a_terminal_cannot_show_costs_no_figure(encoding, value, place):
    """Bytes of a file's name that are no text are written as they are where they can be."""
    command = [sys.executable, "-c", FIGURES, "figures", b"a\xe2\x82\xff"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert value in done.stdout and place in done.stdout, done.stdout


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_without_a_width_shows_every_figure(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    out = io.StringIO()
    plain_console(file=out).print(backbone_table({"reconstruction": Metric(-5.25, 0.5, "nats")}))
    assert "reconstruction" in out.getvalue() and "-5.25 ±0.5" in out.getvalue()


def test_a_backend_of_windows_that_is_not_there_is_not_asked_for(tmp_path):
    command = [sys.executable, "-m", "priorkit", "report", str(tmp_path), "--out", str(tmp_path / "a.html")]
    environment = {**os.environ, "MPLBACKEND": "no-such-backend"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "not a run" in done.stderr, done.stderr
