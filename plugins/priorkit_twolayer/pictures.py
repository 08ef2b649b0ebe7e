"""Encoders and decoders between data and vectors: dense ones, and DCGAN's without normalisation."""

from itertools import pairwise
from math import prod

from torch import Tensor, nn
from torch.nn import functional as F

from priorkit.core import DataSpec
from priorkit.errors import UsageError
from priorkit.likelihoods import full_precision
from priorkit_twolayer.perceptron import SLOPE, perceptron
from priorkit_twolayer.settings import TwoLayerSettings

__all__ = ["Decoder", "Encoder"]


def _kind(settings: TwoLayerSettings, spec: DataSpec) -> str:
    if settings.decoder == "auto":
        return "dcgan" if spec.is_image and min(spec.shape[1:]) >= 28 else "dense"
    if settings.decoder != "dense" and not spec.is_image:
        raise UsageError(
            f"decoder: {settings.decoder} is for images, but {spec.name} has points; use --set backbone.decoder=dense."
        )
    return settings.decoder


def _canvas(spec: DataSpec, first: int) -> tuple[int, int]:
    """Return the smallest side first * 2^k that contains the images, and the border on each side of them."""
    height, width = spec.shape[1:]
    side = first
    while side < height:
        side *= 2
    if height != width or (side - height) % 2:
        raise UsageError(
            "decoder: convolutional decoders need square images with an even side, but those of "
            f"{spec.name} are {height}x{width}; use --set backbone.decoder=dense."
        )
    return side, (side - height) // 2


def _widths(maps: int, unit: int) -> list[int]:
    """Return channels of the maps from the smallest on: 8, 4, 2 units for three; a longer chain ends with one unit."""
    largest = max(3, maps - 1)
    return [unit * 2 ** (largest - i) for i in range(maps)]


def _initialise(module: nn.Module) -> None:
    """Initialise layers without normalisation so that the activations' variance is preserved (He et al. 2015, for this
    slope)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            height, stride = layer.kernel_size[0], layer.stride[0]
            taps = height**2 if isinstance(layer, nn.Conv2d) else (1 if layer.padding[0] == 0 else (height // stride) ** 2)
            nn.init.normal_(layer.weight, std=(2 / ((1 + SLOPE**2) * taps * layer.in_channels)) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Encoder(nn.Module):
    """x (B, *spec.shape) -> features (B, hidden)."""

    def __init__(self, settings: TwoLayerSettings, spec: DataSpec) -> None:
        super().__init__()
        self.image, self.border = spec.is_image, 0
        if _kind(settings, spec) == "dense":
            layers = perceptron([prod(spec.shape), *[settings.hidden] * settings.depth])
            self.net = nn.Sequential(nn.Flatten(), *layers)
            return
        side, self.border = _canvas(spec, 4)
        widths = _widths(max(1, (side // 4).bit_length() - 1), settings.width)[::-1]
        stem = nn.Conv2d(spec.shape[0], widths[0] if side == 4 else settings.width, 3, padding=1)
        halvings = (
            [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise([settings.width, *widths])] if side > 4 else []
        )
        convolutions = [stem, *halvings, nn.Conv2d(widths[-1], settings.hidden, 4)]
        self.net = nn.Sequential(*[part for layer in convolutions for part in (layer, nn.LeakyReLU(SLOPE))], nn.Flatten())
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *spec.shape), images in [0, 1], -> (B, hidden)."""
        if self.image:
            x = 2 * F.pad(x, [self.border] * 4) - 1
        features: Tensor = self.net(x)
        return features


class Decoder(nn.Module):
    """The bottom latent (B, d) -> raw output (B, channels, H + 2 border, W + 2 border), or (B, channels) for points."""

    def __init__(self, settings: TwoLayerSettings, spec: DataSpec, channels: int) -> None:
        super().__init__()
        self.border, kind, latent = 0, _kind(settings, spec), settings.latents[-1]
        self.ending = 2 if kind == "dense" else 1
        if kind == "dense":
            self.shape: tuple[int, ...] = (channels, *spec.shape[1:])
            layers = perceptron([latent, *[settings.hidden] * settings.depth])
            self.net = nn.Sequential(*layers, nn.Linear(settings.hidden, prod(self.shape)), nn.Unflatten(1, self.shape))
            return
        first = 8 if kind == "dcgan8" else 4
        side, self.border = _canvas(spec, first)
        doublings = (side // first).bit_length() - 1
        self.net = nn.Sequential(
            nn.Unflatten(1, (latent, 1, 1)), *_rising(latent, first, doublings, settings.width, channels)
        )
        _initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """(B, d) -> raw output."""
        return full_precision(self.net[-self.ending :], self.net[: -self.ending](z))


def _rising(latent: int, first: int, doublings: int, unit: int, channels: int) -> list[nn.Module]:
    """Return a map of side `first`, then its doublings; from 8x8, or without a doubling, a 3x3 convolution is last."""
    plain_end = first == 8 or doublings == 0
    widths = _widths(doublings + plain_end, unit)
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], first), nn.LeakyReLU(SLOPE)]
    for a, b in pairwise(widths):
        layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
    end = nn.Conv2d(widths[-1], channels, 3, padding=1) if plain_end else nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1)
    return [*layers, end]
