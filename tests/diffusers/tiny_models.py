"""Tiny diffusers models, written to folders as diffusers writes them."""

from importlib.util import find_spec

import pytest
import torch

# This very folder is called like the library, so that an import alone could find a package without content.
spec = find_spec("diffusers")
if spec is None or spec.origin is None:
    pytest.skip("diffusers is not installed", allow_module_level=True)

from diffusers import AutoencoderKL, DiTTransformer2DModel, UNet2DModel  # noqa: E402


def written(model, folder):
    """The model, in the folder; norms and biases start at values of no effect, so they are moved."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    model.save_pretrained(folder)
    return model.eval()


def autoencoder(folder, channels=1, latents=2, **config):
    """f = 2."""
    torch.manual_seed(1)
    options = {"scaling_factor": 0.7, "shift_factor": 0.2, **config}
    return written(
        AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            latent_channels=latents,
            norm_num_groups=4,
            sample_size=8,
            **options,
        ),
        folder,
    )


def unet(folder, channels=1, **config):
    """Two resolutions, attention in the lower one."""
    torch.manual_seed(2)
    return written(
        UNet2DModel(
            sample_size=8,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(8, 8),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=4,
            **config,
        ),
        folder,
    )


def dit(folder, channels=2, classes=3):
    """One block; the output has means and, as the published one's, as many channels more."""
    torch.manual_seed(3)
    return written(
        DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=4,
            in_channels=channels,
            out_channels=2 * channels,
            num_layers=1,
            sample_size=8,
            patch_size=2,
            num_embeds_ada_norm=classes,
        ),
        folder,
    )
