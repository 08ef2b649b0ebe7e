"""Names, splits, digits and arrays."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from priorkit.core import Examples
from priorkit.data import array, load, load_foreign
from priorkit.data.holdout import divide, shuffled
from priorkit.errors import UsageError

DIGITS_TRAIN = [8, 9, 8, 1, 0, 1, 2, 2, 4, 3, 7, 6]
DIGITS_HELDOUT = [7, 0, 6, 5, 6, 5, 1, 4, 8, 3, 6, 8]


def test_import_is_light():
    code = "import sys, priorkit.data; print({'sklearn', 'PIL', 'torchvision', 'lmdb'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", "did you mean digits?"),
        ("cifar-10", "did you mean cifar10?"),
        ("toy:chekerboard", "did you mean toy:checkerboard?"),
        ("moons", "did you mean toy:moons?"),
        ("qqqqqq", "Known are celeba, cifar10, cifar100, digits, "),
        ("zip:", "write zip:PATH"),
        ("folder:", "write folder:PATH"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(UsageError) as error:
        load(name)
    assert words in str(error.value)


def test_a_bare_path_is_told_its_prefix(tmp_path):
    (tmp_path / "a.zip").touch()
    with pytest.raises(UsageError, match="write zip:"):
        load(str(tmp_path / "a.zip"))
    with pytest.raises(UsageError, match="write folder:"):
        load(str(tmp_path))


def test_digits_are_those_of_sklearn():
    from sklearn.datasets import load_digits

    data, bunch = load("digits"), load_digits()
    train: Examples = data.train
    assert data.spec.shape == (1, 8, 8)
    assert (data.spec.levels, data.spec.classes, len(train), len(data.heldout)) == (17, 10, 1437, 360)
    x = torch.cat([split.batch(torch.arange(len(split))) for split in (data.train, data.heldout)])
    labels = torch.cat([data.train.labels, data.heldout.labels])
    assert x.dtype == torch.float32
    found = sorted((*image, label) for image, label in zip((x * 16).flatten(1).tolist(), labels.tolist(), strict=True))
    assert found == sorted((*image, label) for image, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))


def test_the_digits_split_never_moves():
    data = load("digits")
    assert data.content.startswith("3bdcbf89")
    assert data.train.labels[:12].tolist() == DIGITS_TRAIN
    assert data.heldout.labels[:12].tolist() == DIGITS_HELDOUT


def test_subsets_and_batches_agree_with_indexing():
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 4, 5), dtype=np.uint8)
    data = array(images, np.arange(30), holdout=0)
    assert data.spec.classes == 30
    rows = torch.tensor([7, 7, 29, 0])
    part = data.train.subset(rows).subset(torch.tensor([2, 0]))
    assert part.labels.tolist() == [29, 7]
    expected = torch.from_numpy(images[[29, 7]])
    assert torch.equal(part.integers(torch.arange(2)), expected)
    assert torch.equal(part.batch(torch.arange(2)), expected.float() / 255)
    with pytest.raises(IndexError):
        part.batch(torch.tensor([2]))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((4, 1, 2, 2)), None, "uint8"),
        (np.zeros((4, 2, 2), np.uint8), None, "uint8"),
        (np.zeros((0, 1, 2, 2), np.uint8), None, "empty"),
        (np.full((4, 1, 2, 2), 17, np.uint8), None, "the largest of 17 levels is 16"),
        (np.zeros((4, 1, 2, 2), np.uint8), [0, 1], "expected 4 integer labels"),
        (np.zeros((4, 1, 2, 2), np.uint8), [0.0, 1, 2, 3], "float64"),
        (np.zeros((4, 1, 2, 2), np.uint8), [0, -1, 2, 3], "start at 0"),
        (np.zeros((1, 1, 2, 2), np.uint8), None, "cannot be split"),
    ],
)
def test_bad_arrays(images, labels, words):
    with pytest.raises(UsageError, match=words):
        array(images, labels, levels=17)


def test_an_array_that_cannot_be_written_is_copied():
    images = np.zeros((4, 1, 2, 2), np.uint8)
    images.flags.writeable = False
    assert len(array(images).train) == 3


@given(count=st.integers(2, 500), share=st.none() | st.floats(0, 0.9), seed=st.integers(0, 2**32 - 1))
def test_a_division_is_a_partition(count, share, seed):
    content = f"{seed:08x}"
    if share is not None and share > 0 and max(1, round(share * count)) >= count:
        return
    train, held, _ = divide(count, content, share, "x")
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(count))
    expected = min(5000, round(count / 10)) if share is None else round(share * count)
    assert len(held) == (0 if share == 0 else max(1, expected))
    assert torch.equal(train, divide(count, content, share, "x")[0])


def test_the_default_share_is_capped_and_depends_on_content():
    assert len(divide(100_000, "00000000", None, "x")[1]) == 5000
    assert not torch.equal(shuffled(100, "00000000"), shuffled(100, "00000001"))


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, float("nan")])
def test_bad_shares(share):
    with pytest.raises(UsageError, match="held-out fraction"):
        divide(10, "00000000", share, "x")


@pytest.mark.parametrize("option", [{"holdout": 0.1}, {"heldout": "zip:a.zip"}])
def test_sets_with_a_split_take_no_other(option):
    with pytest.raises(UsageError, match="has its own split"):
        load("digits", **option)


def test_foreign_data_is_the_held_out_split():
    spec, split = load_foreign("digits")
    assert (spec.name, len(split)) == ("digits", 360)
