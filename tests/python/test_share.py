"""Runs that are shared: what is written, what is sent, and that what comes back is the same model."""

import errno
import fnmatch
import inspect
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from typer.testing import CliRunner

import priorkit
from priorkit.cli import app
from priorkit.config import without_places
from priorkit.errors import UsageError
from priorkit.workflows.sharing.model_card import model_card
from priorkit.workflows.sharing.share import push_run, share_run

REPO = "somebody/tiny-digits"


@pytest.fixture
def shared(model, tmp_path):
    """The folder of the shared run."""
    share_run(model.folder, REPO, tmp_path / "shared")
    return tmp_path / "shared"


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for huggingface_hub that keeps the calls and what was uploaded."""
    kept = SimpleNamespace(calls=[], files=None)

    class HfApi:
        def __init__(self, **given):
            kept.calls.append(("HfApi", given))

        def create_repo(self, **given):
            kept.calls.append(("create_repo", given))
            return f"https://hub.invalid/{given['repo_id']}"

        def upload_folder(self, **given):
            kept.calls.append(("upload_folder", given))
            shutil.copytree(given["folder_path"], kept.files)

    def snapshot_download(**given):
        kept.calls.append(("snapshot_download", given))
        target = kept.files.with_name("downloaded")
        for file in (path for path in kept.files.rglob("*") if path.is_file()):
            name = file.relative_to(kept.files)
            if any(fnmatch.fnmatch(str(name), pattern) for pattern in given["allow_patterns"]):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / name)
        return str(target)

    kept.module = SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", kept.module)
    return kept


def front_matter(card):
    _, head, body = card.split("---\n", 2)
    return yaml.safe_load(head), body


def test_a_shared_folder_is_the_same_model(model, shared):
    back = priorkit.from_pretrained(shared)
    torch.testing.assert_close(back.sample(5, seed=2), model.sample(5, seed=2), rtol=0, atol=0)
    assert back.figures == model.figures
    assert back.origin == str(shared)


def test_it_holds_no_checkpoints_and_no_places_of_this_machine(model, shared):
    names = {str(path.relative_to(shared)) for path in shared.rglob("*") if path.is_file()}
    assert {"README.md", "config.yaml", "data.json", "summary.json", "weights/prior.safetensors"} <= names
    assert {Path(name).suffix for name in names} <= {".md", ".yaml", ".json", ".jsonl", ".safetensors", ".png"}
    assert not any(name.startswith(("resume", "initial")) for name in names)
    assert not [name for name in names if str(model.folder.parent).encode() in (shared / name).read_bytes()]


def test_the_places_of_files_of_data_are_left_out(model, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    (run / "MANIFEST.json").unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] |= {"name": "zip:/home/me/faces.zip", "root": "/home/me", "heldout": "folder:/home/me/others"}
    config["engine"]["device"] = "cpu"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    spec, summary = (json.loads((run / name).read_text()) for name in ("data.json", "summary.json"))
    for told in (spec, *summary["metrics"].values()):
        told["protocol"] = "two sources (folder:/home/me/others)"
    (run / "data.json").write_text(json.dumps(spec | {"name": "zip:/home/me/faces.zip"}))
    (run / "summary.json").write_text(json.dumps(summary | {"data": "zip:/home/me/faces.zip"}))
    (run / "origin.json").write_text(json.dumps({"kept": {"args": {"save": "/home/me/expr", "dataset": "cifar10"}}}))
    share_run(run, REPO, tmp_path / "shared")
    texts = [path.read_text() for path in (tmp_path / "shared").rglob("*") if path.suffix in (".json", ".yaml", ".md")]
    assert not any("/home/me" in text for text in texts)
    config = yaml.safe_load((tmp_path / "shared" / "config.yaml").read_text())
    assert (config["data"]["name"], config["engine"]["device"]) == ("zip:faces.zip", "auto")
    assert "two sources (folder:others)" in (tmp_path / "shared" / "README.md").read_text()
    origin = json.loads((tmp_path / "shared" / "origin.json").read_text())
    assert origin["kept"]["args"] == {"save": "expr", "dataset": "cifar10"}


def test_options_lose_their_folders_and_nothing_else():
    kept = {"prior": {"name": "their-kit:mine", "stages": 2, "widths": [8, None]}, "data": {"name": "toy:checkerboard"}}
    assert without_places(kept) == kept
    places = {
        "backbone": {"folder": "/home/me/vae", "more": ["~/a/b", "/home/me/a:b", "kit:/home/me/c"]},
        "data": {
            "name": "folder:../cats",
            "heldout": "zip:/home/me/x:y.zip",
            "more": ["stream:../store", "stream:s3://mine/a/store?key=1"],
        },
    }
    assert without_places(places) == {
        "backbone": {"folder": "vae", "more": ["b", "a:b", "kit:c"]},
        "data": {"name": "folder:cats", "heldout": "zip:x:y.zip", "more": ["stream:store", "stream:store"]},
    }


def test_the_card_has_every_figure_with_its_protocol(model, shared):
    head, body = front_matter((shared / "README.md").read_text())
    (index,) = head["model-index"]
    (result,) = index["results"]
    assert index["name"] == "tiny-digits" and result["dataset"]["name"] == "digits"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        name: figure["value"] for name, figure in model.figures.items()
    }
    rows = {line.split("|")[1].strip(" `"): line for line in body.splitlines() if line.startswith("| `")}
    assert rows.keys() == model.figures.keys()
    for name, figure in model.figures.items():
        assert " ".join(figure["protocol"].split()).replace("|", "\\|") in rows[name]
        assert f"{figure['value']:.4g}" in rows[name]
    assert f'from_pretrained("{REPO}")' in body and "(samples/overview.png)" in body


def test_the_card_installs_what_the_run_needs():
    spec = {"shape": [1, 8, 8], "name": "digits"}
    summary = {"backbone": "autoencoderkl", "prior": "vdrme", "metrics": {}}
    versions = {"python": "3", "torch": "2", "priorkit": "1", "diffusers": "0.30", "vendor-kit": "1"}
    parts = dict.fromkeys(("data", "backbone", "prior", "sampler", "trainer"))
    card = model_card(REPO, {**parts, "seed": 0, "versions": versions}, spec, summary)
    assert "pip install 'priorkit[hub,diffusers]' vendor-kit\n" in card


def test_options_of_pushing_are_refused_where_nothing_is_pushed(model, tmp_path):
    for options, told in (["--private"], "--private"), (["--message", "m", "--private"], "--private and --message"):
        arguments = ["push", str(model.folder), REPO, "--to-folder", str(tmp_path / "shared"), *options]
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2 and f"leave out {told}" in refused.output
        assert not (tmp_path / "shared").exists()


def test_a_full_disk_gives_no_advice_on_options_that_are_not_there(model, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left") as refused:
        share_run(model.folder, REPO, tmp_path / "shared")
    assert "--out" not in str(refused.value) and "try again" in str(refused.value)


def test_the_hubs_library_reads_the_card(shared):
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import ModelCard

    data = ModelCard((shared / "README.md").read_text()).data
    assert data.library_name == "priorkit" and data.model_name == "tiny-digits"
    assert {result.metric_type for result in data.eval_results} >= {"fd_digits", "gap_auc"}


def test_a_run_goes_to_the_hub_and_comes_back(model, hub, tmp_path):
    hub.files = tmp_path / "uploaded"
    assert priorkit.push(model, REPO, private=True) == f"https://hub.invalid/{REPO}"
    names = [name for name, _ in hub.calls]
    assert names == ["HfApi", "create_repo", "upload_folder"]
    made, uploaded = hub.calls[1][1], hub.calls[2][1]
    assert made == {"repo_id": REPO, "repo_type": "model", "private": True, "exist_ok": True}
    assert uploaded["repo_id"] == REPO and not Path(uploaded["folder_path"]).exists()
    # What a vendor put beside the run is never asked for.
    for vendor in ("pytorch_model.bin", "weights/prior.pt", "weights/prior.pkl"):
        (hub.files / vendor).write_bytes(b"x")
    back = priorkit.from_pretrained(REPO, revision="v1")
    asked = hub.calls[3][1]
    assert asked["repo_id"] == REPO and asked["revision"] == "v1" and asked["local_files_only"] is False
    assert {path.suffix for path in back.folder.rglob("*") if path.is_file()} == {".yaml", ".json", ".jsonl", ".safetensors"}
    torch.testing.assert_close(back.sample(5), model.sample(5), rtol=0, atol=0)
    assert back.origin == REPO and REPO in repr(back)


def test_the_calls_fit_the_real_library(model, hub, tmp_path, monkeypatch):
    hub.files = tmp_path / "uploaded"
    push_run(model.folder, REPO)
    priorkit.from_pretrained(REPO)
    monkeypatch.delitem(sys.modules, "huggingface_hub")
    real = pytest.importorskip("huggingface_hub")
    for name, given in hub.calls[1:]:
        function = real.snapshot_download if name == "snapshot_download" else getattr(real.HfApi(), name)
        inspect.signature(function).bind(**given)
    inspect.signature(real.HfApi).bind(**hub.calls[0][1])


def test_what_the_hub_refuses_is_one_paragraph(model, hub):
    def refuse(**given):
        raise ConnectionError("no\nroute")

    hub.module.snapshot_download = refuse
    hub.module.HfApi.create_repo = lambda self, **given: refuse()
    with pytest.raises(UsageError, match=r"could not be read from the Hugging Face Hub \(ConnectionError: no route\)"):
        priorkit.from_pretrained(REPO)
    with pytest.raises(UsageError, match=r"could not be pushed to .*hf auth login"):
        priorkit.push(model.folder, REPO)


def test_without_the_library_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: priorkit.from_pretrained(REPO), lambda: priorkit.push(model, REPO)):
        with pytest.raises(UsageError, match=r"pip install priorkit\[hub\]"):
            call()


def test_a_wrong_name_is_neither_folder_nor_repository(model, hub):
    for name in ("tiny", "a/b/c", "no such/folder"):
        with pytest.raises(UsageError, match="OWNER/NAME"):
            priorkit.from_pretrained(name)
    assert hub.calls == []


def test_a_repository_without_a_run_says_so(hub, tmp_path):
    hub.files = tmp_path / "uploaded"
    hub.files.mkdir()
    (tmp_path / "downloaded").mkdir()
    with pytest.raises(UsageError, match="does not contain a priorkit run"):
        priorkit.from_pretrained(REPO)


def damage(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_damaged_weights_are_neither_pushed_nor_loaded(model, shared, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    damage(run / "weights" / "prior.safetensors")
    with pytest.raises(UsageError, match="checksum"):
        share_run(run, REPO, tmp_path / "again")
    assert not (tmp_path / "again").exists() and not list(tmp_path.glob(".again*"))
    damage(shared / "weights" / "prior.safetensors")
    with pytest.raises(UsageError, match="checksum"):
        priorkit.from_pretrained(shared)


def test_an_unfinished_run_is_not_shared(model, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    (run / "summary.json").unlink()
    with pytest.raises(UsageError, match=r"summary\.json: there is no such file. The run is unfinished"):
        share_run(run, REPO, tmp_path / "again")


def test_the_command_writes_a_new_folder_alone(model, tmp_path):
    arguments = ["push", str(model.folder), REPO, "--to-folder", str(tmp_path / "pushed")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "nothing was sent" in done.output
    assert (tmp_path / "pushed" / "README.md").is_file()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2 and "is not an empty folder" in again.output
