"""`priorkit train --dry-run`, `--minutes` and `--figures`."""

import json

import pytest
from tiny_run import TINY

from priorkit.workflows.training import budget
from priorkit.workflows.training.pilot import Cost


def test_a_dry_run_tells_the_time_and_makes_nothing(call, tmp_path):
    result = call("train", *TINY, "--out", tmp_path / "run", "--dry-run", "--figures", "quick")
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
        (["--minutes", "0"], "--minutes 0: expected a number above 0"),
        (["--minutes", "nan"], "--minutes nan: expected a number above 0"),
        (["--figures", "some"], "--figures some: expected none, quick or all"),
        (["--minutes", "5", "--devices", "2"], "measure one process; leave out --devices"),
    ],
)
def test_senseless_plans_are_refused_before_anything_is_made(call, tmp_path, options, told):
    result = call("train", *TINY, "--out", tmp_path / "run", *options)
    assert result.exit_code == 2 and told in " ".join(result.output.split())
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
