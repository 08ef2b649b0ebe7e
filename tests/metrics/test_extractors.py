"""Extractors by name: Inception with weights of its own shapes, files, functions, plugins, and what each refuses."""

import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import safetensors.torch
import torch

from priorkit.core import DataSpec
from priorkit.data.examples import Points
from priorkit.errors import UsageError
from priorkit.metrics import extracted
from priorkit.metrics.extractors import open_extractor
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.inception import VARIABLE, inception_weights
from priorkit.metrics.sample_fidelity import SampleFidelity, figure_names, real_images, to_8_bits
from priorkit.metrics.weight_files import PublishedWeights
from priorkit.registry import installed

SPEC = DataSpec("pictures", (3, 16, 16), 256)
DIGITS = DataSpec("digits", (1, 8, 8), 17)

needs_library = pytest.mark.skipif(find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed")


def pictures(count, seed, channels=3, size=16):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No weights in any of the usual places."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights with Inception's own keys and shapes, about 95 MB, deleted afterwards."""
    network = fidelity_library().inception

    class Untrained(network):
        def load_state_dict(self, state):
            return None

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=nothing).state_dict()
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(state, path)
    assert 90e6 < path.stat().st_size < 100e6
    yield path
    path.unlink()


def distance_of_few(a, b):
    """The squared Fréchet distance of few points of many features: tr (C_a C_b)^1/2 is the nuclear norm of A B^T for the
    centred and scaled points A and B, so that no matrix of F x F is needed."""
    centred = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a.double(), b.double())]
    overlap = torch.linalg.matrix_norm(centred[0] @ centred[1].T, "nuc")
    shift = (a.double().mean(0) - b.double().mean(0)).square().sum()
    return float(shift + sum(x.square().sum() for x in centred) - 2 * overlap)


@needs_library
@pytest.mark.slow
def test_random_weights_of_the_right_shapes_are_an_inception(weights):
    """FID of a few images agrees with that of features computed by the network itself; grey images are three channels."""
    inception = open_extractor("inception", SPEC, weights=str(weights))
    real, fake = pictures(4, 0), pictures(4, 1) ** 2
    judge = SampleFidelity(inception, real_images(inception, Points(real)))
    figures = judge.figures([to_8_bits(fake)])
    assert {"fid", "kid", "precision_inception", "recall_inception"} == set(figures)
    with torch.no_grad():
        both = inception.network(to_8_bits(torch.cat([fake, real])))[0]
    assert both.shape == (8, 2048)
    assert figures["fid"].value == pytest.approx(distance_of_few(both[:4], both[4:]), rel=1e-3)
    assert figures["fid"].value > 0 and figures["fid"].spread is None
    assert inception.fingerprint[:8] in figures["fid"].protocol and figure_names(inception).reconstruction == "rfid"
    grey = pictures(1, 2, channels=1)
    one, three = (inception(to_8_bits(images)).vectors for images in (grey, grey.expand(-1, 3, -1, -1)))
    assert torch.equal(one, three)
    with pytest.raises(UsageError, match="1 or 3 channels, got 2"):
        inception(torch.zeros(1, 2, 8, 8, dtype=torch.uint8))


@needs_library
def test_where_the_weights_are_looked_for(nowhere, monkeypatch, tmp_path):
    with pytest.raises(UsageError) as missing:
        inception_weights().find()
    for part in ("github.com/toshas/torch-fidelity", str(nowhere), "--feature-weights FILE", VARIABLE, "95 MB"):
        assert part in str(missing.value)
    assert "\n" not in str(missing.value)
    monkeypatch.setattr(PublishedWeights, "_whole", lambda weights: True)
    nowhere.parent.mkdir(parents=True)
    nowhere.touch()
    assert inception_weights().find() == nowhere
    other, named = tmp_path / "other.pth", tmp_path / "named.pth"
    other.touch(), named.touch()
    monkeypatch.setenv(VARIABLE, str(other))
    assert inception_weights().find() == other and inception_weights().find(named) == named
    for file, origin in ((None, VARIABLE), (tmp_path / "none.pth", "named")):
        monkeypatch.setenv(VARIABLE, str(tmp_path / "gone.pth"))
        with pytest.raises(UsageError, match=f"no such file .*{origin}"):
            inception_weights().find(file)


class Surprise:
    """Unpickling it would call a function."""

    def __reduce__(self):
        return print, ("unpickled",)


@needs_library
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not a file of torch", "not a file of weights"),
        (b"", "not a file of weights"),
        (Surprise(), "not only weights"),
        ([1, 2], "expected a mapping of names to tensors, got list"),
        ({"fc.bias": 3}, "expected a mapping of names to tensors"),
        ({"fc.bias": torch.zeros(3)}, "not the weights of torch-fidelity's Inception"),
    ],
)
def test_other_files_are_refused_and_nothing_is_unpickled(tmp_path, capsys, content, told):
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UsageError, match=told) as refused:
        open_extractor("inception", SPEC, weights=str(path))
    assert str(path) in str(refused.value) and "unpickled" not in capsys.readouterr().out


@needs_library
def test_safetensors_are_read_too(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"fc.bias": torch.zeros(3)}, path)
    with pytest.raises(UsageError, match="not the weights"):
        open_extractor("inception", SPEC, weights=str(path))
    path.write_bytes(b"broken")
    with pytest.raises(UsageError, match="not a file of weights"):
        open_extractor("inception", SPEC, weights=str(path))


@needs_library
def test_a_download_that_fails_says_what_to_do(nowhere, monkeypatch):
    def offline(*what, **how):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UsageError, match=r"no route to host.*put it at"):
        open_extractor("inception", SPEC, weights="download")


@needs_library
def test_a_download_that_was_cut_short_is_told_and_made_again(nowhere, monkeypatch):
    nowhere.parent.mkdir(parents=True)
    nowhere.write_bytes(b"half")
    with pytest.raises(UsageError, match=f"{nowhere}: the file is incomplete"):
        inception_weights().find()
    asked = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda address, to, digest, **how: asked.append((to, digest)))
    assert inception_weights().download() == nowhere
    assert asked == [(str(nowhere), "6726825d")]


def test_the_shipped_classifier_fits_its_images():
    digits = open_extractor("auto", DIGITS)
    assert digits.name == "digits" and digits.fingerprint
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = extracted(digits, [images])
    assert torch.equal(found.vectors, digits.network(images / 255)) and found.logits.shape == (3, 10)
    torch.testing.assert_close(found.logits, digits.network.logits(images / 255))
    with pytest.raises(UsageError, match="expected images of shape"):
        extracted(digits, [torch.zeros(1, 3, 8, 8, dtype=torch.uint8)])


class Halves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().mean(2).flatten(1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_file(tmp_path):
    path = tmp_path / "My halves.pt"
    torch.jit.save(torch.jit.script(Halves()), path)
    script = open_extractor(str(path), SPEC)
    images = to_8_bits(pictures(2, 0))
    assert torch.equal(script(images).vectors, Halves()(images))
    assert script.name == "my_halves" and figure_names(script).distance == "fd_my_halves" and script.fingerprint
    reserved = tmp_path / "inception.pt"
    reserved.write_bytes(path.read_bytes())
    assert figure_names(open_extractor(str(reserved), SPEC)).distance == "fd_inception_foreign"


def test_files_that_are_no_torchscript(tmp_path):
    path = tmp_path / "pickled.pt"
    torch.save(Surprise(), path)
    with pytest.raises(UsageError, match="no TorchScript file"):
        open_extractor(str(path), SPEC)
    with pytest.raises(UsageError, match="cannot be read"):
        open_extractor(str(tmp_path / "none.pt"), SPEC)


MODULE = """
import torch
ten = 10
def means(images):
    return images.float().mean((2, 3))
def scored(images):
    return means(images), images.float().amax((2, 3))
def wrong(images):
    return [1]
"""


def test_a_function_of_a_module(tmp_path, monkeypatch):
    tmp_path.joinpath("my_features.py").write_text(MODULE)
    tmp_path.joinpath("my_broken_features.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    images = to_8_bits(pictures(2, 0))
    means = open_extractor("my_features:means", SPEC)
    assert torch.equal(means(images).vectors, images.float().mean((2, 3))) and means(images).logits is None
    assert not means.fingerprint and means.name == "means"
    assert open_extractor("my_features:scored", SPEC)(images).logits.shape == (2, 3)
    with pytest.raises(UsageError, match="expected a tensor, or a pair of tensors, got list"):
        open_extractor("my_features:wrong", SPEC)(images)
    for name, told in (
        ("my_features:none", "none"), ("nowhere_at_all:f", "PYTHONPATH"), ("my_features:ten", "not a function"),
        ("my_broken_features:f", "ZeroDivisionError"), (":f", "Empty module name"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=told):
            open_extractor(name, SPEC)


def test_unknown_names_and_weights_without_use():
    with pytest.raises(
        UsageError, match="none called 'nothing'; there are auto, cifar, clip, digits, dinov2, fashion, inception, a"
    ):
        open_extractor("nothing", SPEC)
    for weights in ("file.pt", "download"):
        with pytest.raises(UsageError, match="no use for a file of weights"):
            open_extractor("digits", DIGITS, weights=weights)


PLUGIN = """
import torch
from priorkit.core import FeatureExtractor, Features

class Columns(FeatureExtractor):
    about = "column means"
    name = "inception"
    def __init__(self, **how):
        super().__init__(**how)
        if self.weights is not None and not self.weights.exists():
            raise ValueError("no weights here")
    def __call__(self, images):
        return Features(images.float().mean(2).flatten(1))

def function(images):
    return images
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package of somebody else's that declares extractors."""
    tmp_path.joinpath("vendor_features.py").write_text(PLUGIN)
    info = tmp_path / "vendor-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: vendor\nVersion: 1.0\n")
    points = {"columns": "Columns", "inception": "Columns", "plain": "function"}
    lines = [f"extractor.{name} = vendor_features:{value}" for name, value in points.items()]
    info.joinpath("entry_points.txt").write_text("\n".join(["[priorkit]", *lines]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed.cache_clear()
    yield
    installed.cache_clear()


def test_a_plugin_is_found_by_name_and_named_by_it(plugin):
    for name in ("columns", "vendor:columns"):
        columns = open_extractor(name, SPEC)
        assert columns.name == "columns" and "vendor 1.0" in columns.about
        assert figure_names(columns).distance == "fd_columns"
    assert columns(to_8_bits(pictures(2, 0))).vectors.shape == (2, 48)
    with pytest.raises(UsageError, match=r"extractor.columns of vendor 1.0 raised ValueError: no weights here"):
        open_extractor("columns", SPEC, weights="none")
    with pytest.raises(UsageError, match="no weights to fetch"):
        open_extractor("columns", SPEC, weights="download")


def test_the_extractor_of_the_page_on_plugins():
    page = (Path(__file__).resolve().parents[2] / "docs" / "plugins" / "extractor.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(code, names)
    found = extracted(names["BlockMeans"](), [to_8_bits(pictures(5, 0))])
    assert found.vectors.shape == (5, 48) and found.logits.shape == (5, 10)
    torch.testing.assert_close(found.vectors[:, :16].mean(1), to_8_bits(pictures(5, 0))[:, 0].float().mean((1, 2)) / 255)


def test_a_plugin_cannot_take_our_name_and_must_be_an_extractor(plugin):
    assert installed().resolve("extractor", "inception").own
    theirs = open_extractor("vendor:inception", SPEC)
    assert type(theirs).__name__ == "Columns" and figure_names(theirs).distance == "fd_inception_foreign"
    with pytest.raises(Exception, match=r"must be a subclass of priorkit.core.FeatureExtractor"):
        open_extractor("plain", SPEC)
