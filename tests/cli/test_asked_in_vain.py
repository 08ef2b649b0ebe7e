"""What a command cannot do as it was asked is refused with what would mend it, and nothing asked for goes unheard."""

import numpy as np
import pytest
from PIL import Image

from priorkit.data import copies, load
from priorkit.errors import UsageError
from priorkit.workflows.measuring.ood import detect
from priorkit.workflows.sampling.interpolation import interpolations
from priorkit.workflows.session import open_run


def images(folder, count):
    folder.mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return f"folder:{folder}"


def test_a_run_that_is_compared_with_itself_is_named(call, finished, tmp_path):
    result = call("compare", finished, f"{finished}/../{finished.name}", "--out", tmp_path / "table")
    assert result.exit_code == 2 and f"{finished.name} is given twice" in " ".join(result.output.split())


def test_outsiders_of_one_image(call, finished, tmp_path):
    result = call("ood", finished, "--ood", images(tmp_path / "one", 1))
    assert result.exit_code == 2 and "/one: it has one example" in " ".join(result.output.split())


def test_outsiders_that_were_trained_on_are_told_of(finished, tmp_path, caplog):
    name = images(tmp_path / "some", 12)
    session = open_run(finished, data=load(name, holdout=0.25))
    detect(session, [name], scores=["gaussian"], images=10)
    assert f"--ood {name}: 9 of its 12 images are training images of the run" in caplog.messages
    caplog.clear()
    detect(session, ["digits"], scores=["gaussian"], images=10)
    assert not caplog.messages


def test_the_training_images_are_hashed_once_for_all_outsiders(finished, tmp_path, monkeypatch):
    names = [images(tmp_path / name, 12) for name in ("one", "two", "three")]
    session = open_run(finished, data=load(names[0], holdout=0.25))
    hashed = []
    monkeypatch.setattr(copies, "_digests", lambda of: hashed.append(len(of)) or iter((b"",)))
    detect(session, names, scores=["gaussian"], images=10)
    assert sorted(hashed) == [9, 12, 12, 12]


def test_one_held_out_image_is_not_called_none(finished, tmp_path):
    session = open_run(finished, data=load(images(tmp_path / "two", 2)))
    with pytest.raises(UsageError, match="have one held-out image to compare with"):
        detect(session, ["ood:blurred"])
    with pytest.raises(UsageError, match="train on data with more held out"):
        interpolations(session, 1)
