"""A researcher with a folder of her own images trains, looks at samples and pages, and compares, all from the shell."""

import json

import numpy as np
import pytest
from PIL import Image

SIDE, COUNT = 16, 120
SHORT = [
    "--set", "backbone.hidden=32", "--set", "backbone.latents=[4, 8]", "--set", "prior.stages=1",
    "--set", "prior.energy.width=16", "--set", "prior.pool_size=300", "--set", "sampler.steps=5",
    "--set", "trainer.backbone_steps=60", "--set", "trainer.prior_steps=60", "--set", "trainer.posterior_samples=1",
    "--set", "engine.threads=1",
]  # fmt: skip


def blobs(count):
    """Grey images of one blob each, at a random place."""
    random = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    for x, y, width in zip(*random.uniform([[3], [3], [1.5]], [[13], [13], [4]], (3, count)), strict=True):
        yield (255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / width**2)).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Her working folder, with `photos/`."""
    folder = tmp_path_factory.mktemp("researcher")
    (folder / "photos").mkdir()
    for number, image in enumerate(blobs(COUNT)):
        Image.fromarray(image).save(folder / "photos" / f"{number:03}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def done(call, *arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def trained(call, place):
    """What the training printed."""
    return done(call, "train", "--data", "folder:photos", "--backbone", "twolayer", *SHORT, "--out", "runs/photos")


def test_she_trains(trained, place):
    summary = json.loads((place / "runs" / "photos" / "summary.json").read_text())
    assert {"reconstruction", "elbo_nats"} <= summary["metrics"].keys()
    assert (place / "runs" / "photos" / "samples" / "overview.png").is_file()
    assert "reconstruction" in trained.stdout


def test_she_looks_at_samples_and_at_the_page(call, trained, place):
    done(call, "sample", "runs/photos", "--n", 9, "--out", "samples.png")
    done(call, "sample", "runs/photos", "--n", 9, "--out", "samples.npy")
    array = np.load(place / "samples.npy")
    assert array.shape == (9, 1, SIDE, SIDE) and array.min() >= 0 and array.max() <= 1
    with Image.open(place / "samples.png") as picture:
        assert picture.size[0] >= 3 * SIDE
    done(call, "report", "runs/photos", "--out", "photos.html")
    assert "<img" in (place / "photos.html").read_text()


def test_she_compares_with_another_prior_on_the_same_backbone(call, trained, place):
    done(call, "train", "--from", "runs/photos", "--prior", "gaussian", "--set", "engine.threads=1", "--out", "runs/plain")
    table = done(call, "compare", "runs/photos", "runs/plain", "--out", "runs/table")
    assert "multistage" in table.stdout and "gaussian" in table.stdout
    assert (place / "runs" / "table" / "compare.html").is_file()
