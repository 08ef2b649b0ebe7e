"""`priorkit sample --label` and `--keep-top` as a user calls them."""

import re

import numpy as np
import pytest
import torch

import priorkit
from priorkit.config import resolve
from priorkit.workflows.training.train import fit, from_run

PARITY = "{name: parity, classes: 2, of: [0, 1, 0, 1, 0, 1, 0, 1, 0, 1], layers: 'top:1', energy: {width: 8}}"
LABELS = f"prior.labels=[{{name: digit, energy: {{width: 8}}}}, {PARITY}]"
SMALL = [
    "prior.energy.width=16", "prior.stages=1", "sampler.steps=5", "trainer.prior_steps=60", "engine.threads=1",
    "trainer.posterior_samples=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def labelled(finished, tmp_path_factory):
    """A run with two attributes, on the tiny run's backbone."""
    folder = tmp_path_factory.mktemp("runs") / "labelled"
    fit(resolve(None, from_run(finished, [*SMALL, LABELS])), folder, source=finished)
    return folder


@pytest.fixture
def array(call, tmp_path):
    """The samples that the command writes."""

    def run(folder, *options):
        result = call("sample", folder, "--out", tmp_path / "x.npy", *options)
        assert result.exit_code == 0, result.output
        return np.load(tmp_path / "x.npy", allow_pickle=False)

    return run


def same(first, second):
    """Equal but for the decoder's matrix products, which round by the size of the last chunk."""
    np.testing.assert_allclose(first, second, atol=1e-6, rtol=0)


def test_one_label_is_that_of_the_python_interface(array, labelled):
    images = array(labelled, "--label", "digit=3", "--n", 5, "--seed", 2)
    assert images.shape == (5, 1, 8, 8)
    same(images, priorkit.load(labelled).sample(5, seed=2, labels={"digit": 3}).numpy())


def test_compositions_ask_for_several_attributes(array, labelled):
    both = array(labelled, "--label", "digit=3", "--label", "parity=1", "--n", 5)
    same(both, priorkit.load(labelled).sample(5, labels={"digit": 3, "parity": 1}).numpy())
    assert not np.allclose(both, array(labelled, "--label", "digit=3", "--n", 5))


def test_each_gives_a_row_of_every_value(array, labelled):
    images = array(labelled, "--label", "digit=each", "--label", "parity=1", "--n", 3)
    assert images.shape == (30, 1, 8, 8)
    labels = {"digit": torch.arange(10).repeat(3), "parity": 1}
    by_column = priorkit.load(labelled).sample(30, labels=labels)
    same(images, by_column.view(3, 10, 1, 8, 8).transpose(0, 1).flatten(0, 1).numpy())
    assert array(labelled, "--label", "digit=each").shape[0] == 80


def test_more_columns_change_no_picture(array, labelled):
    few, many = (array(labelled, "--label", "digit=each", "--keep-top", 1, "--n", n) for n in (2, 12))
    same(few.reshape(10, 2, 64), many.reshape(10, 12, 64)[:, :2])


def test_rows_keep_the_top_of_the_seed_s_samples(array, labelled):
    images = array(labelled, "--keep-top", 1, "--n", 3, "--tops", 2, "--seed", 4)
    assert images.shape == (6, 1, 8, 8)
    one = array(labelled, "--keep-top", 1, "--n", 3, "--tops", 1, "--seed", 4)
    same(one, priorkit.load(labelled).sample(3, seed=4, keep_top=1).numpy())
    assert array(labelled, "--keep-top", 1).shape[0] == 6 * 8


def test_the_top_is_the_first_sample_s_and_the_rest_is_drawn_anew(labelled):
    model = priorkit.load(labelled)
    columns = model.backbone.layout.top(1).dim
    first = model.sample_latents(1, seed=7)
    top = model.tops(1, 1, seed=7)
    assert torch.equal(top, first[:, :columns])
    images = model.sample(4, seed=7, keep_top=1)
    assert len({image.numpy().tobytes() for image in images}) == 4
    assert not torch.allclose(images[0], model.sample(1, seed=7)[0]), "variations do not repeat the sample itself"


def test_fixed_labels_hold_for_the_kept_top(labelled):
    model = priorkit.load(labelled)
    images = model.sample(3, seed=1, labels={"parity": 1}, keep_top=1)
    assert images.shape == (3, 1, 8, 8)
    assert torch.equal(images, model.sample(3, seed=1, labels={"parity": 1}, keep_top=1))
    assert not torch.allclose(images, model.sample(3, seed=1, keep_top=1))


@pytest.mark.parametrize(
    "options",
    [
        ["--label", "digit=4"],
        ["--label", "digit=each"],
        ["--keep-top", 1],
        ["--label", "parity=0", "--keep-top", 1, "--tops", 3],
        ["--label", "digit=each", "--keep-top", 1],
    ],
)
def test_sheets(call, labelled, tmp_path, options):
    result = call("sample", labelled, "--n", 2, "--out", tmp_path / "sheet.png", *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--label", "shape=1"], "digit, parity"),
        (["--label", "3"], "digit=3"),
        (["--label", "digit=10"], "0 to 9"),
        (["--label", "digit=-1"], "0 to 9"),
        (["--label", "digit=three"], "0 to 9"),
        (["--label", "digit="], "0 to 9"),
        (["--label", "digit=1", "--label", "digit=2"], "twice"),
        (["--label", "digit=each", "--label", "parity=each"], "only one attribute"),
        (["--keep-top", "2"], "number from 1 to 1"),
        (["--keep-top", "0"], "keep-top"),
        (["--tops", "3"], "--keep-top"),
        (["--label", "digit=each", "--keep-top", "1", "--tops", "2"], "--tops"),
        (["--label", "digit=1", "--progressive"], "--progressive"),
        (["--keep-top", "1", "--trajectory"], "--trajectory"),
    ],
)
def test_what_cannot_be_asked_is_refused(call, labelled, tmp_path, options, part):
    result = call("sample", labelled, "--out", tmp_path / "x.png", *options)
    assert result.exit_code == 2, result.output
    assert part in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "x.png").exists()


def test_a_prior_without_labels_refuses_them(call, finished, tmp_path):
    result = call("sample", finished, "--label", "3", "--out", tmp_path / "x.png")
    assert result.exit_code == 2
    # The option is printed as a shell takes it, and is one.
    (option,) = re.findall(r'--set "([^"]*)"', " ".join(result.output.split()))
    assert option == "prior.labels=[{classes: 10}]"
    shown = call("train", "--prior", "multistage", "--set", option, "--set", "trainer.prior_steps=-1")
    assert "prior_steps" in shown.output and "labels" not in shown.output
