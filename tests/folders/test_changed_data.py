"""A run goes on with the data that it began with, gives its backbone to no others in silence, and remembers both."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from stopping import stop_at

from priorkit.config import RunConfig, resolve
from priorkit.data import load
from priorkit.errors import InterruptedRunError, UsageError
from priorkit.runs.folder import RunFolder
from priorkit.workflows.training import train as workflow


def pack(file, count, seed=0, shift=0):
    """An archive of made-up grey images, 8 x 8."""
    chance = np.random.RandomState(seed)
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            buffer = io.BytesIO()
            image = chance.randint(0, 256, (8, 8)).astype("uint8")
            Image.fromarray(image + np.uint8(shift)).save(buffer, "PNG")
            # Of one moment: the hash is that of the file, which would else hold when it was packed.
            archive.writestr(zipfile.ZipInfo(f"{number:04d}.png"), buffer.getvalue())
    return f"zip:{file}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Decoded images of these tests alone."""
    monkeypatch.setenv("PRIORKIT_CACHE", str(tmp_path / "cache"))


def rows(split):
    return {tuple(x.flatten().tolist()) for x in split.batch(torch.arange(len(split)))}


def written(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("weights/*.safetensors"), folder / "metrics.jsonl"]}


def test_resume_refuses_data_that_have_changed(tmp_path, tiny):
    data = pack(tmp_path / "a.zip", 30)
    config = resolve(None, tiny, data=data)
    with pytest.raises(InterruptedRunError):
        workflow.fit(config, tmp_path / "run", on_log=stop_at("backbone", 2))
    recorded = json.loads((tmp_path / "run" / "data.json").read_text())["content"]
    assert recorded == load(data).content, "the hash is there before the run's end"
    before = rows(load(data).train)
    pack(tmp_path / "a.zip", 31)
    assert rows(load(data).heldout) & before, "the split moves, so that what is held out has been trained on"
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"a\.zip has changed since this run began"):
        workflow.fit(RunConfig.read(tmp_path / "run" / "config.yaml"), tmp_path / "run", resume=True)
    assert files == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    pack(tmp_path / "a.zip", 30)
    assert workflow.fit(RunConfig.read(tmp_path / "run" / "config.yaml"), tmp_path / "run", resume=True)


def test_a_backbone_is_not_given_to_data_that_have_changed(tmp_path, tiny, caplog):
    data = pack(tmp_path / "a.zip", 30)
    workflow.fit(resolve(None, tiny, data=data), tmp_path / "run")
    options = ["prior.stages=1", "prior.energy.width=4", "trainer.prior_steps=2"]
    config = resolve(None, workflow.from_run(tmp_path / "run", options))
    pack(tmp_path / "a.zip", 31)
    with pytest.raises(UsageError, match=r"a\.zip has changed since its backbone was trained"):
        workflow.fit(config, tmp_path / "new", source=tmp_path / "run")
    assert not (tmp_path / "new").exists()
    assert not caplog.text
    other = pack(tmp_path / "b.zip", 31)
    config = resolve(None, workflow.from_run(tmp_path / "run", [*options, f"data.name='{other}'"]))
    workflow.fit(config, tmp_path / "new", source=tmp_path / "run")
    assert "may have been its training data" in caplog.text


def test_a_file_that_is_replaced_in_the_midst_of_a_run_changes_nothing(tmp_path, tiny):
    data = pack(tmp_path / "a.zip", 30)
    config = resolve(None, tiny, data=data)
    workflow.fit(config, tmp_path / "whole")
    content = load(data).content

    def replace(phase, step, figures):
        if (phase, step) == ("backbone", 2):
            pack(tmp_path / "a.zip", 31, seed=1)

    workflow.fit(config, tmp_path / "run", on_log=replace)
    assert written(tmp_path / "run") == written(tmp_path / "whole")
    assert json.loads((tmp_path / "run" / "data.json").read_text())["content"] == content != load(data).content


@pytest.mark.parametrize("how", ["renamed", "written over"])
def test_a_file_that_is_replaced_while_it_is_decoded_is_not_cached_under_the_wrong_hash(tmp_path, monkeypatch, how):
    """Else the pixels of one archive would be given for another one, in this run and all later ones."""
    from priorkit.data import archives

    data = pack(tmp_path / "a.zip", 30)
    decode = archives.decode_blocks

    def replace(*given):
        other = tmp_path / "other.zip"
        pack(other, 30, shift=1)
        if how == "renamed":
            other.replace(tmp_path / "a.zip")
        else:
            (tmp_path / "a.zip").write_bytes(other.read_bytes())
        yield from decode(*given)

    monkeypatch.setattr(archives, "decode_blocks", replace)
    found = None
    if how == "renamed":
        found = load(data, holdout=0)
    else:
        with pytest.raises(UsageError, match=r"has changed while it was read|cannot be read"):
            load(data, holdout=0)
    monkeypatch.setattr(archives, "decode_blocks", decode)
    now = rows(load(data, holdout=0).train)
    pack(tmp_path / "a.zip", 30)
    first = rows(load(data, holdout=0).train)
    assert now == shifted(first)
    assert found is None or rows(found.train) == first


def shifted(found):
    """The same images, each pixel a level up (255 becomes 0)."""
    return {tuple(((torch.tensor(x) * 255).round() + 1).remainder(256).div(255).tolist()) for x in found}


def test_kept_work_of_unknown_data_is_made_again(tmp_path, tiny, caplog):
    """A run of before data.json was written at the start: nobody knows what its encodings are of."""
    data = pack(tmp_path / "a.zip", 30)
    with pytest.raises(InterruptedRunError):
        workflow.fit(resolve(None, tiny, data=data), tmp_path / "run", on_log=stop_at("prior.1", 2))
    folder = RunFolder(tmp_path / "run")
    (folder.path / "data.json").unlink()
    (folder.path / "MANIFEST.json").unlink()
    (kept,) = folder.kept.glob("positives-train.safetensors")
    made = []

    def look(phase, step, figures):
        made.append(kept.stat().st_mtime_ns)

    before = kept.stat().st_mtime_ns
    workflow.fit(RunConfig.read(folder.config), folder.path, resume=True, on_log=look)
    assert made and made[0] > before
    assert "has no hash of its data" in caplog.text
    assert json.loads((folder.path / "data.json").read_text())["content"] == load(data).content
