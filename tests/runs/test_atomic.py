"""Files are whole or absent; damage is seen; a full disk loses nothing."""

import errno
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priorkit.engine.checkpoint import Checkpoint, Checkpoints
from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder
from priorkit.runtime.atomic_files import holds, read_tensors, replace_folder, write_bytes, write_tensors


def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "weights.safetensors"
    write_tensors(file, {"w": torch.ones(3)})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        write_tensors(file, {"w": torch.zeros(3)})
    assert torch.equal(read_tensors(file)["w"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_flipped_byte_is_seen(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("checkpoint") / "000001"
    replace_folder(folder, {"a.bin": b"some content", "b.bin": b"more of it"})
    assert holds(folder)
    file = folder / data.draw(st.sampled_from(["a.bin", "b.bin"]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    assert not holds(folder)


def checkpoint(step):
    tensors = {"learner": {"w": torch.tensor([float(step)])}}
    return Checkpoint("prior.1", ["prior"], step, False, {}, {}, 0, 0, 0, {}, 0, tensors)


def test_the_latest_checkpoint_is_the_newest_whole_one(tmp_path):
    store = Checkpoints(RunFolder(tmp_path))
    for step in (1, 2, 3):
        store.write(checkpoint(step))
    assert sorted(path.name for path in store.path.iterdir()) == ["000002", "000003"]
    assert store.latest().step == 3
    newest = store.path / "000003" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert store.latest().tensors["learner"]["w"].item() == 2.0


def test_kept_work_is_made_once_and_again_when_damaged(tmp_path):
    folder, calls = RunFolder(tmp_path), []

    def make():
        calls.append(1)
        return {"u": torch.arange(4.0)}

    assert torch.equal(folder.cache("pool", make)["u"], folder.cache("pool", make)["u"])
    assert len(calls) == 1
    write_bytes(tmp_path / "resume" / "kept" / "pool.safetensors", b"rubbish")
    assert torch.equal(folder.cache("pool", make)["u"], torch.arange(4.0))
    assert len(calls) == 2


def test_kept_work_has_the_memory_layout_that_it_has_when_it_is_read(tmp_path):
    folder = RunFolder(tmp_path)
    made = folder.cache("factor", lambda: {"factor": torch.linalg.cholesky(torch.eye(3))})["factor"]
    read = folder.cache("factor", dict)["factor"]
    assert made.stride() == read.stride() == (3, 1)


def test_only_the_leading_process_writes_kept_work(tmp_path):
    folder = RunFolder(tmp_path)
    assert torch.equal(folder.cache("pool", lambda: {"u": torch.ones(2)}, write=False)["u"], torch.ones(2))
    assert not folder.kept.exists()
    folder.cache("pool", lambda: {"u": torch.ones(2)})
    assert torch.equal(folder.cache("pool", dict, write=False)["u"], torch.ones(2))
    write_bytes(folder.kept / "pool.safetensors", b"rubbish")
    folder.cache("pool", dict, write=False)
    assert (folder.kept / "pool.safetensors").read_bytes() == b"rubbish"


def test_the_log_is_cut_and_never_stretched(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log({"phase": "prior.1", "step": 1})
    length, _ = folder.logged()
    folder.log({"phase": "prior.1", "step": 2})
    folder.cut_log(length)
    assert folder.records() == [{"phase": "prior.1", "step": 1}]
    folder.cut_log(1_000)
    assert folder.logged()[0] == length


def test_a_full_disk_under_the_log(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.log({"step": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        folder.logged()
    folder.metrics.unlink()
    folder.metrics.symlink_to("/dev/full")
    with pytest.raises(UsageError, match="No space left"):
        folder.log({"step": 2})


def test_weights_that_changed_are_refused(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save_weights("prior", {"w": torch.ones(2)})
    write_tensors(folder.weights / "prior.safetensors", {"w": torch.zeros(2)})
    with pytest.raises(UsageError, match="checksum"):
        folder.load_weights("prior")


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ("[]", "expected one checksum per name"),
        ('{"prior": 3}', "expected one checksum per name"),
        ("{}", "no checksum of prior"),
        ("{", "no readable MANIFEST"),
    ],
)
def test_weights_without_a_checksum_are_refused(tmp_path, manifest, told):
    folder = RunFolder(tmp_path)
    folder.save_weights("prior", {"w": torch.ones(2)})
    (folder.weights / "MANIFEST.json").write_text(manifest)
    with pytest.raises(UsageError, match=told):
        folder.load_weights("prior")


def test_a_manifest_that_is_a_list_holds_nothing(tmp_path):
    (tmp_path / "MANIFEST.json").write_text("[1]")
    assert not holds(tmp_path)
