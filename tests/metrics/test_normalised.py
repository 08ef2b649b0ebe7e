"""A prior that declares its density normalised: log Z is 0 and never estimated."""

import pytest
import torch
from priorkit_mixture import MixturePrior, MixtureSettings
from test_measure import images, model

from priorkit.config import resolve
from priorkit.data import load
from priorkit.metrics import heldout_nll
from priorkit.workflows.assemble import build_model
from priorkit.workflows.measuring import density, toys
from priorkit.workflows.measuring.evaluate import measure


def set_components(prior):
    """Two Gaussians that are not N(0, I)."""
    (mixture,) = prior.mixtures
    dim = mixture.means.shape[1]
    scales = torch.tensor([[0.5], [0.8]]).expand(2, dim).clone()
    mixture.set({"log_weights": torch.tensor([0.3, 0.7]).log(), "means": torch.eye(2, dim) - 0.5, "factors": scales})


def test_log_z_is_0_by_definition_and_by_annealing(monkeypatch):
    """The bounds of the two differ by what annealing finds for log Z, within its interval."""
    data = images(300, 0.5)
    learned = model(data)
    learned.prior = MixturePrior(MixtureSettings(), learned.backbone.space()).eval()
    set_components(learned.prior)
    with monkeypatch.context() as patched:
        patched.setattr(density, "annealed_log_z", None)
        known = measure(learned, data, samples=60, metrics=("logz",))
    monkeypatch.setattr(MixturePrior, "normalised", False)
    estimated = measure(learned, data, samples=60, metrics=("logz",))
    assert known["log_z"].value == 0 and known["log_z"].spread is None
    assert abs(estimated["log_z"].value) < estimated["log_z"].spread
    for name in ("elbo_prior_nats", "iw_prior_nats"):
        assert known[name].value == pytest.approx(estimated[name].value + estimated["log_z"].value, abs=1e-5)


def test_the_nll_of_a_toy_is_that_of_quadrature(monkeypatch):
    data = load("toy:8gaussians")
    config = resolve(None, [], backbone="identity", prior="mixture", data="toy:8gaussians")
    made = build_model(config, data.spec, torch.device("cpu"))
    set_components(made.prior)
    asked = []

    def noted(*arguments, same_integral=None):
        asked.append(same_integral)
        return heldout_nll(*arguments, same_integral=same_integral, points=301)

    monkeypatch.setattr(toys, "heldout_nll", noted)
    known = measure(made, data, samples=60, metrics=("nll",))
    assert asked[-1] is not None
    monkeypatch.setattr(MixturePrior, "normalised", False)
    integrated = measure(made, data, samples=60, metrics=("nll",))
    assert asked[-1] is None
    assert known["nll"].value == pytest.approx(integrated["nll"].value, abs=1e-4)
