"""Fidelity through torch-fidelity against numpy and scipy, on a small extractor; its names, its cache, its refusals."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from priorkit.core import FeatureExtractor, Features
from priorkit.data.examples import Points
from priorkit.errors import UsageError
from priorkit.metrics import extracted, sample_fidelity
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.sample_fidelity import KID_SUBSETS, SampleFidelity, figure_names, real_images, to_8_bits

# Not importorskip: without torchvision it is `library` that makes the import work.
pytestmark = pytest.mark.skipif(find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed")

FEATURES, CLASSES = 6, 4


class Small(FeatureExtractor):
    """Fixed random features of 4 x 4 images, of unit size, and scores of four classes."""

    name = "small"
    about = "six random features"
    fingerprint = "small-1"

    def __init__(self, **how):
        super().__init__(**how)
        generator = torch.Generator().manual_seed(5)
        self.first = torch.randn(16, FEATURES, generator=generator) / 2
        self.second = torch.randn(FEATURES, CLASSES, generator=generator)
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        vectors = torch.tanh((images.flatten(1).float() / 128 - 1) @ self.first)
        return Features(vectors, vectors @ self.second)


def pictures(count, seed, power=1.0):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) ** power


@pytest.fixture(scope="module")
def pair():
    """Real images and generated ones that are darker, and what is measured between them."""
    real, fake = pictures(300, 0), pictures(200, 1, 1.6)
    extractor = Small()
    judge = SampleFidelity(extractor, real_images(extractor, Points(real)))
    figures = judge.figures([to_8_bits(fake)], generator=torch.Generator().manual_seed(0))
    return [extractor(to_8_bits(images)) for images in (real, fake)], figures


def numbers(tensor):
    return tensor.double().numpy()


def test_the_frechet_distance_is_scipys(pair):
    (real, fake), figures = pair
    a, b = numbers(fake.vectors), numbers(real.vectors)
    first, second = np.cov(a.T), np.cov(b.T)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    expected = shift + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert figures["fd_small"].value == pytest.approx(expected, rel=1e-3) and expected > 0.05
    assert 0 < figures["fd_small"].spread < expected


def test_the_kernel_distance_is_the_unbiased_one(pair):
    """The mean over subsets is a Monte-Carlo estimate of that of all pairs, unless the subset is the whole set."""
    (real, fake), figures = pair
    a, b = numbers(fake.vectors), numbers(real.vectors[:200])

    def kernel(x, y):
        return (x @ y.T / FEATURES + 1) ** 3

    def without_diagonal(k):
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    expected = without_diagonal(kernel(a, a)) + without_diagonal(kernel(b, b)) - 2 * kernel(a, b).mean()
    whole = SampleFidelity(Small(), real_images(Small(), Points(pictures(300, 0)[:200])))
    (found,) = [f for n, f in whole.figures([to_8_bits(pictures(200, 1, 1.6))]).items() if n == "kd_small"]
    assert found.value == pytest.approx(expected, rel=1e-3) and found.spread is None
    assert f"{KID_SUBSETS} subsets of 200" in figures["kd_small"].protocol
    assert figures["kd_small"].spread > 0


def test_the_score_of_the_classes_is_numpys(pair):
    (_, fake), figures = pair
    logits = numbers(fake.logits)[np.random.RandomState(2020).permutation(200)]
    scores = []
    for part in np.split(log_softmax(logits, axis=1), 10):
        marginal = np.log(np.exp(part).mean(0))
        scores.append(np.exp((np.exp(part) * (part - marginal)).sum(1).mean()))
    assert figures["class_score_small"].value == pytest.approx(np.mean(scores), rel=1e-3)
    assert figures["class_score_small"].spread == pytest.approx(np.std(scores), rel=1e-3)


def test_precision_and_recall_are_scipys(pair):
    (real, fake), figures = pair
    a, b = numbers(fake.vectors), numbers(real.vectors)
    # The nearest neighbour of a point is the point itself.
    radius_a, radius_b = (np.sort(cdist(points, points), axis=1)[:, 3] for points in (a, b))
    between = cdist(a, b)
    precision, recall = (between <= radius_b).any(1).mean(), (radius_a >= between.T).any(1).mean()
    assert figures["precision_small"].value == pytest.approx(precision, rel=1e-3) and 0.5 < precision < 1
    assert figures["recall_small"].value == pytest.approx(recall, rel=1e-3) and 0.5 < recall < 1
    assert figures["recall_small"].spread == pytest.approx((recall * (1 - recall) / 300) ** 0.5, rel=1e-3)


def test_the_same_images_are_at_chance_level():
    """Distance 0, all within all balls; the unbiased kernel distance of a set to itself is below 0 by 2/n of its scale."""
    images = pictures(150, 3)
    judge = SampleFidelity(Small(), real_images(Small(), Points(images)))
    figures = judge.figures([to_8_bits(images)])
    assert figures["fd_small"].value == pytest.approx(0, abs=1e-6)
    assert figures["precision_small"].value == figures["recall_small"].value == 1
    assert -0.1 < figures["kd_small"].value < 0


def test_sets_of_one_distribution_have_kernel_distances_around_zero():
    """Over 40 pairs the mean of an unbiased estimate is within four standard errors of 0."""
    judge = SampleFidelity(Small(), real_images(Small(), Points(pictures(100, 999))))
    values = []
    for seed in range(40):
        judge.real = real_images(Small(), Points(pictures(100, 1000 + seed)))
        values.append(judge.figures([to_8_bits(pictures(100, 2000 + seed))])["kd_small"].value)
    assert abs(np.mean(values)) < 4 * np.std(values) / 40**0.5
    assert min(values) < 0 < max(values)


class Pixel(Small):
    """The one pixel of an image, in units of 32 levels from the middle."""

    name = "pixel"

    def __call__(self, images):
        return Features(images.flatten(1).float() / 32 - 4)


def gaussian_pixels(mean, deviation, seed):
    noise = torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (32 * (4 + mean + deviation * noise) / 255).clamp(0, 1)


def test_two_gaussians_have_closed_forms(monkeypatch):
    """FD = (m - m')^2 + (s - s')^2; the cubic kernel's MMD^2 = 3 (dm1)^2 + 3 (dm2)^2 + (dm3)^2 in differences of moments.

    20,000 pixels: the deviations of mean and root are below 0.01 each, those of the third moment below 0.03; rounding to
    1/32 adds 1e-4 to the variances.  The mean over 9 subsets of 1,000 deviates by that and by a third of their spread.
    """
    monkeypatch.setattr(sample_fidelity, "KID_SUBSETS", 9)
    (m, s), (n, t) = (0.5, 0.8), (0.0, 1.0)
    judge = SampleFidelity(Pixel(), real_images(Pixel(), Points(gaussian_pixels(n, t, 0)), points=20_000))
    monkeypatch.setattr(judge, "_precision_and_recall", lambda *arguments: {})
    found = judge.figures([to_8_bits(gaussian_pixels(m, s, 1))], generator=torch.Generator().manual_seed(2))
    assert found["fd_pixel"].value == pytest.approx((m - n) ** 2 + (s - t) ** 2, abs=0.03)
    moments = [(a, a**2 + b**2, a**3 + 3 * a * b**2) for a, b in ((m, s), (n, t))]
    first, second, third = (x - y for x, y in zip(*moments, strict=True))
    expected = 3 * first**2 + 3 * second**2 + third**2
    assert found["kd_pixel"].value == pytest.approx(expected, abs=0.1 + 1.2 * found["kd_pixel"].spread)
    assert abs(found["fd_pixel"].value - 0.29) <= 4 * found["fd_pixel"].spread


def test_figures_do_not_depend_on_how_images_are_batched(pair):
    _, figures = pair
    judge = SampleFidelity(Small(), real_images(Small(), Points(pictures(300, 0)), batch_size=7))
    again = judge.figures(torch.split(to_8_bits(pictures(200, 1, 1.6)), 33), generator=torch.Generator().manual_seed(0))
    assert {n: f.value for n, f in again.items()} == pytest.approx({n: f.value for n, f in figures.items()}, rel=1e-5)


def test_what_is_not_inception_is_not_called_fid(pair):
    _, figures = pair
    assert set(figures) == {"fd_small", "kd_small", "class_score_small", "precision_small", "recall_small"}
    assert figure_names(Small()).reconstruction == "rfd_small"
    for figure in figures.values():
        assert "six random features" in figure.protocol and "200 generated" in figure.protocol


def test_statistics_are_kept_by_content_extractor_and_count(tmp_path):
    images, one = pictures(60, 4), Small()
    first = real_images(one, Points(images), cache=tmp_path)
    again = real_images(one, Points(images), cache=tmp_path, batch_size=9)
    assert one.seen == 60 and len(list((tmp_path / "features").iterdir())) == 1
    assert torch.equal(first.points, again.points) and torch.equal(first.statistics.mean, again.statistics.mean)
    assert again.statistics.count == 60
    images[3] = 0
    real_images(one, Points(images), cache=tmp_path)
    real_images(one, Points(images), cache=tmp_path, points=20)
    one.fingerprint = "small-2"
    real_images(one, Points(images), cache=tmp_path)
    assert one.seen == 4 * 60
    one.fingerprint = ""
    for _ in range(2):
        real_images(one, Points(images), cache=tmp_path)
    assert one.seen == 6 * 60 and len(list((tmp_path / "features").iterdir())) == 4


def test_a_damaged_entry_is_made_anew(tmp_path):
    one, split = Small(), Points(pictures(60, 4))
    first = real_images(one, split, cache=tmp_path)
    (entry,) = (tmp_path / "features").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1] + b"x")
    with pytest.warns(UserWarning, match="damaged"):
        again = real_images(one, split, cache=tmp_path)
    assert torch.equal(first.points, again.points)


@pytest.mark.parametrize(("images", "scored"), [(19, False), (20, True)])
def test_the_score_of_the_classes_needs_two_images_per_split(images, scored):
    """Ten splits."""
    judge = SampleFidelity(Small(), real_images(Small(), Points(pictures(50, 0))))
    assert any("score" in name for name in judge.figures([to_8_bits(pictures(images, 1))])) == scored


def test_few_images_leave_out_what_they_do_not_allow():
    judge = SampleFidelity(Small(), real_images(Small(), Points(pictures(50, 0))))
    assert set(judge.figures([to_8_bits(pictures(3, 1))])) == {"fd_small", "kd_small"}
    with pytest.raises(UsageError, match="at least 2 generated images"):
        judge.figures([to_8_bits(pictures(1, 1))])
    with pytest.raises(UsageError, match="at least 2 training images"):
        real_images(Small(), Points(pictures(1, 0)))


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        (lambda x: Features(torch.zeros(2, 3)), "a row for each of 5"),
        (lambda x: Features(torch.full((5, 3), torch.nan)), "not finite"),
        (lambda x: Features(torch.zeros(5, 3), torch.zeros(5)), "a row for each of 5"),
        (lambda x: torch.zeros(5, 3), "expected priorkit.core.Features"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_an_extractor_that_breaks_its_contract_is_named(gives, told):
    broken = Small()
    broken.__class__ = type("Broken", (Small,), {"__call__": lambda self, images: gives(images)})
    with pytest.raises(UsageError, match=f"'small'.*{told}"):
        extracted(broken, [to_8_bits(pictures(5, 0))])


def test_eight_bits():
    grey = torch.tensor([0, 0.5 / 255, 0.4999 / 255, 0.999, 1, 2, -1])
    assert to_8_bits(grey).tolist() == [0, 0, 0, 255, 255, 255, 0]
    assert to_8_bits(grey, down=True).tolist() == [0, 0, 0, 254, 255, 255, 0]


def test_the_stand_in_for_torchvision_does_not_stay():
    fidelity_library()
    left = sys.modules.get("torchvision")
    assert left is None or left.__file__ is not None


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    fidelity_library.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"pip install 'torch-fidelity>=0\.4,<0\.5'"):
            fidelity_library()
    finally:
        fidelity_library.cache_clear()
