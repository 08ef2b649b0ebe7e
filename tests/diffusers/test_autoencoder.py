"""The autoencoder backbone against diffusers itself."""

import json
import shutil

import pytest
import torch
from priorkit_diffusers import AutoencoderKL, AutoencoderKLSettings, Pixels
from seeding import seeded
from tiny_models import autoencoder, unet

from priorkit.core import DataSpec, set_learning
from priorkit.errors import UsageError
from priorkit.testing import NotApplicable, checks

SPEC = DataSpec("pictures", (1, 8, 8), 17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "vae"
    autoencoder(path)
    return path


def built(folder, spec=SPEC, **options):
    backbone = AutoencoderKL(AutoencoderKLSettings(folder=folder, **options), spec)
    set_learning(backbone, False)
    return backbone


def pictures(count=6, channels=1, side=8):
    return torch.rand(count, channels, side, side, generator=seeded(4))


@pytest.mark.parametrize("standardise", ["config", "data"])
@pytest.mark.parametrize("check", checks("backbone"), ids=str)
def test_conformance(folder, check, standardise):
    try:
        check(AutoencoderKL, {"folder": str(folder), "standardise": standardise})
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("check", checks("backbone"), ids=str)
def test_conformance_of_pixels(check):
    try:
        check(Pixels, {})
    except NotApplicable as reason:
        pytest.skip(str(reason))


def test_decoding_is_that_of_diffusers(folder):
    """In double precision, since the order of a convolution's sums depends on where in memory its weights lie."""
    backbone, original = built(folder).double(), autoencoder(folder).double()
    u = torch.randn(3, backbone.layout.dim, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        generation = backbone.generate(u)
        (z,) = generation.z
        assert torch.allclose(generation.likelihood.location, original.decode(z).sample, rtol=0, atol=1e-12)
    # The scale is kept in single precision.
    standardised = (z - original.config.shift_factor) * original.config.scaling_factor
    assert torch.allclose(standardised.flatten(1), u, atol=1e-6)


def test_the_posterior_is_that_of_diffusers(folder):
    backbone, original, x = built(folder).double(), autoencoder(folder).double(), pictures().double()
    with torch.no_grad():
        theirs = original.encode(2 * x - 1).latent_dist
        mean, deviation = backbone.encoded(x)
        ours = backbone.infer(x, generator=seeded())
        drawn = theirs.sample(seeded())
    assert torch.allclose(mean, theirs.mean, rtol=0, atol=1e-12)
    assert torch.allclose(deviation, theirs.std, rtol=1e-12)
    # The sample is theirs in other units; u's own posterior has the moments (m - shift) c and s c.
    assert torch.allclose(ours.u, ((drawn - 0.2) * 0.7).flatten(1), atol=1e-6)
    log_scale = 2 * torch.tensor(0.7, dtype=torch.float64).log()
    scaled = type(theirs)(torch.cat([(theirs.mean - 0.2) * 0.7, theirs.logvar + log_scale], dim=1))
    assert torch.allclose(ours.kl[:, 0], scaled.kl(), rtol=1e-6)


def test_latents_with_a_mean_a_channel_are_scaled_as_in_diffusers_pipelines(tmp_path):
    """(z - latents_mean) scaling_factor / latents_std, as StableDiffusionXLImg2ImgPipeline.prepare_latents; with one of the
    two alone it takes neither."""
    autoencoder(tmp_path / "both", latents_mean=[1.0, -2.0], latents_std=[4.0, 0.5], shift_factor=None)
    backbone = built(tmp_path / "both")
    u = torch.randn(3, backbone.layout.dim, generator=seeded())
    (z,) = backbone.generate(u).z
    mean, deviation = torch.tensor([1.0, -2.0])[:, None, None], torch.tensor([4.0, 0.5])[:, None, None]
    assert torch.allclose(((z - mean) * 0.7 / deviation).flatten(1), u, atol=1e-5)  # single precision
    autoencoder(tmp_path / "one", latents_mean=[1.0, -2.0], shift_factor=None)
    assert torch.equal(built(tmp_path / "one").shift, torch.zeros(2, 1, 1))


@pytest.mark.parametrize(
    "config",
    [{"scaling_factor": 0}, {"scaling_factor": None}, {"scaling_factor": "much"}, {"shift_factor": float("nan")},
     {"latents_mean": [1.0, 2.0], "latents_std": [1.0, 0.0]}, {"latents_mean": [1.0] * 3, "latents_std": [1.0] * 3}],
)  # fmt: skip
def test_a_scale_that_is_none_is_refused(tmp_path, config):
    autoencoder(tmp_path / "vae")
    file = tmp_path / "vae" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    with pytest.raises(UsageError, match=r"the autoencoder's ((scaling|shift)_factor|latents_(mean|std)) is") as refused:
        built(tmp_path / "vae")
    assert "\n" not in str(refused.value)
    assert torch.equal(built(tmp_path / "vae", standardise="data").scale, torch.ones(2, 1, 1))


def test_data_standardise_each_channel(folder):
    backbone, x = built(folder, standardise="data"), pictures(200)
    backbone.adapt(x)
    with torch.no_grad():
        u = backbone.layout.split(backbone.infer(x, generator=seeded()).u)[0]
    assert u.mean((0, 2, 3)).abs().max() < 0.05  # 3,200 points a channel, four standard errors are 0.07
    assert (u.std((0, 2, 3)) - 1).abs().max() < 0.05


def test_weights_and_architecture_suffice_without_the_folder(folder, tmp_path):
    moved = tmp_path / "pipeline"
    shutil.copytree(folder, moved / "vae")
    first = built(moved)
    settings = AutoencoderKLSettings.model_validate_json(first.settings.model_dump_json())
    shutil.rmtree(moved)
    unet(moved)  # something else has come to its place
    again = AutoencoderKL(settings, SPEC)
    with pytest.raises(UsageError, match="put them there"):
        again.infer(pictures())
    again.load_state_dict(first.state_dict())
    set_learning(again, False)
    with torch.no_grad():
        assert torch.equal(again.infer(pictures(), generator=seeded()).u, first.infer(pictures(), generator=seeded()).u)


def test_only_safetensors_are_read(folder, tmp_path):
    """A pickle in the folder is neither loaded nor executed."""
    hostile = tmp_path / "hostile"
    autoencoder(hostile)
    state = autoencoder(tmp_path / "other").state_dict()
    next(hostile.glob("*.safetensors")).unlink()
    torch.save(state, hostile / "diffusion_pytorch_model.bin")
    with pytest.raises(UsageError, match="safetensors"):
        built(hostile)


def cut(path):
    """Half of the weights' file is gone."""
    file = next(path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose_a_tensor(path):
    from safetensors.torch import load_file, save_file

    file = next(path.glob("*.safetensors"))
    state = load_file(file)
    state.popitem()
    save_file(state, file)


def other_sizes(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "latent_channels": 3}))


def no_json(path):
    (path / "config.json").write_text("{")


def quantised(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gguf"}}))


def enormous(path):
    """Eight terabytes, which must not be asked for."""
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "block_out_channels": [2**19, 2**19]}))


@pytest.mark.parametrize("spoil", [cut, lose_a_tensor, other_sizes, no_json, quantised, enormous], ids=lambda f: f.__name__)
def test_a_spoilt_folder_is_refused_in_one_line(tmp_path, spoil):
    autoencoder(tmp_path / "vae")
    spoil(tmp_path / "vae")
    with pytest.raises(UsageError, match="vae") as caught:
        built(tmp_path / "vae")
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused(folder, tmp_path):
    unet(tmp_path / "unet")
    with pytest.raises(UsageError, match="expected the configuration of a diffusers AutoencoderKL"):
        built(tmp_path / "unet")
    with pytest.raises(UsageError, match="there is no AutoencoderKL in the folder"):
        built(tmp_path / "nothing")
    with pytest.raises(UsageError, match="folder is not given"):
        AutoencoderKL(AutoencoderKLSettings(), SPEC)
    for shape in ((3, 8, 8), (1, 9, 8), (7,)):
        with pytest.raises(UsageError, match="needs images with 1 channels and sides that are multiples of 2"):
            built(folder, DataSpec("other", shape, None))
