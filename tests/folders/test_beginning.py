"""Nothing is made before data and options are known to be good; what killed writers left is swept; places are absolute."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from test_changed_data import pack, written

import priorkit
from priorkit.config import RunConfig, anchored, resolve
from priorkit.core import no_progress
from priorkit.data import load
from priorkit.engine import Engine
from priorkit.errors import DivergedError, InterruptedRunError, UsageError
from priorkit.runs.folder import RunFolder
from priorkit.runtime.atomic_files import sweep
from priorkit.workflows.training import begin
from priorkit.workflows.training import train as workflow


@pytest.mark.parametrize(
    "option",
    [
        "data=zip:/absent/typo.zip", "data=nothing", "data.holdout=0.5", "backbone.latents=[0]", "prior.labels=[shape]",
        "backbone.likelihood=nonsense", "engine.loggers=[nonsense]", "engine.device=cuda",
    ],
)  # fmt: skip
def test_a_command_that_is_refused_leaves_nothing(tmp_path, tiny, option):
    folder = tmp_path / "above" / "run"
    with pytest.raises(UsageError):
        workflow.fit(resolve(None, [*tiny, option]), folder)
    assert list(tmp_path.iterdir()) == []
    assert workflow.fit(resolve(None, tiny), folder), "the corrected command is taken"


def test_a_training_tells_of_held_out_images_that_it_has(tmp_path, tiny, caplog):
    (tmp_path / "set").mkdir()
    for number in range(20):
        Image.new("L", (8, 8), number % 5).save(tmp_path / "set" / f"{number}.png")
    config = resolve(None, tiny, data=f"folder:{tmp_path}/set")
    out = tmp_path / "run"
    with pytest.raises(UsageError, match="seen"), begin.begun(config, out, resume=False, source=None, progress=no_progress):
        raise UsageError("seen")
    assert [message for message in caplog.messages if "2 of 2 held-out images are also among the training" in message]
    caplog.clear()
    load(config.data.name)
    assert not caplog.messages, "what only reads or measures does not look for them"


def test_a_backbone_that_cannot_be_taken_leaves_nothing(runs, tmp_path, tiny):
    config = resolve(None, workflow.from_run(runs.base, ["backbone.hidden=5"]), prior="gaussian")
    with pytest.raises(priorkit.errors.PluginError, match="do not fit"):
        workflow.fit(config, tmp_path / "run", source=runs.base)
    with pytest.raises(UsageError, match="not a run"):
        workflow.fit(config, tmp_path / "run", source=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_before_its_first_step_leaves_nothing(tmp_path, tiny, monkeypatch):
    def fails(self, phases):
        raise UsageError("an option that shows only now")

    with monkeypatch.context() as patch, pytest.raises(UsageError, match="only now"):
        patch.setattr(Engine, "run", fails)
        workflow.fit(resolve(None, tiny), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    with pytest.raises(DivergedError):
        workflow.fit(resolve(None, [*tiny, "backbone.optimiser.lr=1e30", "trainer.backbone_steps=40"]), tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").is_file(), "what was logged of a training that diverged is kept"


@pytest.mark.parametrize("place", ["file", "file/run", "file/above/run"])
def test_out_is_a_file(call, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    done = call("train", "--backbone", "twolayer", "--out", tmp_path / place)
    assert done.exit_code == 2 and "file: is not a folder" in done.stderr and "--out" in done.stderr
    assert "Traceback" not in done.output and (tmp_path / "file").read_text() == "mine"
    done = call("train", "--backbone", "twolayer", "--resume", tmp_path / place)
    assert done.exit_code == 2 and "not a run" in done.stderr


def test_a_stop_while_the_data_are_opened_says_that_nothing_was_written(tmp_path, tiny, monkeypatch):
    def stopped(config, progress):
        raise InterruptedRunError("between two checkpoints; `priorkit train --resume`", 2)

    monkeypatch.setattr(begin, "open_data", stopped)
    with pytest.raises(InterruptedRunError, match="nothing was written") as told:
        workflow.fit(resolve(None, tiny), tmp_path / "run")
    assert told.value.exit_code == 130 and not (tmp_path / "run").exists()


def test_what_killed_writers_left_is_swept_by_the_next_start(runs, tmp_path):
    folder = RunFolder(shutil.copytree(runs.stopped, tmp_path / "run"))
    whole = shutil.copytree(runs.stopped, tmp_path / "whole")
    left = [
        folder.weights / ".prior.safetensors.77.part", folder.kept / ".u.safetensors.77.part",
        folder.path / ".data.json.77.part",
        folder.samples / ".overview.png.77.part", folder.initial_backbone.with_name(".backbone.safetensors.77.part"),
    ]  # fmt: skip
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half of it")
    (folder.kept / ".rows.part").mkdir()
    (folder.resume / ".000009.77.part").mkdir()
    seen = []

    def look(phase, step, figures):
        seen.extend(path for path in folder.path.rglob(".*.part"))

    for place in (folder.path, whole):
        workflow.fit(RunConfig.read(place / "config.yaml"), place, resume=True, on_log=look)
    assert not seen and written(folder.path) == written(whole)
    assert not list(folder.path.rglob(".*.part"))


def test_a_sweep_follows_no_link(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".x.part").symlink_to(tmp_path / "mine")
    sweep(tmp_path / "run")
    assert not list((tmp_path / "run").iterdir()) and (tmp_path / "mine" / "file").read_text() == "kept"


def test_an_unfinished_cache_entry_goes_once_it_is_a_day_old(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORKIT_CACHE", str(tmp_path / "cache"))
    old, new = (tmp_path / "cache" / "images" / name for name in (".old.tmp", ".new.tmp"))
    for entry in (old, new):
        entry.mkdir(parents=True)
        (entry / "pixels.npy").write_bytes(b"half")
    for path in (old / "pixels.npy", old):
        os.utime(path, (0, 0))
    priorkit.data.load(pack(tmp_path / "a.zip", 4))
    assert new.exists() and not old.exists()


def test_a_run_on_relative_places_is_used_from_another_folder(tmp_path, tiny, monkeypatch, call):
    monkeypatch.setenv("PRIORKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    pack(Path("a.zip"), 30)
    workflow.fit(resolve(None, tiny, data="zip:a.zip"), Path("run"))
    model = priorkit.load("run")
    monkeypatch.chdir(tmp_path)
    done = call("evaluate", "there/run", "--metrics", "reconstruction", "--samples", "10")
    assert done.exit_code == 0, done.output
    assert len(model.data.train) == 27 and model.folder == tmp_path / "there" / "run"


def test_only_places_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pt").write_bytes(b"")
    given = {
        "data.name": ("zip:sets/a b.zip", f"zip:{tmp_path}/sets/a b.zip"),
        "data.heldout": ("folder:../x", f"folder:{tmp_path}/../x"),
        "data.root": ("sets", f"{tmp_path}/sets"),
        "fidelity.features": ("net.pt", f"{tmp_path}/net.pt"),
        "fidelity.weights": ("some/file.pth", f"{tmp_path}/some/file.pth"),
    }
    config = anchored(resolve(None, [f"{key}='{before}'" for key, (before, _) in given.items()]))
    for key, (_, after) in given.items():
        section, name = key.split(".")
        assert str(getattr(getattr(config, section), name)) == after
    assert anchored(config) == config
    for name in ("digits", "toy:rings", "stream:s3://bucket/x", "stream:gs://b/x", "zip:"):
        assert anchored(resolve(None, [f"data.name='{name}'"])).data.name == name
    for name in ("auto", "inception", "module:function", "their:plugin"):
        assert anchored(resolve(None, [f"fidelity.features={name}"])).fidelity.features == name


def test_a_component_s_folder_is_made_absolute(tmp_path, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.chdir(tmp_path)
    options = {"backbone": "autoencoderkl"}
    config = anchored(resolve(None, ["backbone.folder=models/kl"], **options))
    assert config.component("backbone")[1].folder == tmp_path / "models" / "kl"


def test_checkpoints_are_told_apart_by_number_and_not_by_a_clock(runs, tmp_path):
    """The clock was set back by years in the middle of the run, or ahead: the same bits."""
    folders = [shutil.copytree(runs.stopped, tmp_path / name) for name in ("as it is", "back", "ahead")]
    for folder, moment in zip(folders[1:], (10, 7e9), strict=True):
        for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
            os.utime(path, (moment + number, moment + number))
    for folder in folders:
        workflow.fit(RunConfig.read(folder / "config.yaml"), folder, resume=True)
    assert written(folders[0]) == written(folders[1]) == written(folders[2])
