"""The shipped feature networks and the fidelity that stands on them."""

from importlib.resources import files

import pytest
import torch

from priorkit.core import DataSpec
from priorkit.data import load
from priorkit.data.examples import Points
from priorkit.errors import UsageError
from priorkit.metrics import FidelityReference, feature_network, features_for, fidelity, frechet_distance, statistics
from priorkit.metrics.features import FEATURE_SETS, read_metadata
from priorkit.metrics.fidelity import round_to_8_bits


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def reference(digits):
    return FidelityReference(digits.spec, digits.train)


def everything(split):
    return split.batch(torch.arange(len(split)))


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_a_shipped_network_loads_and_is_small(name):
    weights = files("priorkit.metrics") / "weights" / f"{name}.safetensors"
    assert len(weights.read_bytes()) <= 5_000_000
    network, kind = feature_network(name), FEATURE_SETS[name]
    x = torch.rand(5, *kind.shape, generator=torch.Generator().manual_seed(0))
    assert network(x).shape == (5, kind.features)
    assert network.logits(x).shape == (5, kind.classes)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(("name", "least"), [("digits", 0.97), ("fashion", 0.90), ("cifar", 0.75)])
def test_recorded_heldout_accuracy(name, least):
    assert float(read_metadata(name)["heldout_accuracy"]) >= least


def test_the_digits_network_reads_heldout_digits(digits):
    guesses = feature_network("digits").logits(round_to_8_bits(everything(digits.heldout))).argmax(1)
    measured = float((guesses == digits.heldout.labels).float().mean())
    assert measured >= 0.97
    assert measured == pytest.approx(float(read_metadata("digits")["heldout_accuracy"]), abs=1e-4)


def test_features_of_the_training_digits_are_standardised(digits, reference):
    features = reference.features(everything(digits.train))
    torch.testing.assert_close(features.mean(0), torch.zeros(64), rtol=0, atol=1e-3)
    torch.testing.assert_close(features.var(0), torch.ones(64), rtol=0, atol=1e-2)


def test_features_do_not_depend_on_the_batch_size(digits):
    images = everything(digits.heldout)
    one = FidelityReference(digits.spec, digits.heldout, batch_size=7)
    other = FidelityReference(digits.spec, digits.heldout, batch_size=360)
    # float32 convolutions of another batch shape round differently, by some 1e-6 of features of size 1.
    torch.testing.assert_close(one.features(images), other.features(images), rtol=0, atol=1e-4)
    assert frechet_distance(one.real, other.real) == pytest.approx(0, abs=1e-5)


def test_the_training_images_themselves_are_at_distance_zero(digits, reference):
    images = everything(digits.train)
    assert reference.name == "fd_digits"
    assert reference.fd(images, generator=torch.Generator().manual_seed(0)).value == pytest.approx(0, abs=1e-5)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert reference.fd(images[order]).value == pytest.approx(0, abs=1e-5)


def test_heldout_digits_are_nearer_than_damaged_ones(digits, reference):
    generator = torch.Generator().manual_seed(0)
    clean = everything(digits.heldout)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=generator)
    one_class = everything(digits.train)[digits.train.labels == 1]
    distances = [reference.fd(images, generator=generator).value for images in (clean, noisy, one_class)]
    assert distances[0] < 3
    assert min(distances[1:]) > 3 * distances[0]


def test_the_spread_is_that_of_fresh_samples(digits, reference):
    """The bootstrap's standard deviation against the one over independent draws of 400 noisy training images."""
    generator = torch.Generator().manual_seed(1)
    images = everything(digits.train)

    def draw():
        x = images[torch.randint(len(images), (400,), generator=generator)]
        return reference.fd(x + 0.3 * torch.randn(x.shape, generator=generator), generator=generator)

    figures = [draw() for _ in range(12)]
    between = float(torch.tensor([figure.value for figure in figures]).std())
    within = float(torch.tensor([figure.spread for figure in figures]).mean())
    # Twelve values know their deviation to 20 %, and resampling a resample widens it a little.
    assert 0.5 < within / between < 2


def test_the_figure_depends_on_the_generator_alone(digits, reference):
    images = everything(digits.heldout)
    first, second = (reference.fd(images, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == second
    assert "360 generated against 1437 training images" in first.protocol
    assert "8 bits" in first.protocol


def test_the_distance_is_that_of_the_features(digits, reference):
    images = everything(digits.heldout)
    assert reference.fd(images).value == frechet_distance(statistics(reference.features(images)), reference.real)


@pytest.mark.parametrize(
    ("shape", "name"),
    [((1, 8, 8), "digits"), ((1, 28, 28), "fashion"), ((3, 32, 32), "cifar"), ((3, 8, 8), None), ((2,), None)],
)
def test_the_shape_chooses_the_network(shape, name):
    assert features_for(DataSpec("some", shape, None)) == name


def test_wrong_shapes_and_names_are_usage_errors():
    with pytest.raises(UsageError, match="no feature network"):
        FidelityReference(DataSpec("odd", (1, 5, 5), 256), Points(torch.rand(3, 1, 5, 5)))
    with pytest.raises(UsageError, match="expected images of shape"):
        feature_network("digits")(torch.rand(2, 1, 9, 9))
    with pytest.raises(UsageError, match="expected one of digits, fashion, cifar"):
        feature_network("faces")


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_rounding_keeps_whole_levels(levels):
    values = torch.arange(256) / 255
    torch.testing.assert_close(round_to_8_bits(values), values, rtol=0, atol=0)
    coarse = torch.arange(levels) / (levels - 1)
    assert (round_to_8_bits(coarse) - coarse).abs().max() <= 0.5 / 255 + 1e-6


@pytest.fixture
def worth_keeping(monkeypatch):
    monkeypatch.setattr(fidelity, "WORTH_KEEPING", 10)


def computed(monkeypatch):
    """Counts the batches that go through a network from here on."""
    seen, forward = [], fidelity.FidelityReference._batch_features
    monkeypatch.setattr(
        fidelity.FidelityReference, "_batch_features", lambda self, images: seen.append(1) or forward(self, images)
    )
    return seen


def test_the_statistics_of_a_split_are_computed_once(digits, tmp_path, monkeypatch, worth_keeping):
    first = FidelityReference(digits.spec, digits.heldout, cache=tmp_path).real
    seen = computed(monkeypatch)
    again = FidelityReference(digits.spec, digits.heldout, cache=tmp_path, batch_size=77).real
    assert not seen
    assert torch.equal(again.mean, first.mean) and torch.equal(again.covariance, first.covariance)
    assert again.count == first.count
    assert FidelityReference(digits.spec, digits.train, cache=tmp_path).real.count == len(digits.train)
    assert seen and len(list((tmp_path / "features").iterdir())) == 2


def test_a_damaged_entry_is_made_anew(digits, tmp_path, worth_keeping):
    first = FidelityReference(digits.spec, digits.heldout, cache=tmp_path).real
    (entry,) = (tmp_path / "features").iterdir()
    content = bytearray(entry.read_bytes())
    content[-9] ^= 1
    entry.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        again = FidelityReference(digits.spec, digits.heldout, cache=tmp_path).real
    assert torch.equal(again.covariance, first.covariance)
    assert torch.equal(FidelityReference(digits.spec, digits.heldout, cache=tmp_path).real.mean, first.mean)


def test_a_cache_that_cannot_be_written_costs_only_a_warning(digits, tmp_path, worth_keeping):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be stored"):
        real = FidelityReference(digits.spec, digits.heldout, cache=tmp_path / "file").real
    assert real.count == len(digits.heldout)


def test_images_that_are_not_finite_are_a_usage_error(reference):
    with pytest.raises(UsageError, match="diverged"):
        reference.fd(torch.full((4, 1, 8, 8), torch.nan))
