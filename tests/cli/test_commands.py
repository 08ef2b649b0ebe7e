"""train, sample and evaluate as a user calls them."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from quick_figures import SAMPLES
from tiny_run import TINY

import priorkit
from priorkit.errors import UsageError
from priorkit.runs.records import write_data
from priorkit.workflows import session
from priorkit.workflows.measuring.evaluate import measure
from priorkit.workflows.sampling.sample import with_sampler


def test_a_run_holds_what_the_documents_say(finished):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    expected = {"config.yaml", "metrics.jsonl", "summary.json", "weights/backbone.safetensors", "weights/prior.safetensors"}
    assert expected <= names
    pictures = {"overview", "losses", "stages", "chain", "diagnostics"}
    assert {f"samples/{name}.png" for name in pictures} <= names
    metrics = json.loads((finished / "summary.json").read_text())["metrics"]
    for name in ("fd_digits", "gap_auc"):
        for ending in ("", "_gaussian", "_stage_1", "_stage_2"):
            assert set(metrics[name + ending]) == {"value", "spread", "protocol"}
    assert "fd_digits_posterior" in metrics
    assert metrics["fd_digits"] == metrics["fd_digits_stage_2"]


def test_evaluate_prints_one_object_and_the_summary_s_figures(call, finished):
    result = call("evaluate", finished, "--samples", SAMPLES, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert set(printed) == {"run", "backbone", "prior", "data", "sampler", "metrics"}
    # All groups hold those that a run ends with.
    assert printed["metrics"].items() >= json.loads((finished / "summary.json").read_text())["metrics"].items()
    for name in ("energy_distance", "energy_distance_p", "sliced_wasserstein_layer_1"):
        assert name in printed["metrics"]


def test_evaluate_takes_another_chain(call, finished):
    """The same as the metrics of a model with that sampler; the run keeps its own."""
    asked = ("--metrics", "fd", "--samples", SAMPLES)
    printed = json.loads(call("evaluate", finished, *asked, "--sampler", "langevin", "--steps", 2, "--json").stdout)
    assert printed["sampler"].items() >= {"name": "langevin", "steps": 2}.items()
    opened = session.open_run(finished)
    model = with_sampler(opened.model, "langevin", 2)
    wanted = measure(model, opened.data, metrics=("fd",), samples=SAMPLES)["fd_digits_heldout"]
    assert printed["metrics"]["fd_digits_heldout"] == wanted.as_dict()
    kept = json.loads((finished / "summary.json").read_text())["metrics"]
    assert kept["fd_digits_heldout"] != printed["metrics"]["fd_digits_heldout"]
    assert "langevin with 2 steps" in call("evaluate", finished, *asked, "--sampler", "langevin", "--steps", 2).stdout
    refused = call("evaluate", finished, *asked, "--sampler", "sir", "--steps", 2)
    assert refused.exit_code == 2 and "no chain" in refused.stderr


def test_evaluate_prints_no_empty_table(call, finished):
    result = call("evaluate", finished, "--metrics", "hole")
    assert result.exit_code == 0 and "hole by layer" in result.stdout
    assert "priors" not in result.stdout and "backbone" not in result.stdout


def test_the_number_of_samples_does_not_change_a_sample(call, finished, tmp_path):
    for n in (3, 130):
        assert call("sample", finished, "--n", n, "--seed", 5, "--out", tmp_path / f"{n}.npy").exit_code == 0
    few, many = (np.load(tmp_path / f"{n}.npy", allow_pickle=False) for n in (3, 130))
    assert few.shape == (3, 1, 8, 8)
    # The latents are the same bits; the decoder's matrix products round by the size of the last chunk.
    np.testing.assert_allclose(few, many[:3], atol=1e-6, rtol=0)
    assert many.min() >= 0
    assert many.max() <= 1


@pytest.mark.parametrize("options", [[], ["--progressive"], ["--trajectory"], ["--sampler", "mala", "--steps", "3"]])
def test_sheets(call, finished, tmp_path, options):
    count = [] if "--trajectory" in options else ["--n", 9]
    result = call("sample", finished, *count, "--out", tmp_path / "sheet.png", *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_from_takes_the_backbone_as_it_is(call, finished, tmp_path):
    again = tmp_path / "again"
    options = ["--set", "prior.stages=1", "--set", "prior.energy.width=16", "--set", "trainer.prior_steps=20"]
    options += ["--set", "engine.threads=1", "--figures", "none"]
    result = call("train", "--from", finished, *options, "--out", again)
    assert result.exit_code == 0, result.output
    ours, theirs = priorkit.load(again).backbone.state_dict(), priorkit.load(finished).backbone.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_python_interface(finished):
    model = priorkit.load(finished)
    images = model.sample(5, seed=0)
    assert images.shape == (5, 1, 8, 8)
    assert torch.equal(images, model.sample(5, seed=0))
    assert model.score(images).shape == (5,)
    assert model.log_ratio(model.infer(images).u).shape == (5,)


def test_a_run_is_read_back_without_its_data(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "moved")
    data = session.open_run(finished).data
    write_data(folder, data)
    monkeypatch.setattr(session, "open_data", lambda config, progress: pytest.fail("the data were opened"))
    assert torch.equal(priorkit.load(folder).sample(5), session.open_run(finished, data).model.sample(5))
    assert session.open_run(folder, data).data is data


def test_data_that_have_changed_since_the_training_are_told_of(finished, tmp_path, caplog):
    folder = shutil.copytree(finished, tmp_path / "moved")
    opened = session.open_run(finished)
    write_data(folder, replace(opened.data, content="0" * 64))
    (folder / "MANIFEST.json").unlink()
    assert len(session.open_run(folder).data.heldout) == len(opened.data.heldout)
    assert "has changed since the run was trained" in caplog.text


@pytest.mark.parametrize("sealed", [True, False], ids=["with its checksum", "of an early run"])
@pytest.mark.parametrize("damage", [('"classes": 10', '"classes"'), ('"levels": 17', '"levels": "17"')])
def test_a_damaged_description_of_the_data_is_not_believed(finished, tmp_path, sealed, damage):
    folder = shutil.copytree(finished, tmp_path / "moved")
    content = (folder / "data.json").read_text()
    assert damage[0] in content
    (folder / "data.json").write_text(content.replace(*damage))
    if not sealed:
        (folder / "MANIFEST.json").unlink()
    with pytest.raises(UsageError, match=r"data\.json: .*Restore"):
        session.open_run(folder)


def test_a_description_that_the_data_contradict_is_refused_when_they_are_opened(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "moved")
    content = (folder / "data.json").read_text()
    (folder / "data.json").write_text(content.replace('"levels": 17', '"levels": 16'))
    with pytest.raises(UsageError, match="checksum"):
        session.open_run(folder)
    (folder / "MANIFEST.json").unlink()
    with pytest.raises(UsageError, match="16 grey levels"):
        _ = session.open_run(folder).data


def test_ctrl_c_saves_and_resume_finishes(finished, tmp_path):
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "priorkit", "train", *TINY, "--set", "trainer.backbone_steps=2000", "--out", folder]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "--resume" in told
    assert "Traceback" not in told
    assert any((folder / "resume").glob("0*/MANIFEST.json"))
