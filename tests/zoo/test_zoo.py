"""The models that come with the package: each loads, samples, can be trained on, and is left as it was."""

import hashlib
import json

import pytest
import torch
from PIL import Image

import priorkit
from priorkit import zoo
from priorkit.errors import UsageError
from priorkit.workflows.sharing.half_precision import LEAST, halved
from priorkit.zoo import MODELS, PREFIX, given_run, zoo_models

NAMES = [model.name for model in zoo_models()]
MEGABYTES = 2e6


def contents():
    """Every file of the zoo with its digest."""
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in MODELS.rglob("*") if file.is_file()}


def test_there_are_models_and_they_are_small():
    assert {"digits", "fashion", "mnist"} <= {*NAMES}
    for model in zoo_models():
        assert 0 < model.size <= MEGABYTES, model
        card = (model.folder / "README.md").read_text(encoding="utf-8")
        assert f'priorkit.from_pretrained("{PREFIX}{model.name}")' in card and "half precision" in card


@pytest.mark.parametrize("name", NAMES)
def test_a_model_samples_and_nothing_is_written_to_its_folder(call, tmp_path, name):
    before = contents()
    model = priorkit.load(PREFIX + name)
    images = model.sample(4, seed=1)
    assert images.shape == (4, *model.spec.shape) and bool(images.isfinite().all())
    assert images.std() > 0.1, "the images are not constant"
    assert {value.dtype for value in model.backbone.parameters()} == {torch.float32}
    done = call("sample", PREFIX + name, "--n", 4, "--seed", 1, "--out", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 8
    again = priorkit.from_pretrained(PREFIX + name).sample(4, seed=1)
    assert torch.equal(images, again)
    assert contents() == before


def test_a_prior_is_trained_on_a_model_with_other_data(call, tmp_path):
    pixels = torch.randint(0, 256, (40, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    (tmp_path / "images").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    before = contents()
    done = call(
        "train", "--from", "zoo:fashion", "--data", f"folder:{tmp_path / 'images'}", "--prior", "gaussian",
        "--figures", "none", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    theirs, ours = (priorkit.load(one).backbone.state_dict() for one in ("zoo:fashion", tmp_path / "run"))
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert contents() == before


def test_a_name_is_found_without_reading_the_models(monkeypatch):
    monkeypatch.setattr(zoo, "_read", None)
    assert given_run("RUN", f"{PREFIX}fashion") == MODELS / "fashion"
    with pytest.raises(UsageError, match="did you mean zoo:fashion"):
        given_run("RUN", f"{PREFIX}fasion")


def test_list(call):
    done = call("zoo", "list")
    assert done.exit_code == 0 and all(PREFIX + name in done.output for name in NAMES), done.output
    listed = json.loads(call("zoo", "list", "--json").output)["models"]
    assert [one["run"] for one in listed] == [PREFIX + name for name in NAMES]


def test_names(call, tmp_path, monkeypatch):
    assert given_run("run", "zoo:digits") == MODELS / "digits"
    assert given_run("run", tmp_path) == tmp_path
    with pytest.raises(UsageError, match="did you mean zoo:fashion"):
        given_run("run", "zoo:fasion")
    done = call("sample", "zoo:fasion", "--out", tmp_path / "sheet.png")
    assert done.exit_code == 2 and "zoo:fashion" in done.output
    # A folder of that name goes first.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo:digits").mkdir()
    assert given_run("run", "zoo:digits").absolute() == tmp_path / "zoo:digits"


def test_no_model_tells_where_it_was_made():
    for file in MODELS.rglob("*"):
        if file.is_file() and file.suffix not in (".png", ".safetensors"):
            text = file.read_text(encoding="utf-8")
            assert not any(place in text for place in ("/tmp", "/home", "/root", "/work")), file


def test_half_precision_keeps_small_tensors_and_numbers_that_it_cannot_hold():
    weight, bias, large, count = torch.randn(LEAST), torch.randn(LEAST - 1), torch.full((LEAST,), 1e5), torch.arange(LEAST)
    found = halved({"weight": weight, "bias": bias, "large": large, "count": count})
    assert torch.equal(found["weight"], weight.half())
    assert torch.equal(found["bias"], bias) and torch.equal(found["large"], large) and torch.equal(found["count"], count)
