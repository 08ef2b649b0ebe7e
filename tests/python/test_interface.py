"""The interface for notebooks: training once, models that tell what they are, components of one process."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

import priorkit
from priorkit.config import resolve
from priorkit.core import Draw, Prior
from priorkit.errors import PluginError, UsageError
from priorkit.registry import installed
from priorkit.workflows.training.options import as_overrides


def test_importing_priorkit_imports_no_torch():
    code = "import sys, priorkit; dir(priorkit); print([n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    assert all(callable(getattr(priorkit, name)) for name in priorkit.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        priorkit.nothing  # noqa: B018


@pytest.mark.parametrize(
    "options",
    [
        {"prior.stages": 2, "backbone.latents": [2, 3], "prior.energy.width": 8},
        {"prior": {"stages": 2, "energy": {"width": 8}}, "backbone": {"latents": [2, 3]}},
        ["prior.stages=2", "backbone.latents=[2,3]", "prior.energy.width=8"],
    ],
)
def test_options_mean_the_same_however_they_are_written(options):
    config = resolve(None, as_overrides(options), backbone="twolayer")
    assert (config.prior.options["stages"], config.prior.options["energy"]["width"]) == (2, 8)
    assert config.backbone.options["latents"] == [2, 3]


def test_the_same_call_reads_the_run_and_another_is_refused(train, model):
    before = model.session.folder.summary.stat().st_mtime_ns
    again = train()
    assert model.session.folder.summary.stat().st_mtime_ns == before
    torch.testing.assert_close(again.sample(3, seed=1), model.sample(3, seed=1), rtol=0, atol=0)
    plain = {"prior": "gaussian", "options": {"engine.threads": 1}}
    for changed, named in ({"seed": 1}, "seed"), (plain, "prior"), ({"source": model.folder, **plain}, "source"):
        with pytest.raises(UsageError, match=f"differs in .*{named}"):
            train(**changed)


def test_another_number_of_samples_is_told(train, model, caplog):
    train()
    assert not caplog.messages
    train(samples=70)
    (told,) = caplog.messages
    assert "metrics were computed with 60 samples, not 70" in told


def test_no_samples_are_an_empty_tensor(model):
    assert model.sample(0).shape == (0, 1, 8, 8) and model.sample_latents(0).shape == (0, 10)
    assert model.sample(0, keep_top=1).shape == (0, 1, 8, 8)
    with pytest.raises(UsageError, match="n: expected an integer of at least 0, got -1"):
        model.sample(-1)


def test_a_stopped_run_goes_on(train, model, tmp_path):
    folder = tmp_path / "stopped"
    shutil.copytree(model.folder, folder)
    (folder / "summary.json").unlink()
    finished = train(out=folder)
    assert finished.figures == model.figures
    torch.testing.assert_close(finished.sample(3), model.sample(3), rtol=0, atol=0)


def test_a_model_tells_what_it_is(model):
    told = repr(model)
    assert "multistage (2 stages" in told and "twolayer, 2 layers" in told and "D = 10" in told
    assert "digits, 1×8×8, 10 classes" in told and str(model.folder) in told
    page = replace(model, origin="<b>")._repr_html_()
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert page.count("<tr>") == len(model.described())


def test_its_figures_are_those_of_the_summary(model):
    assert model.figures == json.loads((model.folder / "summary.json").read_text())["metrics"]


def test_pictures_show_inline_and_follow_the_seed(model):
    shown = model.show(9, seed=3)._repr_png_()
    assert Image.open(io.BytesIO(shown)).format == "PNG"
    assert shown == model.show(9, seed=3)._repr_png_()
    assert shown != model.show(9, seed=4)._repr_png_()
    one, three = model.show(9).size, model.overview(9).size
    assert abs(three[0] - 3 * one[0]) <= 3  # three panels side by side, to a pixel each


def test_finished_runs_compare(model, tmp_path):
    found = priorkit.compare([model], out=tmp_path, quiet=True)
    assert found.page.is_file() and str(found.page) in repr(found).replace("\n", "")
    assert "multistage" in repr(found) and "<pre>" in found._repr_html_()
    for one in (str(model.folder), model.folder, model):
        assert len(priorkit.compare(one, out=tmp_path, quiet=True).rows) == len(found.rows)
    with pytest.raises(UsageError, match="unknown prior 'flot'"):
        priorkit.compare(priors="flot", out=tmp_path, quiet=True)
    with pytest.raises(UsageError, match="either finished runs"):
        priorkit.compare(out=tmp_path)
    with pytest.raises(UsageError, match="read with their own options"):
        priorkit.compare([model], out=tmp_path, budget="steps:3")


class Flat(Prior):
    """r = 1."""

    stages = 0

    def log_ratio(self, u, *, stages=None):
        return u.new_zeros(len(u))

    def draw(self, n, sampling):
        return Draw(self.standard_normal(n, sampling.generator))


class Unfinished(Prior):
    """Neither a log ratio nor draws."""


@pytest.fixture
def registry():
    installed.cache_clear()
    yield installed()
    installed.cache_clear()


def test_a_class_of_this_process_is_known_by_name_and_can_be_replaced(registry):
    priorkit.register("prior.flat", Flat)
    assert resolve(None, prior="flat").component("prior")[0] is Flat

    class Flatter(Flat):
        """The same, written again, in a function."""

    priorkit.register("prior.flat", Flatter)
    assert resolve(None, prior="flat").component("prior")[0] is Flatter
    assert resolve(None, prior="flat").versions().keys() >= {"this-process", "torch"}
    assert len([entry for entry in registry.entries if entry.key == "prior.flat"]) == 1


def test_what_cannot_be_registered_is_refused_and_leaves_nothing(registry):
    before = list(registry.entries)
    with pytest.raises(UsageError, match="already used by priorkit"):
        priorkit.register("prior.gaussian", Flat)
    with pytest.raises(UsageError, match="unknown kind 'priro'"):
        priorkit.register("priro.flat", Flat)
    with pytest.raises(PluginError, match=r"does not define .*log_ratio"):
        priorkit.register("prior.unfinished", Unfinished)
    assert registry.entries == before


def test_a_class_that_is_put_right_is_taken(registry):
    with pytest.raises(PluginError):
        priorkit.register("prior.flat", Unfinished)
    priorkit.register("prior.flat", Flat)
    assert registry.load("prior", "flat") is Flat
