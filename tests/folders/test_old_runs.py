"""Runs that were written before there were manifests, locks and an early data.json are read, sampled and gone on with.

old_runs.zip holds a finished run (without its pictures and checkpoints) and one that was stopped in its second stage, both
of commit e1cf593 on one thread of an x86_64 CPU.
"""

import json
import zipfile
from pathlib import Path

import pytest
import torch

import priorkit
from priorkit.config import RunConfig, resolve
from priorkit.workflows import train as workflow

RUNS = Path(__file__).parent.parent / "data" / "old_runs.zip"


@pytest.fixture
def old(tmp_path):
    """The folder with both."""
    with zipfile.ZipFile(RUNS) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_a_finished_one_is_read_sampled_measured_reported_and_compared(old, call, tmp_path):
    model = priorkit.load(old / "finished")
    assert model.sample(3).shape == (3, 1, 8, 8) and model.spec.levels == 17
    assert model.figures == json.loads((old / "finished" / "summary.json").read_text())["metrics"]
    for arguments in (
        ("sample", old / "finished", "--n", 3, "--out", tmp_path / "a.png"),
        ("evaluate", old / "finished", "--metrics", "reconstruction", "--samples", 10),
        ("report", old / "finished", "--out", tmp_path / "a.html"),
    ):
        done = call(*arguments)
        assert done.exit_code == 0, done.output
    measured = call("evaluate", old / "finished", "--metrics", "reconstruction", "--json", "--samples", 2000)
    figure = json.loads(measured.stdout)["metrics"]["reconstruction"]["value"]
    assert figure == pytest.approx(model.figures["reconstruction"]["value"], rel=1e-5)  # rounding of other machines


def test_a_stopped_one_goes_on_to_the_end_of_the_finished_one(old, caplog):
    """The finished run did the same steps without a stop."""
    folder = old / "stopped"
    state = workflow.fit(RunConfig.read(folder / "config.yaml"), folder, resume=True)
    assert state.done.keys() == {"backbone", "prior.1", "prior.2"}
    assert "keeps no hash of its data" in caplog.text
    ours, theirs = (priorkit.load(path) for path in (folder, old / "finished"))
    for part in ("backbone", "prior"):
        now, then = (getattr(model, part).state_dict() for model in (ours, theirs))
        # Other processors round sums otherwise, and Adam's first steps magnify that.
        assert all(torch.allclose(now[name], then[name], atol=2e-3, rtol=1e-3) for name in then), part
    lines = [[json.loads(line) for line in (path / "metrics.jsonl").open()] for path in (folder, old / "finished")]
    assert [(row["phase"], row["step"]) for row in lines[0]] == [(row["phase"], row["step"]) for row in lines[1]]


def test_one_gives_its_backbone(old, tmp_path):
    options = ["prior.stages=1", "prior.energy.width=4", "trainer.prior_steps=2"]
    config = resolve(None, workflow.from_run(old / "finished", options))
    assert workflow.fit(config, tmp_path / "new", source=old / "finished")
