"""The group `fidelity` of a model's figures: its names, what the settings change, batch norms, and what is left out."""

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from priorkit.config import FidelitySettings, RunConfig, adjusted_fidelity, resolve
from priorkit.data import array, load
from priorkit.errors import UsageError
from priorkit.metrics.inception import VARIABLE
from priorkit.metrics.sample_fidelity import to_8_bits
from priorkit.model import CHUNK
from priorkit.registry import installed
from priorkit.registry.entry import Entry
from priorkit.workflows.assemble import build_model
from priorkit.workflows.measuring.evaluate import AFTER_TRAINING, chosen_metrics, measure
from priorkit.workflows.measuring.sample_fidelity import Decoder
from priorkit.workflows.sampling.batch_norms import BatchNorms

pytestmark = pytest.mark.skipif(find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed")


ENDINGS = ("", "_gaussian", "_stage_1", "_stage_2")


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(VARIABLE, raising=False)


def images(count=120, holdout=0.25):
    pixels = np.random.RandomState(0).randint(0, 17, (count, 1, 8, 8)).astype(np.uint8)
    return array(pixels, levels=17, holdout=holdout)


def model(data, stages=2):
    """Two stages of an untrained prior, of which `stages` count; with none the prior is the Gaussian one."""
    torch.set_num_threads(1)
    sizes = ["backbone.hidden=8", "backbone.latents=[2, 2]", "prior.energy.width=4", "prior.stages=2", "sampler.steps=2"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = build_model(resolve(None, sizes, backbone="twolayer", data="digits"), data.spec, torch.device("cpu"))
    made.prior.active.fill_(stages)
    made.backbone.eval().requires_grad_(False)
    made.prior.eval().requires_grad_(False)
    return made


def measured(made, data, metrics=("fidelity",), **settings):
    return measure(made, data, metrics=metrics, samples=60, fidelity=FidelitySettings(**settings))


@pytest.fixture(scope="module")
def plain():
    """Both groups of figures, with settings as they are."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setenv("PRIORKIT_CACHE", folder)
        found = measured(model(images()), images(), metrics=("fidelity",))
        assert len(list((Path(folder) / "features").iterdir())) == 1
    return found


def test_every_prior_has_every_figure_and_the_protocol_says_how(plain):
    bases = ("fd", "kd", "class_score", "precision", "recall")
    assert set(plain) == {f"{base}_digits{end}" for base in bases for end in ENDINGS} | {"rfd_digits"}
    protocol = plain["kd_digits"].protocol
    for part in ("60 samples", "decoder means", "temperature 1", "no batch norm", "nearest of 256", "seed 0", "90 training"):
        assert part in protocol
    assert "weights" in protocol and protocol.endswith(images().protocol)


def test_both_groups_agree_on_the_distance(plain):
    """`fd` is our own computation on the same features, samples and images."""
    data = images()
    found = measured(model(data), data, metrics=("fd",))
    ours = {name: figure for name, figure in found.items() if "heldout" not in name and "share" not in name}
    assert set(ours) == {f"fd_digits{end}" for end in (*ENDINGS, "_posterior")}
    for name in (f"fd_digits{end}" for end in ENDINGS):
        assert plain[name].value == pytest.approx(ours[name].value, rel=1e-3)
    assert plain["rfd_digits"].value == pytest.approx(ours["fd_digits_posterior"].value, rel=0.5)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"decoder": "sample"}, "draws of p(x | z)"),
        ({"temperature": 0.5}, "temperature 0.5"),
        ({"rounding": "down"}, "rounded down"),
        ({"samples": 40}, "40 samples"),
        ({"split": "heldout"}, "30 held-out images"),
    ],
)
def test_settings_change_the_figure_and_its_protocol(settings, part, plain):
    data = images()
    other, figure = measured(model(data, stages=0), data, **settings)["fd_digits"], plain["fd_digits_gaussian"]
    assert part in other.protocol and part not in figure.protocol
    assert other.value != figure.value


def test_images_are_those_of_the_model():
    """More than one chunk: the noise of drawn pixels must be that of `Model.decode`."""
    made = model(images())
    u = torch.randn(130, 4, generator=torch.Generator().manual_seed(0))
    for decoder in ("mean", "sample"):
        decode = Decoder(made, FidelitySettings(decoder=decoder, temperature=0.7), seed=3)
        found = torch.cat([decode(part, chunk) for chunk, part in enumerate(torch.split(u, CHUNK))])
        expected = made.decode(u, seed=3, temperature=0.7, mean=decoder == "mean")
        assert found.dtype == torch.uint8 and torch.equal(found, to_8_bits(expected))


def test_missing_weights_leave_out_fidelity_alone(caplog):
    data = images()
    figures = measured(model(data, stages=0), data, metrics=("reconstruction", "fidelity", "fd"), features="inception")
    assert {"reconstruction", "fd_digits"} <= set(figures) and not any("fid" in name for name in figures)
    (line,) = [message for message in caplog.messages if not message.startswith("share_closed")]
    assert line.startswith("fidelity is left out: FID needs the weights") and "put it at" in line and "\n" not in line


def test_points_have_no_fidelity():
    assert not measured(SimpleNamespace(see_room=lambda *_, **__: None), load("toy:checkerboard"))


def test_it_is_measured_when_asked_for():
    assert "fidelity" not in AFTER_TRAINING and "fidelity" in chosen_metrics("all")


class WithNorm(nn.Module):
    """A decoder whose pictures tell the statistics of its batch norm."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, affine=False)
        self.other = nn.Dropout(0.5)
        self.eval()

    def generate(self, u, *, temperature):
        return self.norm(temperature * u)


def draws(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [3 + 2 * torch.randn(400, 2, generator=generator) for _ in range(count)]


def test_batch_norms_are_those_asked_for_and_are_put_back():
    """u ~ N(3, 4): with statistics of training (0, 1) nothing moves, with the others (u - 3) / 2; 4 / sqrt(400) = 0.2."""
    backbone, (u,) = WithNorm(), draws(1, seed=1)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    for mode, mean, scale in (("trained", 3.0, 2.0), ("readjusted", 0.0, 1.0), ("batch", 0.0, 1.0)):
        norms = BatchNorms(backbone, mode)
        if mode == "readjusted":
            norms.adjust(draws(200))
        with norms.generating():
            found = backbone.generate(u, temperature=1.0)
        tolerance = 1e-4 if mode == "batch" else 0.2
        assert float(found.mean()) == pytest.approx(mean, abs=tolerance) and str(norms).startswith("batch-norm statistics")
        assert float(found.std()) == pytest.approx(scale, abs=max(tolerance, 2e-3))
        assert not any(module.training for module in backbone.modules())
        assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_batch_norms_are_put_back_after_an_error():
    backbone = WithNorm()
    norms = BatchNorms(backbone, "batch")
    with pytest.raises(ZeroDivisionError), norms.generating():
        backbone.generate(torch.ones(4, 2), temperature=1.0)
        raise ZeroDivisionError
    assert not backbone.norm.training and float(backbone.norm.running_mean.abs().max()) == 0


def test_a_command_lays_its_settings_over_the_run_s():
    config = resolve(None, ["fidelity.temperature=0.7", "fidelity.features=digits"])
    assert RunConfig.build(config.model_dump(mode="json")).fidelity.temperature == 0.7
    found = adjusted_fidelity(config, ["fidelity.split=heldout"], features="inception", weights="file.pth")
    assert (found.temperature, found.split, found.features, found.weights) == (0.7, "heldout", "inception", "file.pth")
    for argument, told in (
        ("fidelity.temprature=1", "--set fidelity.temprature"), ("prior.stages=1", "only options of fidelity"),
        ("fidelity.temperature=0", "--set fidelity.temperature=0"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=told):
            adjusted_fidelity(config, [argument])


@pytest.mark.parametrize("features", ["os:getcwd", "program.pt", "/runs/theirs/program.ts", "features:f"])
def test_a_run_names_no_code_to_be_loaded(features):
    """A downloaded config.yaml must not choose what is imported; the one who gives the command may."""
    config = resolve(None, [f"fidelity.features={features}"])
    with pytest.raises(UsageError, match=r"may come from a third party.*give it with --features") as refused:
        adjusted_fidelity(config, ["fidelity.split=heldout"])
    assert features in str(refused.value) and "\n" not in str(refused.value)
    for given in ([f"fidelity.features={features}"], [f'fidelity={{"features": "{features}"}}']):
        assert adjusted_fidelity(config, given).features == features
    assert adjusted_fidelity(config, features=features).features == features
    assert adjusted_fidelity(config, features="auto").features == "auto"


def test_a_run_may_name_the_extractor_of_an_installed_plugin(monkeypatch):
    entry = Entry("extractor", "columns", "vendor", "1", "vendor:Columns")
    monkeypatch.setattr(installed(), "entries", [*installed().entries, entry])
    for name in ("columns", "vendor:columns", "inception", "auto"):
        assert adjusted_fidelity(resolve(None, [f"fidelity.features={name}"])).features == name
    with pytest.raises(UsageError, match="not an extractor"):
        adjusted_fidelity(resolve(None, ["fidelity.features=other:columns"]))
