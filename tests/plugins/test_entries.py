"""Metrics, data and extractors that ship with priorkit have their names from entry points alone, as a third party's do."""

import re
import tomllib
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

from priorkit.core import DataSource, DataSpec, FeatureExtractor
from priorkit.core.data_source import as_source
from priorkit.data import load, load_foreign
from priorkit.data.toys import TOYS
from priorkit.errors import PluginError, UsageError
from priorkit.metrics.extractors import open_extractor
from priorkit.metrics.features import FEATURE_SETS
from priorkit.registry import installed
from priorkit.testing import checks
from priorkit.workflows.measuring.evaluate import AFTER_TRAINING, chosen_metrics
from priorkit.workflows.measuring.shared_work import SharingMetric

ROOT = Path(__file__).resolve().parents[2]
DIGITS = DataSpec("digits", (1, 8, 8), 17)
SHIPPED = {
    "metric": {
        *("reconstruction", "elbo", "logz", "gap", "energy_distance", "sliced_wasserstein"),
        *("fd", "hole", "hole_nats", "copying", "coverage", "kernel", "fidelity", "nll", "chains"),
    },
    "data": {
        *("digits", "toy", "zip", "folder", "stream"),
        *("mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "celeba", "lsun-church"),
    },
    "extractor": {"inception", "dinov2", "clip", "digits", "fashion", "cifar"},
}
NAMES = [(kind, name) for kind, names in SHIPPED.items() for name in sorted(names)]


@pytest.fixture
def registry_anew():
    """A registry that is read again where it is asked for, and once more after the test."""
    installed.cache_clear()
    yield
    installed.cache_clear()


def ask(kind, name):
    """What a user does with a name of that kind."""
    if kind == "metric":
        chosen_metrics(name)
    elif kind == "extractor":
        open_extractor(name, DIGITS)
    else:
        load(name if name in ("digits", "mnist") else f"{name}:" if name == "zip" else f"{name}:moons")


def test_the_install_declares_what_the_project_says():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["priorkit"]
    found = {entry.key: entry.target for entry in installed().entries if entry.own}
    assert found == declared, "the entry points of the install are older than pyproject.toml: pip install -e . again"


@pytest.mark.parametrize("kind", SHIPPED)
def test_each_is_listed_with_its_package(kind):
    ours = [entry for entry in installed().entries if entry.kind == kind and entry.own]
    assert {entry.name for entry in ours} == SHIPPED[kind] == set(installed().own_names(kind))
    assert {entry.distribution for entry in ours} == {"priorkit"}
    assert {installed().health(entry).state for entry in ours} == {"ok"}


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_each_loads_and_is_of_its_contract(kind, name):
    component = installed().load(kind, name)
    if kind == "data":
        assert isinstance(as_source(component), DataSource)
    elif kind == "extractor":
        assert issubclass(component, FeatureExtractor) and component.name == name
    else:
        assert isinstance(component, SharingMetric) and component.__doc__.strip().endswith(".")


@pytest.mark.parametrize(
    ("kind", "name"), [("metric", "gap"), ("data", "digits"), ("data", "toy"), ("data", "zip"), ("extractor", "digits")]
)
def test_without_its_entry_a_name_means_nothing(registry_anew, monkeypatch, kind, name):
    monkeypatch.setenv("PRIORKIT_DISABLE_PLUGINS", f"{kind}.{name}")
    with pytest.raises(UsageError, match=r"unknown gap; choose from|Unknown data set|there are none called 'digits'"):
        ask(kind, name)


def test_every_name_that_is_built_into_the_code_is_an_entry():
    """Defaults, tables by name, and the help of commands name nothing else than entries."""
    assert set(AFTER_TRAINING) < SHIPPED["metric"] and set(chosen_metrics("all")) >= SHIPPED["metric"]
    assert set(FEATURE_SETS) | {"inception", "dinov2", "clip"} == SHIPPED["extractor"]
    assert {f"toy:{name}" for name in TOYS} == set(as_source(installed().load("data", "toy")).spellings("toy"))
    hints = get_type_hints(import_module("priorkit.cli.evaluate").evaluate, include_extras=True)
    for option, kind in (("metrics", "metric"), ("features", "extractor")):
        assert set(re.findall(r"[a-z_0-9]+", hints[option].__metadata__[0].help)) >= SHIPPED[kind]


def pictures(folder, count=30):
    """PNG files of noise, and the array of their pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    folder.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return pixels


@pytest.mark.parametrize("spelling", ["pack", "vendor:pack"])
def test_a_third_party_s_entry_goes_the_same_way(registry_anew, distribute, tmp_path, spelling):
    """A source that takes a path and has no split of its own, declared under another name by another package."""
    distribute("vendor", {"data.pack": "priorkit.data.archives:FolderImages"})
    pixels = pictures(tmp_path / "images")
    data = load(f"{spelling}:{tmp_path / 'images'}", holdout=0.2)
    ours = load(f"folder:{tmp_path / 'images'}", holdout=0.2)
    assert (len(data.train), len(data.heldout), data.content) == (24, 6, ours.content)
    assert torch.equal(data.heldout.integers(torch.arange(6)), ours.heldout.integers(torch.arange(6)))
    whole = load_foreign(f"{spelling}:{tmp_path / 'images'}")[1]
    assert np.array_equal(whole.integers(torch.arange(30))[:, 0].numpy(), pixels)


def test_a_class_that_is_no_source_is_refused(registry_anew, distribute):
    distribute("vendor", {"data.odd": "odd_source:Odd"}, {"odd_source": "class Odd: pass"})
    with pytest.raises(PluginError, match=r"kind data must be a subclass of priorkit\.core\.DataSource"):
        load("odd")


def test_a_word_that_an_option_takes_is_no_name(registry_anew, distribute):
    distribute("vendor", {"metric.all": "nowhere:measure", "extractor.auto": "nowhere:Auto"})
    theirs = [entry for entry in installed().entries if entry.distribution == "vendor"]
    assert len(theirs) == 2 and all("is reserved by priorkit" in installed().health(entry).problem for entry in theirs)


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("check", checks("data"), ids=str)
def test_the_toys_conform(check, toy):
    check(partial(as_source(installed().load("data", "toy")), place=toy))


@pytest.mark.parametrize("check", checks("data"), ids=str)
def test_images_of_a_folder_conform(check, tmp_path):
    pictures(tmp_path / "images")
    check(partial(as_source(installed().load("data", "folder")), place=str(tmp_path / "images")))
