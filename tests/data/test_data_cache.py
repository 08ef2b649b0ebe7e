"""The cache of decoded images: written once, verified, replaced when damaged, done without where it cannot be."""

import resource
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from packing import members, random_images, zipped

from priorkit.data import load_foreign
from priorkit.data.cache import cached_pixels

CONTENT = "ab" * 32
IMAGES = random_images(9)


def blocks():
    yield IMAGES[:4]
    yield IMAGES[4:]


def nothing():
    raise AssertionError("decoded although the cache holds the images")
    yield


def entry(cache: Path) -> Path:
    (folder,) = (cache / "images").iterdir()
    return folder


def test_an_entry_is_written_once_and_mapped(own_cache):
    first = cached_pixels(CONTENT, IMAGES.shape, blocks)
    again = cached_pixels(CONTENT, IMAGES.shape, nothing)
    assert np.array_equal(first, IMAGES)
    assert np.array_equal(again, IMAGES)
    assert isinstance(again.base, np.memmap)
    assert sorted(path.name for path in entry(own_cache).iterdir()) == ["entry.json", "pixels.npy"]
    assert np.array_equal(np.load(entry(own_cache) / "pixels.npy", allow_pickle=False), IMAGES)


def test_what_is_written_to_the_array_stays_out_of_the_file():
    cached_pixels(CONTENT, IMAGES.shape, blocks)[:] = 0
    assert np.array_equal(cached_pixels(CONTENT, IMAGES.shape, nothing), IMAGES)


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "no pixels", "no entry", "bad entry", "shape"])
def test_a_damaged_entry_is_decoded_anew(own_cache, damage):
    cached_pixels(CONTENT, IMAGES.shape, blocks)
    pixels, record = entry(own_cache) / "pixels.npy", entry(own_cache) / "entry.json"
    data = bytearray(pixels.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        pixels.write_bytes(data)
    elif damage == "shape":
        record.unlink()
        pixels.unlink()
        shutil.rmtree(entry(own_cache))
        cached_pixels(CONTENT, (8, *IMAGES.shape[1:]), lambda: iter([IMAGES[:8]]))
    elif damage in ("cut", "grow"):
        pixels.write_bytes(data[:-1] if damage == "cut" else data + b"\0")
    elif damage == "bad entry":
        record.write_text("[]")
    else:
        (pixels if damage == "no pixels" else record).unlink()
    with pytest.warns(UserWarning, match="is damaged"):
        assert np.array_equal(cached_pixels(CONTENT, IMAGES.shape, blocks), IMAGES)
    assert np.array_equal(cached_pixels(CONTENT, IMAGES.shape, nothing), IMAGES)


def test_without_a_writable_folder_the_images_stay_in_memory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="stay in memory"):
        assert np.array_equal(cached_pixels(CONTENT, IMAGES.shape, blocks, tmp_path / "file"), IMAGES)


def test_a_disk_that_is_full_costs_a_warning_and_leaves_nothing(own_cache):
    """A limit on the size of files fails a write half way, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        with pytest.warns(UserWarning, match=r"stay in memory"):
            pixels = cached_pixels(CONTENT, IMAGES.shape, blocks)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert np.array_equal(pixels, IMAGES)
    assert not list((own_cache / "images").iterdir())


def test_a_failure_while_decoding_leaves_nothing(own_cache):
    def broken():
        yield IMAGES[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_pixels(CONTENT, IMAGES.shape, broken)
    assert not list((own_cache / "images").iterdir())


def test_two_writers_at_once(own_cache):
    """The other process finishes while this one decodes: its entry is used."""

    def slow():
        cached_pixels(CONTENT, IMAGES.shape, blocks)
        yield IMAGES

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(cached_pixels(CONTENT, IMAGES.shape, slow), IMAGES)
    assert len(list((own_cache / "images").iterdir())) == 1


def test_the_archive_decides_not_its_name(tmp_path, own_cache):
    first = zipped(members(IMAGES), tmp_path / "a")
    load_foreign(first)
    moved = tmp_path / "b.zip"
    shutil.copy(first.removeprefix("zip:"), moved)
    load_foreign(f"zip:{moved}")
    entry(own_cache)
    zipped(members(random_images(9, seed=5)), tmp_path / "b")
    changed = load_foreign(f"zip:{moved}")[1]
    assert np.array_equal(changed.integers(torch.arange(9)).numpy(), random_images(9, seed=5))
    assert len(list((own_cache / "images").iterdir())) == 2
