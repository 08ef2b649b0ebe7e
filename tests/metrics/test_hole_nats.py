r"""The bounds on the prior hole, on linear-Gaussian data where it is known.

x ~ N(0, C), q(u | x) = N(A x, S) with diagonal S, so that q(u) = N(0, A C A' + S).
"""

import math

import pytest
import torch
from priorkit_mixture import MixturePrior, MixtureSettings
from seeding import seeded
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from priorkit.core import Backbone, DataSpec, DiagonalPosterior, Layout, Posterior
from priorkit.data import Dataset
from priorkit.data.examples import Points
from priorkit.metrics.hole_nats import gain, log_sums
from priorkit.model import Model
from priorkit.report.direction import direction
from priorkit.report.table import backbone_table, prior_table
from priorkit.report.titles import title
from priorkit.workflows.measuring import hole_nats
from priorkit.workflows.measuring.evaluate import measure

D = 2
BOUNDS = {"hole_nats_lower", "hole_nats_upper", "hole_nats_train", "information_nats_lower", "information_nats_upper"}
A = torch.tensor([[1.2, 0.3], [-0.4, 0.8]])
ROOT = torch.tensor([[1.0, 0.0], [0.6, 0.9]])
SCALE = torch.tensor([0.5, 0.7])
COVARIANCE = A @ ROOT @ ROOT.T @ A.T + SCALE.square().diag()
AGGREGATED, STANDARD = (MultivariateNormal(torch.zeros(D), covariance) for covariance in (COVARIANCE, torch.eye(D)))
HOLE = float(kl_divergence(AGGREGATED, STANDARD))
INFORMATION = 0.5 * float(torch.logdet(COVARIANCE) - SCALE.square().log().sum())


class Linear(Backbone):
    """q(u | x) = N(A x, S); nothing is decoded."""

    def __init__(self, noise=1.0, known=True, jittered=False):
        super().__init__()
        self.layout, self.spec = Layout(((D,),)), DataSpec("linear", (D,), None)
        self.noise, self.known, self.jittered = noise, known, jittered
        self.a = torch.nn.Parameter(A.clone())

    def top_down(self, batch, *, temperature=1.0):
        raise NotImplementedError

    def observe(self, x, *, generator=None):
        """With `jittered`, x with much noise, on a grid of whole numbers."""
        if not self.jittered or torch.equal(x, x.round()):
            return x
        return (x + 9 * torch.randn(x.shape, generator=generator)).round()

    def infer(self, x, *, generator=None):
        mean, scale = self.moments(self.observe(x, generator=generator))
        u = mean + self.noise * scale * torch.randn(mean.shape, generator=generator)
        ratio = DiagonalPosterior(mean, scale).log_ratio(u).diagonal()
        return Posterior(u, ratio[:, None], ratio)

    def moments(self, x):
        return x @ self.a.T, SCALE.expand(len(x), D)

    def posterior_density(self, x):
        return DiagonalPosterior(*self.moments(x)) if self.known else None

    def objectives(self):
        return []


def points(count, seed):
    return torch.randn(count, D, generator=seeded(seed)) @ ROOT.T


def found(train, held, seed=0, **options):
    """The figures, with the aggregated posterior itself as the prior."""
    backbone = Linear(**options).requires_grad_(False)
    prior = MixturePrior(MixtureSettings(), backbone.space())
    (mixture,) = prior.mixtures
    mixture.set({"log_weights": torch.zeros(1), "means": torch.zeros(1, D), "factors": AGGREGATED.scale_tril[None]})
    data = Dataset(backbone.spec, Points(train), Points(held), "", "linear-Gaussian")
    return measure(Model(backbone, prior, None, backbone.spec), data, metrics=("hole_nats",), samples=50, seed=seed)


def test_the_bounds_enclose_the_truth_closely():
    """With 2,000 training images, 500 held-out ones and 2 latents, the mixtures are nearly the aggregated posterior."""
    figures = found(points(3_000, 1), points(600, 2))
    assert set(figures) == BOUNDS | {"gain_nats", "gain_nats_stage_1"}
    for name, truth in (("hole_nats", HOLE), ("information_nats", INFORMATION)):
        lower, upper = figures[f"{name}_lower"], figures[f"{name}_upper"]
        assert lower.value - lower.spread <= truth <= upper.value + upper.spread
        assert abs(lower.value - truth) < lower.spread + 0.02 and abs(upper.value - truth) < upper.spread + 0.02
        assert lower.spread < 0.15
    assert abs(figures["gain_nats"].value - HOLE) < figures["gain_nats"].spread
    assert "posteriors of 2000 training images" in figures["hole_nats_lower"].protocol


def test_with_few_images_they_are_bounds_in_expectation():
    """The mean over 100 pairs of 20 training and 20 held-out images is beyond the truth by over four standard errors."""
    names = ["hole_nats_lower", "hole_nats_upper", "hole_nats_train", "information_nats_lower", "information_nats_upper"]
    rows = [[found(points(20, 2 * k), points(20, 2 * k + 1), k)[name].value for name in names] for k in range(100)]
    values = torch.tensor(rows)
    mean, error = values.mean(0), values.std(0) / 10
    truth = torch.tensor([HOLE, HOLE, HOLE, INFORMATION, INFORMATION])
    side = torch.tensor([-1.0, 1.0, -1.0, -1.0, 1.0])
    assert (side * (mean - truth) > 4 * error).all()


def test_intervals_contain_the_truth():
    """The aggregated posterior's own gain is the hole: about 95 of 100 intervals contain it; 88 is three deviations less."""
    train = points(50, 0)
    rows = [found(train, points(200, 1_000 + k), k)["gain_nats"] for k in range(100)]
    assert sum(abs(row.value - HOLE) < row.spread for row in rows) >= 88


@pytest.mark.parametrize("block", [7, 100])
def test_at_training_images_their_own_posterior_is_left_out(block, monkeypatch):
    """Without noise all is known: the mean over m of log mean_{n != m} N(A x_m; A x_n, S) - log N(A x_m; 0, I)."""
    monkeypatch.setattr(hole_nats, "BLOCK", block)
    train, held = points(30, 3), points(25, 4)
    figures = found(train, held, noise=0.0)

    def mixture(at, images, without_own):
        at, images = at @ A.T, images @ A.T
        pairs = Normal(images, SCALE).log_prob(at[:, None]).sum(2)
        if without_own:
            pairs.fill_diagonal_(-math.inf)
        return float((pairs.logsumexp(1) - math.log(len(images) - without_own) - STANDARD.log_prob(at)).mean())

    expected = {"lower": (held, train, False), "upper": (held, held, False), "train": (train, train, True)}
    for name, arguments in expected.items():
        assert figures[f"hole_nats_{name}"].value == pytest.approx(mixture(*arguments), abs=1e-4)


def test_a_point_without_an_own_image_is_left_nothing_out():
    density, u = DiagonalPosterior(points(5, 5), torch.ones(5, D)), points(3, 6)
    assert torch.equal(log_sums(density, u, torch.tensor([-1, 5, -99])), log_sums(density, u))


def test_a_gain_is_less_log_z_whose_error_widens_the_interval():
    """log r = 1 and 3, whose mean has the standard error 1; half an interval of 0.2 for log Z."""
    found = gain(torch.tensor([1.0, 3.0]), 0.5, 0.2)
    assert found.value == 1.5
    assert found.spread == pytest.approx(math.hypot(1.96, 0.2))


def test_images_are_observed_once():
    """A mixture of two posteriors, with the point's own, is at least half of it; a second observation would break that."""
    figures = found(points(2, 7), points(2, 8), jittered=True)
    assert figures["information_nats_lower"].value == pytest.approx(math.log(2), abs=1e-6)


def test_many_numbers_are_fewer_images(monkeypatch):
    monkeypatch.setattr(hole_nats, "NUMBERS", hole_nats.POINTS * D * 150)
    figures = found(points(300, 9), points(40, 10))
    assert "posteriors of 150 training images" in figures["hole_nats_lower"].protocol


def test_one_training_image_is_too_few(caplog):
    assert set(found(points(1, 15), points(60, 16))) == {"gain_nats", "gain_nats_stage_1"}
    assert "two training images" in caplog.text


def test_without_the_density_of_the_posterior_only_gains_are_left(caplog):
    figures = found(points(60, 11), points(60, 12), known=False)
    assert set(figures) == {"gain_nats", "gain_nats_stage_1"}
    assert "posterior_density" in caplog.text


def test_only_gains_have_a_direction_and_a_column():
    figures = found(points(60, 13), points(60, 14))
    assert direction("gain_nats_stage_1") == "up"
    assert not any(direction(name) for name in BOUNDS)
    assert list(prior_table(figures).columns[0].cells) == ["gain over Gaussian, nats"]
    assert set(backbone_table(figures).columns[0].cells) == set(map(title, BOUNDS))
