"""`plugins new` and `plugins check`: what is written works at once, under every command that its kind has a place in."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from editable_install import installed_like
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.errors import UsageError
from priorkit.registry import installed
from priorkit.registry.scaffold import TEMPLATES, scaffold


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A package of each kind, named `my-KIND`."""
    root = tmp_path_factory.mktemp("packages")
    return {kind: scaffold(f"my-{kind}", kind, root / kind) for kind in TEMPLATES}


@pytest.fixture(scope="module")
def priorkit(written):
    """Run a command in this process where all of them are installed."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in written.values():
            patch.syspath_prepend(str(installed_like(folder)))
        for variable in ("PRIORKIT_PLUGINS", "PRIORKIT_DISABLE_PLUGINS"):
            patch.delenv(variable, raising=False)
        installed.cache_clear()
        yield lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
    installed.cache_clear()


def test_what_is_written_is_listed_and_healthy(priorkit):
    listed = json.loads(priorkit("plugins", "list", "--json").stdout)["plugins"]
    mine = {item["kind"]: item for item in listed if item["name"].startswith("my-")}
    assert set(mine) == set(TEMPLATES)
    assert {(item["health"], item["version"]) for item in mine.values()} == {("ok", "0.1.0")}


def test_what_is_written_passes_its_own_tests(written):
    # In a process of its own, as its author would; the plugins of all kinds are checked in tests/testing.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=written["data"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_check_tells_what_came_of_every_check(priorkit):
    done = priorkit("plugins", "check", "my-sampler")
    assert done.exit_code == 0, done.stderr
    assert "sampler.my-sampler of priorkit-my-sampler 0.1.0" in done.stdout
    assert "passed  moments_of_a_gaussian_are_right" in done.stdout
    assert "14 passed, 0 failed, 0 not applicable" in done.stdout


def test_check_fails_with_1_and_says_why(priorkit):
    done = priorkit("plugins", "check", "sampler.my-sampler", "--set", "sampler.steps=1", "--json")
    assert done.exit_code == 1
    failed = [item for item in json.loads(done.stdout)["checks"] if item["outcome"] == "failed"]
    assert [item["check"] for item in failed] == ["moments_of_a_gaussian_are_right"]
    assert "standard deviations" in failed[0]["reason"]
    assert priorkit("plugins", "check", "my-sampler", "--set", "prior.steps=1").exit_code == 2


def test_all_of_them_train_together_and_are_measured(priorkit, tmp_path):
    out = tmp_path / "run"
    parts = ["--backbone", "my-backbone", "--prior", "my-prior", "--sampler", "my-sampler", "--trainer", "my-trainer"]
    steps = ["--set", "trainer.backbone_steps=20", "--set", "trainer.prior_steps=20", "--set", "engine.threads=1"]
    done = priorkit("train", *parts, "--data", "my-data", *steps, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert json.loads((out / "summary.json").read_text())["prior"] == "my-prior"
    done = priorkit("evaluate", out, "--metrics", "my-metric,elbo", "--samples", "50", "--json")
    figures = json.loads(done.stdout)["metrics"]
    assert {"my_metric", "elbo_bound"} & set(figures) and "data:" in figures["my_metric"]["protocol"]
    assert priorkit("sample", out, "--n", "4", "--out", tmp_path / "x.png").exit_code == 0
    unknown = priorkit("evaluate", out, "--metrics", "my-metrik")
    assert unknown.exit_code == 2 and "my-metric" in unknown.stderr


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Bad Name", "prior", "starts with a lower-case letter"),
        ("gaussian", "prior", "already declared by priorkit"),
        ("gaussian", "sampler", "already installed"),
        ("mine", "priors", "did you mean 'prior'"),
        ("mine", "logger", "unknown kind"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path, name, kind, message):
    with pytest.raises(UsageError, match=message):
        scaffold(name, kind, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        scaffold("mine", "prior", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_package_that_could_not_be_written_does_not_refuse_the_next_try(tmp_path, monkeypatch):
    write, written = Path.write_text, []

    def full(path, *given, **options):
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(UsageError, match="No space left"):
            scaffold("mine", "prior", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    assert scaffold("mine", "prior", tmp_path / "mine").is_dir()
