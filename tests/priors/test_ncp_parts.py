"""Resampling and classifiers of the layer-wise prior, and the prior on every backbone."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_identity import IdentityBackbone, IdentitySettings
from priorkit_mcmc import Mala, MalaSettings
from priorkit_ncp import NcpPrior, NcpSettings
from priorkit_ncp.resampling import resample
from priorkit_nvae import NVAE, NvaeSettings
from priorkit_twolayer import TwoLayer, TwoLayerSettings
from seeding import seeded
from torch import nn

from priorkit.core import DataSpec, Latents, Sampling, Step
from priorkit.energies import EnergySettings
from priorkit.energies.conditional_net import conditional_net
from priorkit.energies.descent import ContextShape

DIGITS = DataSpec("digits", (1, 8, 8), 17)
SMALL = EnergySettings(width=8, channels=4, blocks=1)


def test_a_choice_has_the_odds_of_its_weights():
    """Weights e^2 to 1 for the half-lines: P(u > 0) of one of 200 proposals is e^2 / (1 + e^2) up to order 1 / 200."""
    found = resample(lambda u: 2.0 * (u[..., 0] > 0), torch.zeros(10_000, 1), 200, chunk=10**5, generator=seeded())
    share = 1 / (1 + torch.e**-2)
    assert (found.u > 0).float().mean().item() == pytest.approx(share, abs=0.005 + 5 * 0.33 / 10_000**0.5)
    # (sum w)^2 / sum w^2 over n: (1 + e^2)^2 / (2 (1 + e^4)) in the limit.
    known = (1 + torch.e**2) ** 2 / (2 * (1 + torch.e**4))
    assert found.effective_sample_size.mean().item() / 200 == pytest.approx(known, rel=0.01)
    assert torch.equal(found.log_weight, 2.0 * (found.u[:, 0] > 0))


@pytest.mark.parametrize("proposals", [1, 3])
def test_a_choice_with_the_present_point_leaves_the_density_as_it_is(proposals):
    """Weights e^{a u} make N(a, 1) of N(0, 1): points of it stay so, of few proposals too, and others come nearer to it."""
    n, a = 40_000, 0.8
    for start, mean in ((a, a), (0.0, None)):
        present = start + torch.randn(n, 1, generator=seeded(1))
        found = resample(lambda u: a * u[..., 0], present, proposals, chunk=n, generator=seeded(2), keep=present)
        assert found.proposals == proposals + 1 and 0 < float((found.u == present).double().mean()) < 1
        if mean is None:
            assert 0.1 < float(found.u.mean()) < a
        else:
            assert abs(float(found.u.mean()) - mean) < 5 / n**0.5 and abs(float(found.u.var()) - 1) < 5 * (2 / n) ** 0.5


def test_broken_weights_are_never_chosen_and_show():
    found = resample(
        lambda u: torch.where(u[..., 0] > 0, 0.0, torch.nan), torch.zeros(400, 1), 60, chunk=900, generator=seeded()
    )
    assert (found.u > 0).all()
    assert found.finite.mean().item() == pytest.approx(0.5, abs=0.02)


@settings(max_examples=20)
@given(rows=st.integers(1, 5), proposals=st.integers(1, 9), chunk=st.integers(1, 20))
def test_chunks_limit_memory_and_count_up(rows, proposals, chunk):
    seen = []

    def log_weight(u):
        seen.append(u.shape[1])
        return u.sum((2, 3))

    run = lambda: resample(log_weight, torch.zeros(rows, 2, 3), proposals, chunk=chunk, generator=seeded())  # noqa: E731
    found = run()
    assert sum(seen) == proposals and max(seen) * rows <= max(chunk, rows)
    assert found.u.shape == (rows, 2, 3) and torch.equal(found.u, run().u)
    assert ((found.effective_sample_size > 0.99) & (found.effective_sample_size < proposals * 1.001)).all()


@pytest.mark.parametrize(
    ("shape", "context"),
    [
        ((2,), None),
        ((5,), (3,)),
        ((2,), (3,)),
        ((4, 8, 8), (6, 8, 8)),
        ((4, 8, 8), (7,)),
        ((4, 2, 2), (6, 4, 4)),
        ((3, 4, 4), None),
    ],
)
@pytest.mark.parametrize("network", ["auto", "mlp", "resmlp"])
def test_candidates_are_judged_one_by_one(shape, context, network):
    """Logits of N candidates at once are those of each alone; they start at 0, and depend on a context that is there."""
    torch.manual_seed(0)
    known = None if context is None else ContextShape((context,), False)
    net = conditional_net(shape, known, SMALL.model_copy(update={"network": network}), 2)
    x, told = torch.randn(3, 4, *shape), None if context is None else torch.randn(3, *context)
    assert torch.equal(net(x, told), torch.zeros(3, 4))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    alone = torch.cat([net(x[:, k : k + 1], told) for k in range(4)], dim=1)
    torch.testing.assert_close(net(x, told), alone, atol=1e-5, rtol=1e-4)
    if context is not None:
        net.eval()  # in training contexts are standardised over the batch, and a constant is nothing
        assert not torch.allclose(net(x, told), net(x, told + 1))


def backbones():
    yield from (TwoLayer(TwoLayerSettings(latents=sizes, hidden=16), DIGITS) for sizes in [(3,), (3, 5), (2, 3, 4)])
    yield NVAE(NvaeSettings(preset="digits"), DIGITS)
    yield IdentityBackbone(IdentitySettings(), DataSpec("points", (2,), None))


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize(
    "options", [{}, {"context": "none"}, {"context": "decoder", "energy_input": "z", "sampling": "langevin"}]
)
def test_it_learns_and_draws_on_every_backbone(which, options):
    """A step moves every classifier; what is saved draws the same points again."""
    torch.manual_seed(0)
    backbone = list(backbones())[which].eval().requires_grad_(False)
    made = NcpPrior(NcpSettings(energy=SMALL, proposals=20, **options), backbone.space())
    objective = made.objectives()[0]
    before = copy.deepcopy(made.state_dict())
    optimiser = torch.optim.Adam(objective.parameters, lr=1e-2)
    for k in range(2):
        optimiser.zero_grad()
        objective.loss(Latents(torch.randn(16, made.layout.dim) + 1), Step(k, 2, seeded(k))).value.backward()
        optimiser.step()
    changed = [name for name, value in made.state_dict().items() if not torch.equal(value, before[name])]
    assert {name.split(".")[2] for name in changed} == {str(i) for i in range(len(made.layout))}
    again = NcpPrior(made.settings, backbone.space())
    again.load_state_dict(made.state_dict())
    sampler = Mala(MalaSettings(steps=3, choose="fixed"))
    draws = [prior.eval().draw(4, Sampling(sampler, seeded(3))).u for prior in (made, again)]
    assert torch.equal(*draws) and draws[0].shape == (4, made.layout.dim)
    assert made.log_ratio(draws[0]).isfinite().all()
