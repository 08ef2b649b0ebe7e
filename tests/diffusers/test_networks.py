"""U-Nets and DiTs of diffusers as networks of the VDRME prior."""

import pytest
import torch
from priorkit_diffusers import DiT, DiTSettings, UNet2D, UNet2DSettings
from priorkit_vdrme import VdrmePrior, VdrmeSettings
from seeding import seeded
from tiny_models import dit, unet
from torch import nn

from priorkit.core import Latents, LatentSpace, Layout, Step
from priorkit.energies.scale_network import ScaleTask
from priorkit.errors import UsageError

SHAPE = (2, 8, 8)
LAYOUT = Layout((SHAPE,))
TIMES = (0, 400, 999)
KINDS = {"unet": (unet, UNet2D, UNet2DSettings), "dit": (dit, DiT, DiTSettings)}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """The original, and what builds a network of it for a task."""
    write, network, settings = KINDS[request.param]
    original = write(tmp_path / request.param, 2)

    def build(outputs, beside=0, classes=0):
        torch.manual_seed(5)
        task = ScaleTask(LAYOUT, TIMES, outputs, beside, classes)
        return network(settings(folder=tmp_path / request.param, width=16), task)

    return original, build


def points(count=6, seed=0):
    return torch.randn(count, LAYOUT.dim, generator=seeded(seed))


LEVEL = torch.tensor([0, 1, 2, 0, 1, 2])


def predicted(original, x, labels=None):
    """The original's own noise prediction, row by row."""
    rows = []
    for row, level in zip(x.view(-1, 1, *SHAPE), LEVEL, strict=True):
        time = torch.tensor([TIMES[level]])
        if hasattr(original, "transformer_blocks"):
            label = torch.tensor([3 if labels is None else labels[len(rows)]])  # 3 stands for no class
            output = original(row, timestep=time, class_labels=label).sample
        else:
            output = original(row, time).sample
        rows.append(output[:, :2].flatten(1))
    return torch.cat(rows)


def test_a_point_network_starts_as_the_pretrained_one_and_ignores_the_noise(kind):
    original, build = kind
    net, x = build(None, beside=1).eval(), points()
    with torch.no_grad():
        output = net(x, LEVEL, beside=points(seed=1))
        assert output.shape == x.shape
        assert torch.equal(output, net(x, LEVEL, beside=points(seed=2)))
        assert torch.allclose(output, predicted(original, x), atol=1e-5)  # batched sums in another order


def test_the_noise_block_learns_from_the_first_step(kind):
    net = kind[1](None, beside=1)
    net(points(), LEVEL, beside=points(seed=1)).square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in net.entry.second.parameters())
    with torch.no_grad():
        net.entry.second.weight.add_(0.1 * net.entry.second.weight.grad.sign())
        first, other = (net(points(), LEVEL, beside=points(seed=seed)) for seed in (1, 2))
    assert not torch.allclose(first, other, atol=1e-3)


def test_numbers_are_zero_at_first_and_depend_on_all_that_is_read(kind):
    net, x = kind[1](3, beside=2), points()
    beside = torch.cat([points(seed=1), points(seed=2)], dim=1).requires_grad_()
    assert torch.equal(net(x, LEVEL, beside=beside), torch.zeros(6, 3))
    nn.init.normal_(net.head[-1].weight, generator=seeded())
    x.requires_grad_()
    value = net(x, LEVEL, beside=beside)
    assert value.shape == (6, 3)
    assert all(bool((grad.abs().amax(1) > 0).all()) for grad in torch.autograd.grad(value.sum(), (x, beside)))
    same_level = net(x, torch.zeros_like(LEVEL), beside=beside)
    assert torch.allclose(value[LEVEL == 0], same_level[LEVEL == 0], atol=1e-5)
    assert not torch.allclose(value[LEVEL > 0], same_level[LEVEL > 0], atol=1e-4)


def test_the_slope_can_be_penalised(kind):
    """Second derivatives, through attention too, against central differences of first ones in float64."""
    net, x = kind[1](1).double(), points(3).double()
    nn.init.normal_(net.head[-1].weight, generator=seeded())

    def penalty():
        at = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(net(at, LEVEL[:3]).sum(), at, create_graph=True)
        return slope.square().sum()

    weight = next(p for name, p in net.named_parameters() if "to_q.weight" in name)
    (grad,) = torch.autograd.grad(penalty(), weight)
    direction, step = grad / grad.norm(), 1e-4
    with torch.no_grad():
        weight.add_(step * direction)
    above = penalty().item()
    with torch.no_grad():
        weight.sub_(2 * step * direction)
    measured = (above - penalty().item()) / (2 * step)
    # The difference errs by step^2, relative to curvatures of order 1 to 10.
    assert measured == pytest.approx(float(grad.norm()), rel=1e-4)


def test_a_label_reaches_the_network_and_is_never_dropped(tmp_path):
    original = dit(tmp_path, 2)
    net = DiT(DiTSettings(folder=tmp_path), ScaleTask(LAYOUT, TIMES, None, 1, 3)).train()
    labels, state = torch.tensor([0, 1, 2, 2, 1, 0]), torch.random.get_rng_state()
    with torch.no_grad():
        output = net(points(), LEVEL, labels, points(seed=1))
        assert torch.allclose(output, predicted(original, points(), labels), atol=1e-5)
    assert torch.equal(torch.random.get_rng_state(), state)


def space(shape=SHAPE):
    return LatentSpace(Layout((shape,)), lambda u: u, lambda batch: None)


def prior(name, folder, **options):
    net = {"network": f"priorkit_diffusers:{name}", "options": {"folder": str(folder), "width": 16}}
    torch.manual_seed(0)
    return VdrmePrior(VdrmeSettings(**{"scales": 3, "energy": net, "generator": net} | options), space())


def test_the_papers_start_is_ddim(tmp_path):
    """Each generator's first draw against the DDIM step written out with diffusers' own schedule."""
    from diffusers import DDPMScheduler

    original = unet(tmp_path, 2)
    made = prior("UNet2D", tmp_path, predicts="noise", start="silent").eval()
    kept = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02).alphas_cumprod
    above = points(2)
    for i, (time, below) in enumerate([(333, 0), (666, 333), (999, 666)]):
        with torch.no_grad():
            noise = original(above.view(-1, *SHAPE), torch.tensor([time, time])).sample.flatten(1)
            x = made.step(above, points(2, seed=3), torch.full((2,), i))
        clean = (above - (1 - kept[time]).sqrt() * noise) / kept[time].sqrt()
        wanted = kept[below].sqrt() * clean + (1 - kept[below]).sqrt() * noise
        # At the top 1 / A is 160, which multiplies float32's rounding.
        assert torch.allclose(x, wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["UNet2D", "DiT"])
def test_the_prior_starts_gaussian_and_every_network_learns(tmp_path, name):
    KINDS["unet" if name == "UNet2D" else "dit"][0](tmp_path, 2)
    made = prior(name, tmp_path, classes=2) if name == "DiT" else prior(name, tmp_path)
    assert torch.equal(made.log_ratio(points()), torch.zeros(6))
    batch = Latents(points(), labels=torch.tensor([0, 1] * 3))
    for objective in made.objectives():
        objective.loss(batch, Step(0, 1, seeded())).value.backward()
        moved = [p for p in objective.parameters if p.grad is not None and bool((p.grad != 0).any())]
        assert moved, objective.name
        assert all(bool(torch.isfinite(p.grad).all()) for p in moved)
    generator = made.generator.net
    assert bool((generator.entry.second.weight.grad != 0).any())


def test_weights_of_a_run_replace_the_folder(tmp_path):
    unet(tmp_path / "unet", 2)
    first = prior("UNet2D", tmp_path / "unet")
    settings = VdrmeSettings.model_validate_json(first.settings.model_dump_json())
    assert settings.energy.options["architecture"]["block_out_channels"] == [8, 8]
    for file in (tmp_path / "unet").iterdir():
        file.unlink()
    again = VdrmePrior(settings, space())
    with pytest.raises(UsageError, match="put them there"):
        again.train().objectives()[0].loss(Latents(points()), Step(0, 1, seeded()))
    again.load_state_dict(first.state_dict())
    level = torch.zeros(6, dtype=torch.int64)
    with torch.no_grad():
        ours, theirs = (made.eval().step(points(), points(seed=1), level) for made in (again, first))
    assert torch.equal(ours, theirs)


def test_what_does_not_fit_is_refused(tmp_path):
    unet(tmp_path / "unet", 2)
    dit(tmp_path / "dit", 2)
    task = ScaleTask(Layout(((3, 8, 8),)), TIMES, None)
    with pytest.raises(UsageError, match="needs 2 channels"):
        UNet2D(UNet2DSettings(folder=tmp_path / "unet"), task)
    with pytest.raises(UsageError, match="needs 2 channels"):
        DiT(DiTSettings(folder=tmp_path / "dit"), task)
    unet(tmp_path / "centring", 2, center_input_sample=True)
    with pytest.raises(UsageError, match=r"images in .0, 1.; choose one trained"):
        UNet2D(UNet2DSettings(folder=tmp_path / "centring"), ScaleTask(LAYOUT, TIMES, None))
    with pytest.raises(UsageError, match="not support 5 classes"):
        UNet2D(UNet2DSettings(folder=tmp_path / "unet"), ScaleTask(LAYOUT, TIMES, None, 1, 5))
    with pytest.raises(UsageError, match="has 3 classes"):
        DiT(DiTSettings(folder=tmp_path / "dit"), ScaleTask(LAYOUT, TIMES, None, 1, 5))
    with pytest.raises(UsageError, match="one map"):
        DiT(DiTSettings(folder=tmp_path / "dit"), ScaleTask(Layout(((8,), (16,))), TIMES, None))
    with pytest.raises(UsageError, match="expected the configuration of a diffusers UNet2DModel"):
        UNet2DSettings(folder=tmp_path / "dit")
