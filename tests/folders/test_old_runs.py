"""Runs that earlier versions wrote are read, sampled, measured, gone on with and compared with new ones.

Each archive holds a finished run and one that was stopped in its second stage, made on one thread of an x86_64 CPU.
old_runs.zip is of before there were manifests, locks and an early data.json, without its pictures and checkpoints (commit
e1cf593); sealed_runs.zip has all that a run leaves behind but its pictures (commit 7775562, by data/make_sealed_runs.py).
"""

import json
import zipfile
from pathlib import Path

import pytest
import torch

import priorkit
from priorkit.config import RunConfig, resolve
from priorkit.runs.manifest import listed
from priorkit.runtime.atomic_files import sha256
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training import train as workflow

ARCHIVES = Path(__file__).parent.parent / "data"


@pytest.fixture(params=["old_runs", "sealed_runs"])
def archive(request):
    """The archive's name."""
    return request.param


@pytest.fixture
def old(archive, tmp_path):
    """The folder with both runs, which is not where they were made."""
    with zipfile.ZipFile(ARCHIVES / f"{archive}.zip") as packed:
        packed.extractall(tmp_path)
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


def test_a_stopped_one_goes_on_to_the_end_of_the_finished_one(archive, old, caplog):
    """The finished run did the same steps without a stop."""
    folder = old / "stopped"
    state = workflow.fit(RunConfig.read(folder / "config.yaml"), folder, resume=True)
    assert state.done.keys() == {"backbone", "prior.1", "prior.2"}
    assert ("has no hash of its data" in caplog.text) == (archive == "old_runs")
    ours, theirs = (priorkit.load(path) for path in (folder, old / "finished"))
    # The old run's pool of negatives is not in its archive; chains in so few dimensions choose their starts now.
    for part in ("backbone", "prior") if archive == "sealed_runs" else ("backbone",):
        now, then = (getattr(model, part).state_dict() for model in (ours, theirs))
        # Other processors round sums otherwise, and Adam's first steps magnify that.
        assert all(torch.allclose(now[name], then[name], atol=2e-3, rtol=1e-3) for name in then), part
    files = (path / "metrics.jsonl" for path in (folder, old / "finished"))
    lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert [(row["phase"], row["step"]) for row in lines[0]] == [(row["phase"], row["step"]) for row in lines[1]]


def test_one_gives_its_backbone_to_a_new_run_and_is_compared_with_it(old, call, tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "draw_pictures", lambda *given, **options: None)
    options = ["prior.stages=1", "prior.energy.width=4", "trainer.prior_steps=2"]
    config = resolve(None, workflow.from_run(old / "finished", options))
    assert workflow.train(
        config, tmp_path / "new", source=old / "finished", evaluation=Evaluation(("reconstruction", "gap"), 60)
    )
    done = call("compare", old / "finished", tmp_path / "new", "--out", tmp_path / "both", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rows = [row["metrics"] for row in found["rows"] if row["kind"] == "prior"]
    assert len(rows) == 2 and all({"gap_auc", "reconstruction"} <= row.keys() for row in rows)
    assert not any("different data" in warning for warning in found["warnings"])
    # Its classifiers have changed since.
    assert any("gap_auc" in warning for warning in found["warnings"])


def test_checksums_hold_wherever_a_run_is_put(archive, old):
    for run in ("finished", "stopped"):
        sealed = listed(old / run)
        assert ("config.yaml" in sealed) == (archive == "sealed_runs")
        assert all(sha256(old / run / name) == digest for name, digest in sealed.items())
