"""The ladder of corruptions: each kind grows with its strength, and pairs are counted as its docstring says."""

import pytest
import torch
from corruptions import KINDS, Pool, all_sets, averages, blocks, blur, classes, colour, contrast, jpeg, low_rank, repeated
from ladder import HALVES, Measured, frechet_of_parts, halves_of, judged, kernel_of_parts, keyed, measure, pairs, report

from priorkit.core import FeatureExtractor, Features
from priorkit.metrics import frechet_distance, statistics
from priorkit.metrics.kernel_distance import KernelDistance

COUNT = 40


def smooth(count, seed, channels=1):
    """Random images, smooth with a fine grain, (count, channels, 32, 32), uint8."""
    coarse = torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    grain = 20 * torch.rand(count, channels, 32, 32, generator=torch.Generator().manual_seed(seed + 1))
    return (grain + 235 * torch.nn.functional.interpolate(coarse, 32, mode="bilinear")).byte()


@pytest.fixture(scope="module")
def pool():
    heldout = smooth(30 * COUNT, 0)
    return Pool(heldout[:COUNT], heldout, torch.arange(len(heldout)) % 10, smooth(700, 1))


@pytest.fixture(scope="module")
def sets(pool):
    return keyed(all_sets(pool))


def test_every_kind_has_three_sets_of_as_many_images_as_the_level(pool, sets):
    assert len(KINDS) == 12 and len(sets) == 37 and torch.equal(sets["", 0].images, pool.base)
    for one in sets.values():
        assert (one.images.shape, one.images.dtype) == (pool.base.shape, torch.uint8)
        assert one.units.shape == (COUNT,) and torch.equal(one.units.unique(), torch.arange(len(one.units.unique())))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("repeats", "classes")])
def test_a_stronger_corruption_changes_images_more(pool, sets, kind):
    changes = [float((sets[kind, i].images.float() - pool.base).square().mean()) for i in (1, 2, 3)]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_sets_of_fewer_images_and_classes_have_what_they_say(pool, sets):
    assert repeated(10, 0.3).bincount().tolist() == [4, 3, 3]
    assert [len(sets["repeats", i].images.unique(dim=0)) for i in (1, 2, 3)] == [20, 4, 1]
    # An image is found again by its pixels.
    place = {image.numpy().tobytes(): i for i, image in enumerate(pool.heldout)}
    for share, kept in ((0.8, 8), (0.2, 2)):
        found = classes(pool, share, torch.Generator().manual_seed(0))
        assert {int(pool.labels[place[image.numpy().tobytes()]]) for image in found} == set(range(kept))


def test_the_components_that_are_kept_are_the_largest(pool):
    """85 of them have nearly all of the variance of images that are smooth but for a grain."""
    error = (low_rank(pool, 1 / 12, torch.Generator()).float() - pool.base).square().mean()
    assert error < 0.05 * pool.base.float().var(0).mean()


def test_no_image_is_averaged_with_itself_and_blocks_keep_their_pixels(pool):
    other = averages(pool, 1.0, torch.Generator().manual_seed(0))
    assert not bool((other == pool.base).flatten(1).all(1).any())
    assert torch.equal(torch.sort(other.flatten(1), 0).values, torch.sort(pool.base.flatten(1), 0).values)
    mixed = blocks(pool, 0.125, torch.Generator().manual_seed(0))
    assert not torch.equal(mixed, pool.base)
    cut = [images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4).sort(-1).values for images in (mixed, pool.base)]
    assert torch.equal(*cut)


def test_colour_images_keep_their_channels():
    """A flat image stays flat, and its shift is that of its channel; JPEG files keep the order of channels."""
    flat = torch.tensor([200, 100, 50]).byte()[None, :, None, None].expand(2, 3, 32, 32)
    pool = Pool(flat, flat, torch.zeros(2), flat)
    shifted = colour(pool, 8, torch.Generator())
    assert shifted.flatten(2).unique(dim=2).tolist() == [[[208], [100], [42]]] * 2
    coloured = smooth(4, 0) // 2 + torch.tensor([0, 10, 20]).byte()[:, None, None]
    mixed = blocks(Pool(coloured, coloured, torch.zeros(4), coloured), 0.125, torch.Generator().manual_seed(0))
    assert torch.equal(mixed[:, 1] - mixed[:, 0], torch.full((4, 32, 32), 10).byte())
    for make, strength in ((jpeg, 40), (blur, 2), (blocks, 0.125), (contrast, 1.0)):
        assert (make(pool, strength, torch.Generator().manual_seed(0)).float() - flat).abs().max() <= 8


@pytest.mark.parametrize("size", [5, 50])
def test_distances_of_parts_are_those_of_the_library(size):
    """With more images than features, and with fewer."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, size, generator=generator) + 0.2, torch.randn(80, size, generator=generator)
    rows = [torch.arange(30), torch.arange(0, 30, 2), torch.tensor([0, 0, 0, 7, 7, 7])]
    for part, frechet, kernel in zip(
        rows, frechet_of_parts(x, statistics(y), rows), kernel_of_parts(x, KernelDistance(y), rows), strict=True
    ):
        assert float(frechet) == pytest.approx(frechet_distance(statistics(x[part]), statistics(y)), rel=1e-6)
        assert float(kernel) == pytest.approx(KernelDistance(y).of(x[part], "").value, rel=1e-9)


def test_halves_are_of_independent_images():
    whole = list(halves_of(torch.arange(10)))
    assert len(whole) == HALVES and all(len(rows.unique()) == 5 for rows in whole)
    assert not torch.equal(whole[0], whole[1])
    for rows in halves_of(torch.tensor([0, 0, 0, 1, 1, 1])):
        assert rows.tolist() in ([0, 1, 2], [3, 4, 5])


def test_pairs_are_of_one_kind_or_with_the_level_and_the_stronger_is_to_be_farther():
    assert len(pairs()) == 72 and all(near[1] < far[1] and near[0] in ("", far[0]) for near, far in pairs())
    keys = {key for pair in pairs() for key in pair}
    right = {key: float(key[1]) for key in keys}
    halves = {key: torch.full((HALVES,), value) for key, value in right.items()}
    verdict = judged(Measured("fd_x", right, halves))
    assert (verdict.right, verdict.interval, verdict.wrong) == (72, (72, 72), {})
    # Weak blur nearer than the level, in a third of the halves; strong noise nearer than the middle one in all.
    swapped = {**right, ("blur", 1): -1.0, ("noise", 3): 1.5}
    halves["blur", 1] = torch.where(torch.arange(HALVES) % 3 == 0, -1.0, 1.0)
    halves["noise", 3] = torch.full((HALVES,), 1.5)
    verdict = judged(Measured("fd_x", swapped, halves))
    assert verdict.right == 70 and verdict.interval == (70, 71)
    assert verdict.wrong == {(("", 0), ("blur", 1)): False, (("noise", 2), ("noise", 3)): True}


class Pixels(FeatureExtractor):
    name, about = "pixels", "block means"

    def __call__(self, images):
        return Features(torch.nn.functional.avg_pool2d(images.float() / 255, 16).flatten(1))


def test_the_report_has_a_row_for_each_distance_and_each_kind(pool, sets):
    found = measure(Pixels(), sets, pool.training)
    assert [one.name for one in found] == ["fd_pixels", "kd_pixels"]
    text = report("python benchmarks/ladder.py", pool, found)
    assert all(f"\n| {kind} |" in text for kind in ("held-out images", *KINDS)) and text.count("\n| `") == 2
    # The means of blocks do not change where pixels move within them.
    assert found[0].whole["blocks", 1] == pytest.approx(found[0].whole["", 0], rel=1e-4)
