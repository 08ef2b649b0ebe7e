"""What holds for every NVAE, checked on tiny untrained networks in float64."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_nvae import NVAE, NvaeSettings
from priorkit_nvae.cells import CELL_TABLES
from priorkit_nvae.convolution import DataInitialisedConv2d, WeightNormConv2d
from priorkit_nvae.geometry import Geometry
from priorkit_nvae.inference import infer, random_noise
from priorkit_nvae.kl_schedule import kl_weight
from seeding import seeded

from priorkit.core import DataSpec, Step
from priorkit.data.examples import Points
from priorkit.errors import UsageError
from priorkit.metrics import elbo as elbo_figures
from priorkit.metrics import importance_bound

DIGITS = DataSpec("digits", (1, 8, 8), 17)


def tiny(spec=DIGITS, seed=0, **options):
    """A small network whose weights are far enough from their start for the latents to matter."""
    torch.manual_seed(seed)
    sizes = {"num_channels_enc": 4, "num_channels_dec": 4, "num_mixture_dec": 2, "arch_instance": "res_bnswish"}
    sizes |= {"num_latent_scales": 2, "num_groups_per_scale": 2, "ada_groups": True, "num_latent_per_group": 2}
    sizes |= {"num_preprocess_blocks": 1, "num_postprocess_blocks": 1, "kl_final": 1.0}
    network = NVAE(NvaeSettings(**{**sizes, **options}), spec).double()
    with torch.no_grad():
        for conv in network.modules():
            if isinstance(conv, WeightNormConv2d):
                conv.log_weight_norm.add_(0.7)
    return network.eval()


def digits(count, seed=0):
    return torch.rand(count, 1, 8, 8, generator=seeded(seed), dtype=torch.float64).mul(16).round() / 16


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


NETWORKS = {
    "digits": tiny(),
    "flows": tiny(num_nf=1),
    "three scales": tiny(num_latent_scales=3, ada_groups=False, num_groups_per_scale=1),
    "vanilla": tiny(num_latent_scales=1, num_groups_per_scale=1),
    "normal": tiny(decoder="normal", res_dist=False),
    "bernoulli": tiny(decoder="bernoulli", use_se=False),
}


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    batch=st.integers(1, 4),
    temperature=st.sampled_from([1.0, 0.7]),
    seed=st.integers(0, 99),
)
def test_noise_inverts_latents_and_the_walk_is_generate(name, batch, temperature, seed):
    network = NETWORKS[name]
    u = normal(batch, network.layout.dim, seed=seed)
    with torch.no_grad():
        z = network.latents(u, temperature=temperature)
        torch.testing.assert_close(network.noise(z, temperature=temperature), u)
        made = network.generate(u, temperature=temperature)
        walk = network.top_down(batch, temperature=temperature)
        for part, layer in zip(network.layout.split(u), made.z, strict=True):
            assert walk.context().mean is not None
            torch.testing.assert_close(walk.take_noise(part), layer)
        torch.testing.assert_close(walk.decode().mean, made.likelihood.mean)
    torch.testing.assert_close(network.layout.join(made.z), z)
    assert made.likelihood.mean.shape == (batch, 1, 8, 8)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_top_prior_has_scale_1_01(name):
    context = NETWORKS[name].top_down(2, temperature=0.5).context()
    torch.testing.assert_close(context.scale, torch.full_like(context.scale, 1.01 * 0.5))
    assert context.mean.abs().max() == 0


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"flows"}))
def test_kl_is_non_negative_and_its_monte_carlo_estimate(name):
    """The analytic KL of each group against the mean of log q - log p; 5 standard errors."""
    network, count = NETWORKS[name], 1000
    with torch.no_grad():
        x = network.observe(digits(1), generator=seeded()).expand(count, -1, -1, -1)
        result = infer(network, x, random_noise(seeded(1)))
        difference = result.log_q() - result.log_p() - result.kl()
    assert (result.kl() >= 0).all()
    assert (difference.mean(0).abs() < 5 * difference.std(0) / count**0.5 + 1e-9).all()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_infer_and_elbo_tell_the_same(name):
    network, x = NETWORKS[name], digits(3)
    with torch.no_grad():
        posterior = network.infer(x, generator=seeded(7))
        elbo = network.elbo(x, generator=seeded(7))
        log_px = network.generate(posterior.u).likelihood.log_prob(network.observe(x, generator=seeded(7)))
    torch.testing.assert_close(elbo.kl, posterior.kl)
    torch.testing.assert_close(elbo.log_px, log_px)
    if network.settings.num_nf:
        torch.testing.assert_close(posterior.kl.sum(1), posterior.log_ratio)


def test_ancestral_samples_are_standard_normal_noise():
    """Sample z layer by layer from the conditionals; its noise has mean 0 and variance 1 (5 standard errors)."""
    network, count, generator = NETWORKS["digits"], 2000, seeded(3)
    with torch.no_grad():
        walk, z = network.top_down(count), []
        for _ in range(len(network.layout)):
            context = walk.context()
            z.append(torch.normal(context.mean, context.scale, generator=generator))
            walk.take(z[-1])
        u = network.noise(network.layout.join(z))
    assert u.mean().abs() < 5 / u.numel() ** 0.5
    assert (u.var() - 1).abs() < 5 * (2 / u.numel()) ** 0.5


def test_flows_preserve_volume_and_see_only_the_past():
    torch.manual_seed(1)
    pair = NETWORKS["flows"].nf_cells[0]
    z = normal(1, 2, 3, 3)
    for cell, mirror in ((pair.cell1, False), (pair.cell2, True)):
        jacobian = torch.autograd.functional.jacobian(lambda v, cell=cell: cell(v), z).view(18, 18)
        order = torch.arange(18).view(2, 9).flip(1) if mirror else torch.arange(18).view(2, 9)
        order = order.T.flatten()  # pixels first, channels within a pixel
        causal = jacobian[order][:, order]
        torch.testing.assert_close(causal.diagonal(), torch.ones(18, dtype=torch.float64))
        assert causal.triu(1).abs().max() == 0
        assert causal.tril(-1).abs().max() > 0


@pytest.mark.parametrize("arch", sorted(CELL_TABLES))
def test_every_cell_table_trains(arch):
    network = tiny(arch_instance=arch, num_channels_enc=8, num_channels_dec=8, weight_decay_norm=1e-2).train()
    x = digits(4)
    network.adapt(x)
    (objective,) = network.objectives()
    for index in (0, 9):
        loss = objective.loss(x, Step(index, 10, seeded()))
        gradients = torch.autograd.grad(loss.value, objective.parameters, allow_unused=True)
        assert all(g is not None and g.isfinite().all() for g in gradients)
    assert loss.metrics["kl"].shape == (len(network.layout),)


def test_the_last_loss_is_the_negative_elbo():
    network, x = NETWORKS["digits"], digits(5)
    loss = network.objectives()[0].loss(x, Step(99, 100, seeded(2)))
    torch.testing.assert_close(loss.value, -network.elbo(x, generator=seeded(2)).value.mean())


def test_adapt_gives_res_elu_unit_statistics():
    network, x, seen = tiny(arch_instance="res_elu"), digits(16), []
    layers = [module for module in network.modules() if isinstance(module, DataInitialisedConv2d)]
    handles = [layer.register_forward_hook(lambda layer, inputs, output: seen.append(output)) for layer in layers]
    network.adapt(x)
    for handle in handles:
        handle.remove()
    assert len(seen) == len(layers)
    for output in seen:
        torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros_like(output[0, :, 0, 0]), atol=1e-4, rtol=0)
        torch.testing.assert_close(output.std((0, 2, 3)), torch.full_like(output[0, :, 0, 0], 0.2), atol=1e-3, rtol=0)


def test_frozen_filters_are_kept_until_the_weights_change():
    conv = WeightNormConv2d(2, 3, 3).eval().requires_grad_(False)
    first = conv.effective_weight()
    assert conv.effective_weight() is first
    conv.load_state_dict({key: value + 1 for key, value in conv.state_dict().items()})
    assert not torch.equal(conv.effective_weight(), first)
    second = conv.effective_weight()
    with torch.no_grad():
        conv.log_weight_norm.add_(1)
    torch.testing.assert_close(conv.effective_weight(), second * torch.tensor(1.0).exp())
    conv.requires_grad_(True)
    assert conv.effective_weight().requires_grad


def test_latents_of_a_frozen_network_are_differentiable():
    network = tiny().requires_grad_(False)
    u = normal(2, network.layout.dim).requires_grad_()
    (gradient,) = torch.autograd.grad(network.latents(u).sum(), u)
    assert gradient.abs().min() > 0


def test_28_pixels_are_padded_to_32_and_counted_in_the_centre():
    spec = DataSpec("mnist", (1, 28, 28), 256)
    network = tiny(spec, decoder="bernoulli", num_preprocess_blocks=2, num_postprocess_blocks=2)
    x = torch.rand(2, 1, 28, 28, generator=seeded(), dtype=torch.float64)
    assert network.padded(x).shape == (2, 1, 32, 32)
    assert network.padded(x).sum().item() == pytest.approx(x.sum().item())
    with torch.no_grad():
        elbo = network.elbo(x, generator=seeded())
        made = network.generate(network.infer(x, generator=seeded()).u)
    assert elbo.value.shape == (2,)
    assert made.likelihood.mean.shape == x.shape
    assert set(network.observe(x, generator=seeded(1)).unique().tolist()) == {0.0, 1.0}


def test_fewer_bits():
    network = tiny(DataSpec("faces", (3, 32, 32), 256), num_x_bits=5, num_preprocess_blocks=2, num_postprocess_blocks=2)
    x = (torch.arange(256) / 255).repeat(12).view(1, 3, 32, 32)
    expected = (torch.arange(256) // 8).float().repeat(12).view(1, 3, 32, 32) / 31
    torch.testing.assert_close(network.observe(x), expected, atol=0, rtol=1e-6)
    assert network.levels == 32
    assert network.elbo(x.double(), generator=seeded()).log_px.isfinite().all()


def test_kl_warm_up_is_a_share_of_the_phase():
    options = NvaeSettings(kl_anneal_portion=0.3, kl_const_portion=0.1, kl_const_coeff=1e-3)
    assert [kl_weight(options, step, 100) for step in (0, 10, 25, 40, 99)] == pytest.approx([1e-3, 1e-3, 0.5, 1, 1])


def test_a_preset_fills_what_is_not_given():
    options = NvaeSettings(preset="mnist", num_nf=2)
    assert (options.num_nf, options.decoder, options.num_groups_per_scale, options.ada_groups) == (2, "bernoulli", 10, True)
    assert NvaeSettings(**options.model_dump()) == options
    assert NvaeSettings().preset == "auto"


@pytest.mark.parametrize(
    ("spec", "preset", "kl_final"),
    [
        (DIGITS, "digits", 0.4),
        (DataSpec("folder:mine", (1, 8, 8), 256), "digits", 1.0),
        (DataSpec("zip:fashion.zip", (1, 28, 28), 256), "small", 1.0),
        (DataSpec("cifar10", (3, 32, 32), 256), "small", 1.0),
        (DataSpec("folder:faces", (3, 64, 64), 256), "small-64", 1.0),
        (DataSpec("folder:faces", (3, 256, 256), 256), "celeba-hq-256", 1.0),
    ],
)
def test_auto_takes_the_preset_that_fits_the_images(spec, preset, kl_final):
    chosen = NvaeSettings().for_data(spec)
    assert (chosen.preset, chosen.kl_final) == (preset, kl_final)
    assert chosen == NvaeSettings(preset=preset, kl_final=kl_final)
    asked = NvaeSettings(kl_final=0.7, num_latent_per_group=3).for_data(spec)
    assert (asked.preset, asked.kl_final, asked.num_latent_per_group) == (preset, 0.7, 3)


def test_what_was_given_beside_auto_survives_a_file():
    """A value that equals the class's default counts as given, and one that was not given does not."""
    given = NvaeSettings(num_latent_scales=1)
    again = NvaeSettings.model_validate_json(given.model_dump_json())
    spec = DataSpec("cifar10", (3, 32, 32), 256)
    assert again.for_data(spec) == given.for_data(spec)
    assert again.for_data(spec).num_latent_scales == 1 and again.for_data(spec).num_groups_per_scale == 4


@pytest.mark.parametrize("side", [96, 128, 512])
def test_sizes_without_a_preset_say_so(side):
    with pytest.raises(UsageError, match=f"no preset for images of {side} x {side} pixels; resize"):
        NVAE(NvaeSettings(), DataSpec("folder:large", (3, side, side), 256))


def test_the_preset_for_64_pixels_has_the_latents_of_the_one_for_32():
    specs = [DataSpec("faces", (3, side, side), 256) for side in (32, 64)]
    small, larger = (Geometry.of(NvaeSettings().for_data(spec), spec).layout for spec in specs)
    assert small == larger


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        ({"preset": "cifar100"}, DIGITS, "did you mean --set backbone.preset=cifar10"),
        ({"arch_instance": "res_mbconv9"}, DIGITS, "res_mbconv9"),
        ({"num_postprocess_blocks": 3}, DIGITS, "num_postprocess_blocks"),
        ({"num_preprocess_blocks": 4, "num_postprocess_blocks": 4}, DIGITS, "halved"),
        ({"num_x_bits": 5}, DIGITS, "17"),
        ({}, DataSpec("toy", (2,), None), "square images"),
        ({}, DataSpec("pairs", (2, 8, 8), 17), "1 or 3"),
    ],
)
def test_wrong_options_say_what_to_do(options, spec, message):
    with pytest.raises(UsageError, match=message):
        NVAE(NvaeSettings(**options), spec)


def test_images_of_another_shape_are_refused():
    with pytest.raises(UsageError, match="expected images of shape"):
        NETWORKS["digits"].infer(torch.zeros(1, 1, 9, 9))


def test_mixed_precision_keeps_sums_in_float32():
    network = tiny(num_nf=1, weight_decay_norm=1e-2).float().train()
    (objective,) = network.objectives()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective.loss(digits(4).float(), Step(0, 10, seeded()))
    loss.value.backward()
    assert loss.value.dtype == loss.metrics["kl"].dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_copy_is_independent():
    network = tiny()
    u = normal(2, network.layout.dim)
    with torch.no_grad():
        before = network.latents(u)
        twin = deepcopy(network)
        for parameter in twin.parameters():
            parameter.add_(1)
        torch.testing.assert_close(network.latents(u), before)
        assert not torch.allclose(twin.latents(u), before)


COLOURS = DataSpec("colours", (3, 8, 8), 256)


@pytest.mark.parametrize("bits", range(1, 8))
def test_observing_what_was_observed_changes_nothing(bits):
    """On all 256 levels; a binarised image stays as it is, too."""
    network = tiny(COLOURS, num_x_bits=bits)
    x = (torch.arange(256, dtype=torch.float64) / 255).repeat(3).view(4, 3, 8, 8)
    seen = network.observe(x)
    assert len(seen.unique()) == 2**bits
    assert torch.equal(network.observe(seen), seen)
    binary = NETWORKS["bernoulli"].observe(digits(3), generator=seeded(1))
    assert torch.equal(NETWORKS["bernoulli"].observe(binary, generator=seeded(2)), binary)


def test_bounds_are_those_of_the_observed_levels():
    """With 5 bits the bound of an image is that of its 32 levels, whatever its lower bits are."""
    network = tiny(COLOURS, num_x_bits=5)
    x = torch.randint(0, 32, (6, 3, 8, 8), generator=seeded()).double() * 8 / 255
    low = torch.randint(0, 8, x.shape, generator=seeded(1)).double() / 255
    for bound in (elbo_figures, importance_bound):
        one, other = (bound(network, Points(images), generator=seeded(2)) for images in (x, x + low))
        assert {name: figure.value for name, figure in one.items()} == {n: figure.value for n, figure in other.items()}
        assert "32 grey levels" in next(iter(one.values())).protocol
    expected = network.elbo(x, generator=seeded(2)).value.mean()
    assert elbo_figures(network, Points(x), generator=seeded(2))["elbo_nats"].value == pytest.approx(expected.item())


def test_the_bounds_of_grey_images_are_those_of_binary_ones():
    """A bound on log p of binary values is below 0; scored as grey values it would not be a log-probability at all."""
    network = NETWORKS["bernoulli"]
    figures = importance_bound(network, Points(digits(8)), samples=20, generator=seeded())
    assert figures["iw_nats"].value < 0
    assert figures["iw_nats"].value > elbo_figures(network, Points(digits(8)), generator=seeded())["elbo_nats"].value - 1


@pytest.mark.parametrize("name", ["digits", "flows", "normal", "vanilla"])
def test_under_bf16_the_bound_is_nearly_that_of_float32(name):
    """bf16 keeps 8 bits: the towers' rounding may move the bound by 1 %; means, scales and densities stay float32."""
    network, x = deepcopy(NETWORKS[name]).float(), digits(64).float()
    with torch.no_grad():
        exact = network.elbo(x, generator=seeded(1))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network.elbo(x, generator=seeded(1))
            posterior, made = network.infer(x, generator=seeded(1)), network.generate(torch.randn(3, network.layout.dim))
            walk = network.top_down(2)
            context = walk.context()
            for part in network.layout.split(torch.randn(2, network.layout.dim)):
                walk.take_noise(part)
            logits = walk.logits()
    shown = (posterior.u, posterior.kl, posterior.log_ratio, *made.z, made.likelihood.mean, context.mean, context.scale)
    for part in (rounded.log_px, rounded.kl, *shown):
        assert part.dtype == torch.float32
    assert rounded.value.mean().item() == pytest.approx(exact.value.mean().item(), rel=0.01)
    # Float32 by more than its type: what a layer in bf16 gives survives this rounding.
    assert not torch.equal(logits, logits.bfloat16().float())
