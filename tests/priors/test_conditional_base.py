"""Gaussians of each layer given the layers above, on a hierarchy whose aggregated posterior is a known Gaussian."""

import pytest
import torch
from priorkit_mcmc import Mala, MalaSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from priorkit_ncp import NcpPrior
from priorkit_nvae import NVAE, NvaeSettings
from priorkit_twolayer import TwoLayer, TwoLayerSettings
from test_multistage_conditional import CONDITIONAL, assert_moments, bench, points, sampler, seeded
from test_ncp_hierarchy import LAYOUT, Quadratic, aggregated_posterior, space, true_classifiers
from torch import nn
from torch.distributions import Normal

from priorkit.core import DataSpec, Latents, Sampling, Step
from priorkit.energies import LayerGaussian

DIM = LAYOUT.dim


class Known(nn.Module):
    """The true moments of a layer, linear in the layer above; the context is the generator's features 3 u_0 and u_0."""

    def __init__(self, offset, slope, scale):
        super().__init__()
        self.offset, self.slope, self.log_scale = nn.Parameter(offset), slope, nn.Parameter(scale.log())

    def forward(self, context):
        rows = 1 if context is None else len(context)
        mean = self.offset.expand(rows, -1) if context is None else self.offset + context[:, -1:] * self.slope
        raw = 2 * torch.atanh(self.log_scale / 2)
        return torch.cat([mean, raw.expand(rows, -1)], dim=1)


def diagonal(covariance):
    """A joint Gaussian whose layer 1 has independent entries given layer 0."""
    gain = covariance[1:, :1] / covariance[0, 0]
    lower = (covariance[1:, 1:] - gain @ covariance[:1, 1:]).diagonal()
    joint = covariance.clone()
    joint[1:, 1:] = gain @ covariance[:1, 1:] + torch.diag(lower)
    return joint, gain[:, 0], lower


def prior(*, stages=1, active=1, layers="auto"):
    joint = aggregated_posterior()
    covariance, gain, lower = diagonal(joint.covariance_matrix)
    made = (
        MultistagePrior(
            MultistageSettings(stages=stages, energy=CONDITIONAL, base={"kind": "conditional"}, layers=layers), space()
        )
        .double()
        .eval()
    )
    made.base.nets = nn.ModuleList([
        Known(joint.mean[:1].clone(), None, covariance[:1, 0].sqrt()),
        Known(joint.mean[1:] - gain * joint.mean[0], gain, lower.sqrt()),
    ])  # fmt: skip
    made.active.fill_(active)
    return made, torch.distributions.MultivariateNormal(joint.mean, covariance)


def test_the_expected_log_ratio_is_the_mean_over_the_posterior():
    """Against 200,000 draws, within 5 standard errors, and against the log ratio itself at a point."""
    base = LayerGaussian(torch.tensor([[0.3, -1.0]]), torch.tensor([[-0.4, 0.2]]))
    mean, scale = torch.tensor([[0.5, 0.1]]), torch.tensor([[0.7, 1.2]])
    u = mean + scale * torch.randn(200_000, 2, generator=seeded())
    own = Normal(base.mean, base.log_scale.exp()).log_prob(u).sum(1) - Normal(0.0, 1.0).log_prob(u).sum(1)
    torch.testing.assert_close(base.log_ratio(u), own, atol=1e-4, rtol=1e-4)
    error = own.std() / len(u) ** 0.5
    assert (base.expected_log_ratio(mean, scale) - own.mean()).abs() < 5 * error


def test_draws_and_density_are_exact_and_take_no_chain():
    made, joint = prior()
    drawn = made.draw(20_000, Sampling(None or sampler(1), seeded(1)))
    assert all(chain.calls == 0 for chain in drawn.chains)
    assert_moments(drawn.u, joint.mean, joint.covariance_matrix)
    u = points(50, 2)
    torch.testing.assert_close(made.log_ratio(u), joint.log_prob(u) - Normal(0.0, 1.0).log_prob(u).sum(1))


def test_ratios_are_ratios_to_the_base_and_chains_run_in_its_coordinates():
    """The base and what it leaves of the true log ratio of a correlated layer 1 give the aggregated posterior."""
    made, _ = prior(active=2)
    joint = aggregated_posterior()
    made.energies[0].nets = nn.ModuleList([Left(made, i) for i in range(2)])
    drawn = made.draw(8_000, Sampling(Mala(MalaSettings(steps=60, step_size=0.8, choose="fixed")), seeded(3)))
    assert_moments(drawn.u, joint.mean, joint.covariance_matrix)
    u = points(50, 4)
    found, known = made.log_ratio(u), joint.log_prob(u) - Normal(0.0, 1.0).log_prob(u).sum(1)
    torch.testing.assert_close(found - found[0], known - known[0])


class Left(nn.Module):
    """The true conditional log ratio less that of the base."""

    def __init__(self, made, layer):
        super().__init__()
        self.true: Quadratic = true_classifiers(aggregated_posterior())[layer]
        self.layer, self.base = layer, [made.base.nets[layer]]

    def given(self, context):
        return context

    def logits(self, x, context):
        told = None if context is None else torch.cat([3 * context, context], dim=1)
        mean, raw = self.base[0](told).chunk(2, dim=1)
        base = LayerGaussian(mean[:, None], 2 * torch.tanh(raw / 2)[:, None])
        own = Normal(base.mean, base.log_scale.exp()).log_prob(x) - Normal(0.0, 1.0).log_prob(x)
        return self.true.logits(x, context) - own.sum(2)


@pytest.mark.parametrize("moments", [False, True])
def test_the_true_gaussians_have_the_highest_likelihood(moments):
    """The gradient of the gain at the true moments is 0 within 5 standard errors, with and without the posterior's moments;
    and with them the error is smaller."""
    made, joint = prior(active=0)
    made._stage = 1
    noise = 0.9
    u = joint.sample((20_000,))
    # A posterior N(m, noise^2 v) of each entry whose aggregate is the conditional: m is what is left of the entry.
    told = torch.cat([3 * u[:, :1], u[:, :1]], dim=1)
    parts = [made.base.nets[0](None).chunk(2, 1), made.base.nets[1](told).chunk(2, 1)]
    centre = torch.cat([parts[0][0].expand(len(u), -1), parts[1][0]], dim=1).detach()
    scale = torch.cat([(2 * torch.tanh(part[1] / 2)).exp().expand(len(u), -1) for part in parts], dim=1).detach()
    seen = Latents(u)
    if moments:
        mean = centre + (1 - noise**2) ** 0.5 * scale * torch.randn(u.shape, generator=seeded(5), dtype=u.dtype)
        seen = Latents(u, mean=mean, scale=noise * scale)
    gains = made.base_gains(seen).mean(0).sum()
    for net, size in zip(made.base.nets, (1, 2), strict=True):
        offset, log_scale = torch.autograd.grad(gains, [net.offset, net.log_scale], retain_graph=True)
        unit = net.log_scale.exp().reciprocal()
        limit = 5 * (1 - noise**2 if moments else 1) ** 0.5 * unit / len(u) ** 0.5
        assert offset.shape == (size,) and (offset.abs() < limit).all()
        assert (log_scale.abs() < 5 * 2**0.5 / len(u) ** 0.5).all()


def test_a_layer_whose_gaussian_gains_nothing_is_left_out():
    made, joint = prior(active=0)
    made._stage = 1
    nn.init.constant_(made.base.nets[1].offset, 5.0)
    figures = made.end_stage(1, bench(joint.sample((2_000,))))
    assert made.base_kept.tolist() == [True, False]
    assert figures["heldout_gain_layer_0"] > 0 > figures["heldout_gain_layer_1"]
    drawn = made.draw(8_000, Sampling(sampler(1), seeded(7)))
    assert_moments(drawn.u[:, 1:], torch.zeros(2).double(), torch.eye(2).double())


IMAGES = DataSpec("digits", (1, 8, 8), 17)


@pytest.mark.parametrize("which", ["nvae", "twolayer"])
def test_moments_of_a_posterior_sample_are_those_of_its_layers(which):
    """u is a draw of N(mean, scale^2) given the same upper layers: the KL of the layers is that of the moments, and the
    mean of (u - mean) / scale over many draws is 0."""
    torch.manual_seed(0)
    backbone = (
        NVAE(NvaeSettings(), IMAGES) if which == "nvae" else TwoLayer(TwoLayerSettings(latents=(3, 5), hidden=16), IMAGES)
    )
    backbone.eval()
    x = torch.rand(1, 1, 8, 8, generator=seeded(2)).expand(400, -1, -1, -1)
    with torch.no_grad():
        found = backbone.infer(x, generator=seeded(3))
    kl = found.mean.square() / 2 + found.scale.square() / 2 - 0.5 - found.scale.log()
    layers = torch.stack([part.sum(1) for part in backbone.layout.columns(kl)], dim=1)
    torch.testing.assert_close(layers, found.kl, atol=0.05 * float(found.kl.abs().max()), rtol=0.05)
    standard = (found.u - found.mean) / found.scale
    assert standard.mean(0).abs().max() < 5 / 400**0.5
    assert (standard.std(0) - 1).abs().max() < 5 / 800**0.5


def test_features_beside_the_bank_are_those_of_the_walk():
    torch.manual_seed(0)
    backbone = NVAE(NvaeSettings(), IMAGES).eval().requires_grad_(False)
    options = {"base": {"kind": "conditional"}, "context": "both"}
    made = MultistagePrior(MultistageSettings(stages=1, energy=CONDITIONAL, **options), backbone.space()).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    u = torch.randn(6, made.layout.dim, generator=seeded(4))
    known = Latents(u, features=backbone.space().features(u))
    for found in (made.base_gains, lambda batch: made.conditional_pair(2, batch, u, -u)):
        torch.testing.assert_close(found(Latents(u)), found(known), atol=1e-4, rtol=1e-4)


def test_the_first_stage_learns_the_gaussians_and_the_next_their_ratio():
    torch.manual_seed(0)
    made = MultistagePrior(MultistageSettings(stages=1, energy=CONDITIONAL, base={"kind": "conditional"}), space()).float()
    assert made.stages == 2
    u, names = points(2_000, 11).float(), []
    single = MultistagePrior.__mro__[0](made.settings, float_space())
    for stage in (1, 2):
        single.begin_stage(stage, bench(u))
        (objective,) = single.objectives()
        names.append(objective.name)
        optimiser = torch.optim.Adam(objective.parameters, lr=1e-2)
        for k in range(80):
            optimiser.zero_grad()
            objective.loss(
                Latents(u[torch.randint(len(u), (200,), generator=seeded(k))]), Step(k, 80, seeded(k))
            ).value.backward()
            optimiser.step()
        single.eval()
        figures = single.end_stage(stage, bench(u))
    assert names == ["likelihood", "nce"] and figures["heldout_loss"] > 0
    assert single.base_kept.any()


@pytest.mark.parametrize(("kind", "energy"), [(MultistagePrior, CONDITIONAL), (NcpPrior, {"width": 8})])
def test_the_gaussians_stand_still_while_the_ratios_learn(kind, energy):
    """Frozen and in evaluation mode, so that the ratio's chains start from the base that was learnt."""
    made = kind(kind.Config(energy=energy, base={"kind": "conditional"}), float_space())
    for stage, learning in ((1, True), (2, False)):
        made.train().requires_grad_(True)  # as the engine does before each phase
        made.begin_stage(stage, bench(points(20, 1).float()))
        assert {part.training for part in made.base.modules()} == {learning}
        assert {parameter.requires_grad for parameter in made.base.parameters()} == {learning}


def float_space():
    from test_ncp_hierarchy import SCALE, SLOPE

    from priorkit.core import Context, LatentSpace, TopDown

    class Walk(TopDown):
        def __init__(self, batch):
            self.z = None
            self.batch = batch

        def context(self):
            if self.z is None:
                return Context(torch.zeros(self.batch, 1), torch.ones(self.batch, 1), None)
            return Context(self.z @ SLOPE.float(), SCALE.float().expand(self.batch, -1), 3 * self.z)

        def take(self, z):
            self.z = z if self.z is None else self.z

        def decode(self):
            raise AssertionError("a prior never decodes")

    return LatentSpace(LAYOUT, lambda u: u, Walk)
