"""Rows kept on the disk: made once, whole or absent, never all in memory, and readable where they exceed it."""

import errno
import gc
import json
import os
import shutil

import numpy as np
import pytest
import torch

from priorkit.errors import FellowError, UsageError
from priorkit.runs import memory_mapped_rows as module
from priorkit.runs.memory_mapped_rows import MappedRows, cache_rows

WIDTH, COUNT, PIECE = 37, 20, 3


def piece(number):
    u = torch.arange(PIECE * WIDTH, dtype=torch.float32).view(PIECE, WIDTH) + 1_000 * number
    return {"u": u, "z": u[:, :2].half()}


WHOLE = {name: torch.cat([piece(number)[name] for number in range(COUNT)]) for name in ("u", "z")}


def keep(root, make=piece, **options):
    return cache_rows(root, "positives", make, COUNT, COUNT * PIECE, **options)


def assert_whole(found):
    order = torch.randperm(COUNT * PIECE, generator=torch.Generator().manual_seed(0))
    assert found.keys() == WHOLE.keys()
    for name, rows in found.items():
        assert len(rows) == COUNT * PIECE
        assert rows[order].dtype == WHOLE[name].dtype
        assert torch.equal(rows[order], WHOLE[name][order])


def refuse(number):
    raise AssertionError("made again")


def test_rows_are_made_once(tmp_path):
    assert_whole(keep(tmp_path))
    assert_whole(keep(tmp_path, refuse))
    assert [path.name for path in tmp_path.iterdir()] == ["positives"]


@pytest.mark.parametrize("damage", ["flipped", "short", "no manifest"])
def test_damaged_rows_are_made_again(tmp_path, damage):
    keep(tmp_path)
    file = tmp_path / "positives" / "u.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if damage == "no manifest":
        (tmp_path / "positives" / "MANIFEST.json").unlink()
    else:
        file.write_bytes(content if damage == "flipped" else content[:-1])
    assert_whole(keep(tmp_path))


def test_what_a_killed_process_left_is_not_taken_for_whole(tmp_path):
    """As SIGKILL leaves it: half a file under the temporary name, no folder yet."""
    keep(tmp_path)
    half = tmp_path / ".positives.part"
    (tmp_path / "positives").rename(half)
    (half / "MANIFEST.json").unlink()
    os.truncate(half / "u.npy", 500)
    assert_whole(keep(tmp_path))
    assert not half.exists()


def test_an_interruption_between_pieces_leaves_nothing(tmp_path):
    def stopping(number):
        if number == 7:
            raise KeyboardInterrupt
        return piece(number)

    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, stopping)
    assert list(tmp_path.iterdir()) == []
    assert_whole(keep(tmp_path))


def test_at_most_two_pieces_are_in_memory(tmp_path):
    """Rows that are there when a piece has been made; those before it are gone."""

    def alive():
        tensors = (found for found in gc.get_objects() if type(found) is torch.Tensor and not found.is_nested)
        return sum(len(found) for found in tensors if found.shape[1:] == (WIDTH,))

    counts, before = [], alive()

    def watched(number):
        found = piece(number)
        if number in (2, 10, COUNT - 1):
            counts.append(alive() - before)
        return found

    keep(tmp_path, watched)
    assert len(counts) == 3
    assert PIECE <= min(counts) <= max(counts) <= 2 * PIECE


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    write = module._File.write
    monkeypatch.setattr(module._File, "write", lambda self, part: full() if self.rows > 30 else write(self, part))
    with pytest.raises(UsageError, match=r"positives: could not be written \(No space left.*--resume"):
        keep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        keep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_told_before_it_is_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10_000, 1_000, 9_000))
    with pytest.raises(UsageError, match=r"would take 8.49e-06 GiB, and 8.38e-06 are free"):
        keep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_rows_that_were_announced_are_made(tmp_path):
    with pytest.raises(RuntimeError, match="60 rows of u were made, 61 announced"):
        cache_rows(tmp_path, "positives", piece, COUNT, 61)
    assert list(tmp_path.iterdir()) == []


def test_of_several_processes_one_writes_and_all_hear_whether_it_could(tmp_path):
    answers = iter([False, False])  # there is none yet; the first round could not be written
    with pytest.raises(FellowError, match="another process could not write"):
        keep(tmp_path, write=False, agree=lambda good: next(answers))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="All processes need access to"):
        keep(tmp_path, write=False)
    keep(tmp_path)
    assert_whole(keep(tmp_path, refuse, write=False))


def test_rows_that_exceed_the_memory_are_mapped(tmp_path):
    """The system refuses to map such a file copy-on-write, unless it is told to promise memory that it has not."""
    size = 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    path = tmp_path / "u.npy"
    with path.open("wb") as stream:
        shape = (size // 4_096, 1_024)
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        try:
            stream.truncate(stream.tell() + shape[0] * 4_096)
        except OSError as error:
            pytest.skip(f"no sparse files here: {error}")
    rows = MappedRows(path)
    assert torch.equal(rows[torch.tensor([0, len(rows) - 1])], torch.zeros(2, 1_024))


def test_the_manifest_is_that_of_a_checkpoint(tmp_path):
    keep(tmp_path)
    entries = json.loads((tmp_path / "positives" / "MANIFEST.json").read_text())
    assert entries.keys() == {"u.npy", "z.npy"}
    assert np.array_equal(np.load(tmp_path / "positives" / "u.npy"), WHOLE["u"].numpy())
