"""The toys' densities against integrals, an independent formula and their own samples."""

from math import log, pi, tau

import pytest
import torch
from scipy import stats

from priorkit.data import load, toy
from priorkit.data.toys import TOYS
from priorkit.errors import UsageError

NAMES = list(TOYS)
SMOOTH = [name for name in NAMES if name != "checkerboard"]


def grid(name: str, count: int) -> tuple[torch.Tensor, float]:
    """Midpoints of count x count cells of the toy's square, float64, and the area of one."""
    side = 2 * toy(name).extent / count
    axis = (torch.arange(count, dtype=torch.float64) + 0.5) * side - toy(name).extent
    return torch.cartesian_prod(axis, axis), side**2


@pytest.mark.parametrize("name", NAMES)
def test_densities_integrate_to_one(name):
    """1e-6: the mass outside the square is below 1e-9 and the midpoint sum has converged far below that."""
    x, area = grid(name, 400)
    assert float(toy(name).log_density(x).exp().sum() * area) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    """Chi-square over 20 x 20 cells, those with fewer than 10 expected points in one; p > 1e-4 for this fixed seed."""
    cells, fine, n = 20, 20, 40_000
    x, area = grid(name, cells * fine)
    mass = (toy(name).log_density(x).exp() * area).view(cells, fine, cells, fine).sum((1, 3))
    points = toy(name).sample(n, torch.Generator().manual_seed(3))
    place = ((points + toy(name).extent) / (2 * toy(name).extent) * cells).long().clamp(0, cells - 1)
    counts = torch.bincount(place[:, 0] * cells + place[:, 1], minlength=cells**2).double()
    expected = n * mass.flatten()
    large = expected >= 10
    rest = (counts[~large].sum(), expected[~large].sum())
    statistic = ((counts - expected).square() / expected)[large].sum() + (rest[0] - rest[1]) ** 2 / max(rest[1], 1.0)
    assert stats.chi2.sf(float(statistic), int(large.sum())) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_entropy_is_the_mean_of_minus_log_density(name):
    """Five standard errors of a mean over the held-out points."""
    data = load(f"toy:{name}")
    surprise = -data.log_density(data.heldout.batch(torch.arange(len(data.heldout))).double())
    error = 5 * float(surprise.std()) / len(surprise) ** 0.5
    assert float(surprise.mean()) == pytest.approx(toy(name).entropy(), abs=error + 1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_entropy_has_converged(name):
    """1e-6 between the 400 points a side of `entropy` and 300."""
    x, area = grid(name, 300)
    coarse = float(torch.special.entr(toy(name).log_density(x).exp()).sum() * area)
    assert toy(name).entropy() == pytest.approx(coarse, abs=1e-6)


def test_checkerboard():
    board = toy("checkerboard")
    assert board.entropy() == log(32)
    x = torch.tensor([[-3.9, -3.9], [-1.0, -3.0], [1.0, 1.0], [1.0, -1.0], [4.1, 0.5], [-1.0, -1.0]])
    assert (board.log_density(x) > -torch.inf).tolist() == [True, False, True, False, False, True]
    data = load("toy:checkerboard")
    for split in (data.train, data.heldout):
        assert torch.equal(data.log_density(split.batch(torch.arange(len(split)))), torch.full((len(split),), -log(32.0)))


def test_rings_against_an_integral_over_the_circle():
    """The Bessel form against 2,000 points around each circle (a periodic sum: exact), to 1e-10."""
    rings = toy("rings")
    x = torch.linspace(-3.5, 3.5, 50, dtype=torch.float64).view(25, 2)
    angle = torch.arange(2000, dtype=torch.float64) * (tau / 2000)
    p = 0.0
    for radius in rings.radii:
        centres = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        square = (x[:, None] - centres).square().sum(2)
        p = p + torch.exp(-square / (2 * rings.sigma**2)).mean(1) / (tau * rings.sigma**2) / 3
    assert torch.allclose(rings.log_density(x), p.log(), atol=1e-10)


def test_moons_against_a_fine_midpoint_rule():
    """The 96 nodes against 20,000 midpoints: the rule's own error is of order 1e-8."""
    moons = toy("moons")
    x = moons.sample(50, torch.Generator().manual_seed(1)).double()
    angle = (torch.arange(20_000, dtype=torch.float64) + 0.5) * (pi / 20_000)
    upper = torch.stack([2 * angle.cos() - 1, 2 * angle.sin() - 0.5], dim=1)
    square = (x[:, None] - torch.cat([upper, -upper])).square().sum(2)
    p = torch.exp(-square / (2 * moons.sigma**2)).mean(1) / (tau * moons.sigma**2)
    assert torch.allclose(moons.log_density(x), p.log(), atol=1e-6)


def test_pinwheel_is_symmetric():
    """A turn by a fifth changes nothing."""
    wheel = toy("pinwheel")
    x = wheel.sample(100, torch.Generator().manual_seed(1)).double()
    cos, sin = torch.tensor(tau / 5).double().cos(), torch.tensor(tau / 5).double().sin()
    turned = torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], dim=1)
    assert torch.allclose(wheel.log_density(x), wheel.log_density(turned), atol=1e-7)


@pytest.mark.parametrize("name", SMOOTH)
def test_single_precision_gradients_and_far_points(name):
    """float32 agrees with float64 to 1e-3 nat on samples; log p and its gradient stay finite far outside."""
    x = toy(name).sample(1000, torch.Generator().manual_seed(1))
    assert torch.allclose(toy(name).log_density(x).double(), toy(name).log_density(x.double()), atol=1e-3)
    far = torch.tensor([[30.0, -20.0], [0.0, 7.0]], requires_grad=True)
    log_p = toy(name).log_density(far)
    (gradient,) = torch.autograd.grad(log_p.sum(), far)
    assert log_p.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_loaded_toys_repeat(name):
    first, second = load(f"toy:{name}"), load(f"toy:{name}")
    index = torch.arange(1000)
    assert torch.equal(first.train.batch(index), second.train.batch(index))
    assert (first.content, first.spec.levels, first.spec.shape) == (second.content, None, (2,))
    assert first.train.labels is None
    assert first.train.subset(index).batch(torch.tensor([5])).dtype == torch.float32


def test_contents_differ_and_names_are_checked():
    assert len({load(f"toy:{name}").content for name in NAMES}) == len(NAMES)
    with pytest.raises(UsageError, match="the toys are checkerboard"):
        toy("spiral")


@pytest.mark.parametrize("name", ["checkerboard", "8gaussians", "moons"])
def test_cells_are_parts_of_equal_mass(name):
    """200,000 points put 12.5 % in each of the 8 cells, within 5 standard errors of 0.07 %."""
    source = toy(name)
    cell = source.cell(source.sample(200_000, torch.Generator().manual_seed(1)))
    shares = torch.bincount(cell, minlength=8) / 200_000
    assert source.cells == len(shares) == 8
    # Moons: noise at the arcs' inner ends crosses to the other arc for a few points in a thousand.
    assert (shares - 1 / 8).abs().max() < (0.006 if name == "moons" else 5 * 0.00074)


def test_the_empty_squares_are_in_no_cell():
    points = torch.tensor([[1.0, 3.0], [-3.0, -1.0], [5.0, 5.0], [1.0, 1.0]])
    assert toy("checkerboard").cell(points).tolist()[:3] == [-1, -1, -1]
    assert toy("checkerboard").cell(points)[3] >= 0
