"""A third party's plugin that misbehaves costs one line that names its package, and no other command."""

import re
import shutil

import pytest
import torch
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.errors import PluginError
from priorkit.registry import installed
from priorkit.registry.contract import CONTRACT
from priorkit.runs.folder import RunFolder
from priorkit.runs.plugin_errors import checked_log_ratio

PRIORS = """
import torch
from priorkit.core import Draw, Loss, Objective, OptimiserSettings, Prior

class Sound(Prior):
    stages = 0
    def log_ratio(self, u, *, stages=None):
        return u.new_zeros(len(u))
    def draw(self, n, sampling):
        return Draw(self.standard_normal(n, sampling.generator))

class Wide(Sound):
    def log_ratio(self, u, *, stages=None):
        return u.new_zeros(len(u), 2)

class Nowhere(Sound):
    def log_ratio(self, u, *, stages=None):
        return u.sum(1) / 0 * 0

class Short(Sound):
    def draw(self, n, sampling):
        return Draw(super().draw(n, sampling).u[:, 1:])

class Lost(Sound):
    def draw(self, n, sampling):
        return Draw(super().draw(n, sampling).u * torch.nan)

class Failing(Sound):
    def draw(self, n, sampling):
        raise IndexError("nothing\\nthere")

class Newer(Sound):
    requires_contract = {newer}

class Trained(Sound):
    stages = 1
    def __init__(self, settings, space):
        super().__init__(settings, space)
        self.shift = torch.nn.Parameter(torch.zeros(space.layout.dim))
    def objectives(self):
        return [Objective("fit", [self.shift], OptimiserSettings(), self.loss)]
    def loss(self, batch, step):
        return Loss((batch.u - self.shift).square().mean())

class Stumbling(Trained):
    def loss(self, batch, step):
        return Loss(batch.u @ self.shift[1:])

class Bare(Trained):
    def loss(self, batch, step):
        return super().loss(batch, step).value

class Rows(Trained):
    def loss(self, batch, step):
        return Loss((batch.u - self.shift).square().mean(1))

class Overflowing(Trained):
    def loss(self, batch, step):
        return Loss(super().loss(batch, step).value * torch.inf)

class Unready(Trained):
    def begin_stage(self, stage, context):
        context.positives.v

class Atonce(Sound):
    stages = 1
    def __init__(self, settings, space):
        super().__init__(settings, space)
        self.register_buffer("shift", torch.zeros(space.layout.dim))
    def begin_stage(self, stage, context):
        self.shift.copy_(context.positives.u.mean(0))

class Unfinished(Sound):
    def __init__(self, settings, space):
        raise KeyError("width")
"""
OTHERS = """
import numpy as np
from priorkit.core import Metric

def nothing(root=None):
    return "no data"

def unreadable(root=None):
    raise OSError("disc gone")

def lost(model, data, *, samples, seed):
    return {"lost": Metric(float("nan"), None, "none")}

def failing(model, data, *, samples, seed):
    raise ValueError("no idea")

def double(model, data, *, samples, seed):
    return {"reconstruction": Metric(0.0, None, "mine is better")}
"""
ENTRIES = {
    **{f"prior.{name.lower()}": f"vendor_priors:{name}" for name in ("Sound", "Wide", "Nowhere", "Short", "Lost")},
    **{f"prior.{name.lower()}": f"vendor_priors:{name}" for name in ("Stumbling", "Bare", "Rows", "Overflowing")},
    **{f"prior.{name.lower()}": f"vendor_priors:{name}" for name in ("Unready", "Atonce")},
    "prior.failing": "vendor_priors:Failing",
    "prior.newer": "vendor_priors:Newer",
    "prior.unfinished": "vendor_priors:Unfinished",
    "prior.raising": "vendor_raising:Prior",
    "prior.gaussian": "vendor_priors:Failing",
    "sampler.mala": "vendor_priors:Sound",
    "data.nothing": "vendor_others:nothing",
    "data.unreadable": "vendor_others:unreadable",
    "data.digits": "vendor_others:nothing",
    "metric.lost": "vendor_others:lost",
    "metric.failing": "vendor_others:failing",
    "metric.double": "vendor_others:double",
    "metric.raising": "vendor_raising:measure",
}
TINY = ["--backbone", "twolayer", "--set", "backbone.latents=[2,3]", "--set", "backbone.hidden=8"]
STEPS = ["--set", "trainer.backbone_steps=2", "--set", "trainer.posterior_samples=1", "--set", "engine.threads=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The distribution `vendor` 1.0 with all of the above."""
    folder = tmp_path_factory.mktemp("vendor")
    info = folder / "vendor-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[priorkit]\n" + "".join(f"{key} = {value}\n" for key, value in ENTRIES.items()))
    (folder / "vendor_priors.py").write_text(PRIORS.replace("{newer}", str(CONTRACT + 1)))
    (folder / "vendor_others.py").write_text(OTHERS)
    (folder / "vendor_raising.py").write_text("raise ImportError('libweights.so is missing')\n")
    return folder


@pytest.fixture(scope="module")
def priorkit(folder):
    """Run a command in this process where it is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for variable in ("PRIORKIT_PLUGINS", "PRIORKIT_DISABLE_PLUGINS"):
            patch.delenv(variable, raising=False)
        installed.cache_clear()
        yield lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
    installed.cache_clear()


@pytest.fixture(scope="module")
def run_folder(priorkit, tmp_path_factory):
    """A run with the third party's sound prior."""
    out = tmp_path_factory.mktemp("run") / "sound"
    done = priorkit("train", *TINY, "--prior", "sound", *STEPS, "--out", out)
    assert done.exit_code == 0, done.stderr
    return out


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("raising", "its import failed with ImportError: libweights.so is missing"),
        ("newer", f"it needs contract {CONTRACT + 1}, but this version of priorkit has {CONTRACT}"),
        ("unfinished", "its construction failed with KeyError: 'width'"),
        ("wide", "log_ratio of u (2, 5) must return the shape (2,), got (2, 2)"),
        ("nowhere", "log_ratio is NaN or infinite near the origin"),
        ("short", "draw(100).u must have the shape (100, 5), got (100, 4)"),
        ("lost", "all of 100 samples are NaN or infinite"),
        ("failing", "draw failed with IndexError: nothing there"),
    ],
)
def test_a_prior_costs_its_run_one_line_that_names_the_package(priorkit, tmp_path, prior, message):
    done = priorkit("train", *TINY, "--prior", prior, *STEPS, "--out", tmp_path / "run")
    assert done.exit_code == 3
    told = [line for line in done.stderr.splitlines() if line.startswith("priorkit: ")]
    assert len(told) == 1 and message in told[0] and "vendor 1.0" in told[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("prior", "code", "message"),
    [
        ("stumbling", 3, "loss failed with RuntimeError: size mismatch"),
        ("bare", 3, "objective 'fit' must return a priorkit.core.Loss with one number, Loss(value), got Tensor."),
        ("rows", 3, "objective 'fit' must return a priorkit.core.Loss with one number, Loss(value), got one of the shape"),
        ("unready", 3, "begin_stage failed with AttributeError: 'Latents' object has no attribute 'v' (vendor_priors"),
        ("overflowing", 4, "consecutive steps up to step 2 had a non-finite loss or gradient"),
    ],
)
def test_a_training_that_goes_wrong_costs_one_line_that_names_the_package(priorkit, tmp_path, prior, code, message):
    steps = [*STEPS, "--set", "trainer.prior_steps=2", "--set", "engine.patience=2"]
    done = priorkit("train", *TINY, "--prior", prior, *steps, "--out", tmp_path / "run")
    assert done.exit_code == code, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("priorkit: ")]
    assert len(told) == 1 and message in told[0] and f"plugin prior.{prior} of vendor 1.0" in told[0]
    assert "Traceback" not in done.stderr


def test_debug_shows_where_a_loss_failed(priorkit, tmp_path):
    steps = [*STEPS, "--set", "trainer.prior_steps=2"]
    done = priorkit("--debug", "train", *TINY, "--prior", "stumbling", *steps, "--out", tmp_path / "run")
    assert "Traceback" in done.stderr and "vendor_priors.py" in done.stderr


def test_a_prior_that_is_fitted_at_once_trains(priorkit, tmp_path):
    steps = [*STEPS, "--set", "trainer.prior_steps=1000000"]
    done = priorkit("train", *TINY, "--prior", "atonce", *steps, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr


def test_a_label_advises_no_option_that_the_prior_lacks(priorkit, run_folder, tmp_path):
    done = priorkit("sample", run_folder, "--label", "3", "--out", tmp_path / "x.png")
    assert done.exit_code == 2
    assert "--label 3: this prior has learnt no labels, and has no option `labels`; leave the label out." in done.stderr
    assert "prior.labels" not in done.stderr


def test_weights_that_no_longer_fit_are_told_with_both_versions(priorkit, run_folder, folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    weights = {"drift": torch.zeros(5)}
    RunFolder(run).save_weights("prior", weights, RunFolder(run).checksums())
    (run / "MANIFEST.json").unlink()
    done = priorkit("sample", run, "--out", tmp_path / "x.png")
    assert done.exit_code == 3 and "Traceback" not in done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("priorkit: ")]
    assert "the saved weights do not fit plugin prior.sound of vendor 1.0: nothing here has 'drift'." in told
    assert "made with vendor 1.0, the installed version, so either" in told
    config = run / "config.yaml"
    config.write_text(re.sub(r"(?m)^(  vendor:).*$", r"\1 '0.9'", config.read_text()))
    done = priorkit("sample", run, "--out", tmp_path / "x.png")
    assert "made with vendor 0.9, and 1.0 is installed: install vendor==0.9, or train the run again." in done.stderr


@pytest.mark.parametrize("name", ["fullcov", "priorkit-fullcov:fullcov", "priorkit_fullcov:gaussian"])
def test_a_run_whose_package_is_gone_says_which(priorkit, run_folder, tmp_path, name):
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / "MANIFEST.json").unlink()
    text = (run / "config.yaml").read_text().replace("name: sound", f"name: {name}")
    (run / "config.yaml").write_text(text.replace("  vendor: ", "  priorkit-fullcov: "))
    done = priorkit("sample", run, "--out", tmp_path / "x.png")
    assert done.exit_code == 2 and "did you mean" not in done.stderr
    said = f"prior.name: unknown prior {name!r}: the run was made with priorkit-fullcov 1.0, which is not installed; install"
    assert f"{said} priorkit-fullcov==1.0." in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "plugin data.nothing of vendor 1.0 returned str, not a priorkit.data.Dataset"),
        ("unreadable", "plugin data.unreadable of vendor 1.0 failed with OSError: disc gone"),
    ],
)
def test_data_that_are_none_cost_one_line(priorkit, tmp_path, name, message):
    done = priorkit("train", *TINY, "--prior", "sound", "--data", name, *STEPS, "--out", tmp_path / "run")
    assert done.exit_code == 3 and message in done.stderr and "Traceback" not in done.stderr


def test_metrics_that_fail_cost_a_line_each_and_no_figure(priorkit, run_folder, caplog):
    done = priorkit("evaluate", run_folder, "--metrics", "lost,failing,double,reconstruction", "--samples", "20", "--json")
    assert done.exit_code == 0, done.stderr
    assert '"reconstruction"' in done.stdout and '"lost"' not in done.stdout and "mine is better" not in done.stdout
    for name, why in (("lost", "not finite"), ("failing", "ValueError: no idea"), ("double", "names others have")):
        (line,) = [message for message in caplog.messages if message.startswith(f"metric {name}")]
        assert why in line and "vendor 1.0" in line
    broken = priorkit("evaluate", run_folder, "--metrics", "raising")
    assert broken.exit_code == 3 and "libweights.so" in broken.stderr


def test_a_taken_name_costs_one_line_and_no_command(priorkit, tmp_path):
    out = tmp_path / "run"
    done = priorkit("train", *TINY, "--prior", "gaussian", "--sampler", "mala", *STEPS, "--out", out)
    assert done.exit_code == 0, done.stderr
    listed = priorkit("plugins", "list").stdout
    for key, kind in (("prior.gaussian", "prior"), ("sampler.mala", "sampler")):
        name = key.partition(".")[2]
        said = f"{name!r} is a built-in {kind} of priorkit; write 'vendor:{name}' for this one"
        assert f"{key} of vendor 1.0: {said}" in listed
    for command in (["evaluate", out, "--samples", "20"], ["sample", out, "--n", "4", "--out", tmp_path / "x.png"]):
        assert priorkit(*command).exit_code == 0
    theirs = priorkit("train", *TINY, "--prior", "vendor:gaussian", *STEPS, "--out", tmp_path / "theirs")
    assert theirs.exit_code == 3 and "draw failed with IndexError" in theirs.stderr


def test_other_commands_go_on(priorkit, run_folder, tmp_path):
    assert priorkit("--version").exit_code == 0
    listed = priorkit("plugins", "list")
    assert listed.exit_code == 0
    taken = "data.digits of vendor 1.0: 'digits' is a built-in data of priorkit; write 'vendor:digits' for this one"
    for part in ("libweights.so", "contract", taken):
        assert part in listed.stdout
    assert priorkit("sample", run_folder, "--n", "4", "--out", tmp_path / "x.png").exit_code == 0
    assert priorkit("plugins", "check", "wide", "--json").exit_code == 1


def test_a_model_checks_log_ratio_too():
    class Odd(torch.nn.Module):
        implementation = property(type)

    with pytest.raises(PluginError, match=r"Odd: log_ratio of u \(4, 3\) must return the shape \(4,\), got \(4, 1\)"):
        checked_log_ratio(Odd(), torch.zeros(4, 1), torch.zeros(4, 3))
