"""Published configurations have the published sizes (counted without the aliases of the file format)."""

import pytest
import torch
from priorkit_nvae import NVAE, NvaeSettings
from priorkit_nvae.regularisers import BatchNormGains, SpectralNorms

from priorkit.core import DataSpec

MNIST, CIFAR, IMAGES_32 = (1, 28, 28), (3, 32, 32), (3, 32, 32)
IMAGES_64, IMAGES_256 = (3, 64, 64), (3, 256, 256)


@pytest.mark.parametrize(
    ("preset", "shape", "millions", "keys", "convolutions", "batch_norms", "groups", "dim"),
    [
        ("mnist", MNIST, 33.363, 2016 - 105, 255, 214, (10, 5), 14_400),
        ("cifar10", CIFAR, 130.852, 3838 - 180, 610, 364, (30,), 153_600),
        ("celeba-64", IMAGES_64, 153.281, 4596 - 216, 730, 436, (20, 10, 5), 467_200),
        ("imagenet-32", IMAGES_32, 268.509, 3586 - 168, 570, 340, (28,), 143_360),
        ("celeba-hq-256", IMAGES_256, 330.799, 5354 - 228, 986, 460, (16, 8, 4, 4, 4), 6_005_760),
        ("ffhq-256", IMAGES_256, 330.799, 5354 - 228, 986, 460, (16, 8, 4, 4, 4), 6_005_760),
        ("vaebm-cifar10", CIFAR, 130.744, 3838 - 180, 610, 364, (30,), 153_600),
        ("vaebm-celeba-64", IMAGES_64, 65.005, 2076 - 96, 330, 196, (5, 5, 5), 134_400),
        ("lsun-church-64", IMAGES_64, 65.005, 2076 - 96, 330, 196, (5, 5, 5), 134_400),
        ("vaebm-celeba-hq-256", IMAGES_256, 365.372, 3114 - 132, 570, 268, (4, 4, 4, 4, 4), 1_745_920),
    ],
)
def test_published_sizes(monkeypatch, preset, shape, millions, keys, convolutions, batch_norms, groups, dim):
    # Initial values of tensors without storage cost seconds and mean nothing.
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda layer: None)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda layer: None)
    with torch.device("meta"):
        network = NVAE(NvaeSettings(preset=preset), DataSpec(preset, shape, 256))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=6e-4)
    assert len(network.state_dict()) == keys
    assert (SpectralNorms(network).count, BatchNormGains(network).count) == (convolutions, batch_norms)
    assert (network.geometry.groups, network.layout.dim) == (groups, dim)


@pytest.mark.parametrize(("preset", "shape", "most"), [("digits", (1, 8, 8), 1_000_000), ("small", CIFAR, 2_000_000)])
def test_our_presets_are_small(preset, shape, most):
    with torch.device("meta"):
        network = NVAE(NvaeSettings(preset=preset), DataSpec(preset, shape, 17))
    assert sum(p.numel() for p in network.parameters()) <= most
