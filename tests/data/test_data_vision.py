"""torchvision's sets: small files in their formats, made here; and what happens without torchvision."""

import gzip
import importlib
import io
import struct
import sys

import numpy as np
import pytest
import torch
from packing import random_images
from PIL import Image

from priorkit.data import load
from priorkit.errors import UsageError


@pytest.fixture
def torchvision():
    try:
        return importlib.import_module("torchvision.datasets")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(data)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist_files(torchvision, tmp_path, name, folder):
    images = {"train": random_images(6, (1, 28, 28)), "t10k": random_images(3, (1, 28, 28), seed=1)}
    for part, pixels in images.items():
        write_idx(tmp_path / folder / "raw" / f"{part}-images-idx3-ubyte", pixels[:, 0])
        write_idx(tmp_path / folder / "raw" / f"{part}-labels-idx1-ubyte", np.arange(len(pixels), dtype=np.uint8))
    data = load(name, root=tmp_path)
    assert (data.spec.shape, data.spec.levels, data.spec.classes) == ((1, 28, 28), 256, 6)
    assert np.array_equal(data.train.integers(torch.arange(6)).numpy(), images["train"])
    assert np.array_equal(data.heldout.integers(torch.arange(3)).numpy(), images["t10k"])
    assert data.train.labels.tolist() == list(range(6))


def test_absent_files_are_told_with_the_root(torchvision, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORKIT_DATA", str(tmp_path))
    for name in ("cifar10", "cifar100", "mnist", "svhn"):
        with pytest.raises(UsageError, match=f"{name}.*{tmp_path.name}|{name} needs another package"):
            load(name)


def test_without_a_root():
    with pytest.raises(UsageError, match="PRIORKIT_DATA"):
        load("cifar10")


def test_without_torchvision(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UsageError, match=r"pip install 'priorkit\[vision\]'"):
        load("cifar10", root=tmp_path)


class FakeSet:
    """A set of torchvision's of which only what we read is here."""

    def __init__(self, data):
        self.data = data
        self.targets = [0, 1]


@pytest.mark.parametrize(("layout", "axes"), [((2, 32, 32, 3), (0, 3, 1, 2)), ((2, 3, 32, 32), (0, 1, 2, 3))])
def test_arrays_of_either_order(tmp_path, monkeypatch, layout, axes):
    stored = np.random.default_rng(0).integers(0, 256, layout, dtype=np.uint8)
    module = type(sys)("torchvision.datasets")
    module.CIFAR10 = lambda root, train, download: FakeSet(stored)
    monkeypatch.setitem(sys.modules, "torchvision", type(sys)("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    data = load("cifar10", root=tmp_path)
    assert np.array_equal(data.train.integers(torch.arange(2)).numpy(), stored.transpose(axes))
    assert data.heldout.labels.tolist() == [0, 1]


def test_faces_are_cut_and_resized(tmp_path, monkeypatch):
    """A photograph that is white inside the window and black outside becomes white."""
    photograph = np.zeros((218, 178, 3), np.uint8)
    photograph[40:188, 15:163] = 255
    module = type(sys)("torchvision.datasets")
    module.CelebA = lambda root, split, download: [(Image.fromarray(photograph), None)] * 3
    monkeypatch.setitem(sys.modules, "torchvision", type(sys)("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    data = load("celeba", root=tmp_path)
    assert data.spec.shape == (3, 64, 64)
    assert "window (15, 40)-(163, 188)" in data.protocol
    assert int(data.train.integers(torch.arange(3)).min()) == 255


def test_lsun_is_read_from_its_folders(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    for part, count in (("train", 3), ("val", 2)):
        with lmdb.open(str(tmp_path / f"church_outdoor_{part}_lmdb")) as environment, environment.begin(write=True) as batch:
            for i in range(count):
                stream = io.BytesIO()
                Image.new("RGB", (100 + i, 80), (50 * i, 0, 0)).save(stream, "webp", lossless=True)
                batch.put(f"{i}".encode(), stream.getvalue())
    data = load("lsun-church", root=tmp_path)
    assert (len(data.train), len(data.heldout), data.spec.shape) == (3, 2, (3, 64, 64))
    assert data.train.integers(torch.arange(3))[:, 0, 0, 0].tolist() == [0, 50, 100]


def test_lsun_names_what_is_missing(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="is not downloaded automatically"):
        load("lsun-church", root=tmp_path, download=True)
    with pytest.raises(UsageError, match=r"lmdb|fetch LSUN"):
        load("lsun-church", root=tmp_path)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UsageError, match="pip install lmdb"):
        load("lsun-church", root=tmp_path)
