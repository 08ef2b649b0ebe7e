"""`priorkit train --dry-run`, `--minutes` and `--metrics`."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import TINY

from priorkit.config import RunConfig, resolve
from priorkit.errors import InterruptedRunError, UsageError
from priorkit.workflows.training import begin, budget
from priorkit.workflows.training import train as train_module
from priorkit.workflows.training.pilot import Cost


def test_a_dry_run_tells_the_time_and_makes_nothing(call, tmp_path):
    result = call("train", *TINY, "--out", tmp_path / "run", "--dry-run", "--metrics", "quick")
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "metrics and pictures" in told and "steps: backbone 60, prior.1 30, prior.2 30" in told
    assert list(tmp_path.iterdir()) == []


def test_minutes_choose_the_steps_and_the_run_records_them(call, tmp_path, monkeypatch):
    seconds = {"backbone": 4.0, "prior.1": 1.0}
    cost = Cost(seconds, dict.fromkeys(seconds, 0.0), 60.0, planned={"backbone": 60, "prior.1": 60})
    monkeypatch.setattr(budget, "measured_cost", lambda *_: cost)
    result = call("train", *TINY, "--out", tmp_path / "run", "--minutes", "10")
    assert result.exit_code == 0, result.output
    config = (tmp_path / "run" / "config.yaml").read_text()
    steps = int(config.split("backbone_steps: ")[1].split()[0])
    assert 75 <= steps <= 81
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "fd_digits_heldout" in summary["metrics"] and "gap_auc" not in summary["metrics"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--minutes", "0"], "--minutes 0.0: minutes: expected number | none > 0"),
        (["--minutes", "nan"], "--minutes nan: minutes: "),
        (["--figures", "some"], "--metrics some: evaluation.metrics: expected auto | none | quick | all"),
        (["--minutes", "5", "--devices", "2"], "measure one process; leave out --devices"),
    ],
)
def test_senseless_plans_are_refused_before_anything_is_made(call, tmp_path, options, told):
    result = call("train", *TINY, "--out", tmp_path / "run", *options)
    assert result.exit_code == 2 and told in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_evaluates_what_its_plan_said(call, tmp_path, monkeypatch):
    """Also where the time was given in the configuration, and with fewer samples than were asked for."""
    seconds = {"backbone": 4.0, "prior.1": 1.0, "prior.2": 1.0}
    cost = Cost(seconds, dict.fromkeys(seconds, 0.0), 600.0, planned={"backbone": 60, "prior.1": 30, "prior.2": 30})
    monkeypatch.setattr(budget, "measured_cost", lambda *_: cost)
    monkeypatch.setattr(train_module, "measure", stopped)
    result = call("train", *TINY, "--out", tmp_path / "run", "--set", "minutes=10", "--set", "evaluation.samples=2000")
    assert result.exit_code == 130, result.output
    monkeypatch.undo()
    assert call("train", "--resume", tmp_path / "run").exit_code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["samples"] < 2_000 and "gap_auc" not in summary["metrics"]
    recorded = RunConfig.read(tmp_path / "run" / "config.yaml")
    assert recorded.minutes is None and recorded.evaluation.samples == summary["samples"]


def test_the_backbone_of_another_run_is_read_once(call, tmp_path, finished, monkeypatch):
    read = []

    def known(source, config, data):
        read.append(source)
        return trained_backbone(source, config, data)

    trained_backbone = begin.trained_backbone
    for module in (begin, budget):
        monkeypatch.setattr(module, "trained_backbone", known)
    cost = Cost({"prior.1": 9.0}, {"prior.1": 0.0}, 60.0, planned={"prior.1": 60})
    monkeypatch.setattr(budget, "measured_cost", lambda *_: cost)
    options = [
        "--prior",
        "multistage",
        *TINY[6:],
        "--set",
        "trainer.backbone_steps=0",
        "--metrics",
        "none",
        "--minutes",
        "9",
    ]
    result = call("train", "--from", finished, *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert read == [finished]
    theirs, ours = (load_file(run / "weights" / "backbone.safetensors") for run in (finished, tmp_path / "run"))
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


def stopped(*_, **__):
    raise InterruptedRunError("stopped", 2)


def test_other_commands_do_not_choose_steps_by_a_time(call, tmp_path):
    result = call("compare", "--priors", "gaussian", "--set", "minutes=5", "--out", tmp_path / "compared")
    assert result.exit_code == 2 and "leave out minutes" in " ".join(result.output.split())
    with pytest.raises(UsageError, match="only `priorkit train`"):
        train_module.fit(resolve(None, ["minutes=5"]), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_for_a_folder_in_use_is_refused_before_the_pilots(call, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    result = call("train", *TINY, "--out", tmp_path / "run", "--minutes", "5")
    assert result.exit_code == 2 and "the folder is not empty" in " ".join(result.output.split())


def test_a_resumed_run_has_its_steps(call, finished):
    result = call("train", "--resume", finished, "--minutes", "5")
    assert result.exit_code == 2 and "does not accept --minutes" in " ".join(result.output.split())


def test_without_figures_a_run_has_its_pictures(call, tmp_path):
    result = call("train", *TINY, "--out", tmp_path / "run", "--figures", "none")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"] == {}
    assert (tmp_path / "run" / "samples" / "overview.png").is_file()
