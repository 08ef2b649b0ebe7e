"""Pretrained U-Nets and DiTs of diffusers as the networks of a prior on the noise scales of a diffusion.

A network whose output is a point is the pretrained one, which predicts the noise in its input. A network whose output
is a few numbers has two linear layers on top, the last of which is initialised at 0. Inputs in addition to u enter
through a convolutional block in front.
"""

from abc import abstractmethod
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import silu

from priorkit.core import Layout
from priorkit.energies.scale_network import ScaleNetwork, ScaleTask
from priorkit.errors import UsageError
from priorkit_diffusers.pretrained import Pretrained, PretrainedSettings

__all__ = ["DiT", "DiTSettings", "UNet2D", "UNet2DSettings"]


class NetworkSettings(PretrainedSettings):
    """A pretrained denoiser and the layers added to it."""

    width: PositiveInt = 256
    """Width of the linear layers on the denoiser's output, and of the block that reads additional inputs."""


class UNet2DSettings(NetworkSettings):
    """A `diffusers.UNet2DModel`, such as that of a pretrained DDPM."""

    KIND: ClassVar[str] = "UNet2DModel"
    PART: ClassVar[str] = "unet"


class DiTSettings(NetworkSettings):
    """A `diffusers.DiTTransformer2DModel`, such as that of a pretrained DiT."""

    KIND: ClassVar[str] = "DiTTransformer2DModel"
    ALSO: ClassVar[tuple[str, ...]] = ("Transformer2DModel",)
    PART: ClassVar[str] = "transformer"


class Entry(nn.Module):
    """Merges an image and additional inputs into one image: x + W silu(W' [x, beside]); with `silent`, W is initialised
    at 0."""

    def __init__(self, channels: int, beside: int, width: int, *, silent: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels * (1 + beside), width, 3, padding=1)
        self.second = nn.Conv2d(width, channels, 3, padding=1)
        if silent:
            for parameter in self.second.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """(B, C, h, w) and (B, beside * C, h, w) -> (B, C, h, w)."""
        result: Tensor = x + self.second(silu(self.first(torch.cat([x, beside], dim=1))))
        return result


class Denoiser(ScaleNetwork):
    """A pretrained denoiser on the only layer (C, h, w) of u."""

    Config: ClassVar[type[NetworkSettings]]
    libraries: ClassVar[tuple[str, ...]] = ("diffusers",)
    times: Tensor
    """The time of each scale, (scales,)."""

    def __init__(self, settings: NetworkSettings, task: ScaleTask) -> None:
        super().__init__()
        self.denoiser = Pretrained(settings)
        self.shape = _map(task.layout, settings.KIND)
        self._prepare(self.denoiser.net, task.classes)
        channels, height, width = self.shape
        self.entry = Entry(channels, task.beside, settings.width, silent=task.outputs is None) if task.beside else None
        self.head: nn.Sequential | None = None
        if task.outputs is not None:
            last = nn.Linear(settings.width, task.outputs)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            given = self._channels(self.denoiser.net) * height * width
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(given, settings.width), nn.SiLU(), last)
        self.register_buffer("times", torch.tensor(task.times), persistent=False)

    @abstractmethod
    def _prepare(self, net: Any, classes: int) -> None:
        """Verify that the model accepts maps of `shape` and so many classes. Raises UsageError if it does not."""

    @abstractmethod
    def _channels(self, net: Any) -> int:
        """Return the number of channels of the model's output."""

    @abstractmethod
    def _predicted(self, net: Any, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        """Return the model's output for (B, C, h, w), (B,), (B,)."""

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """Map (B, D) at scales (B,), labels (B,) and (B, beside * D) -> (B, outputs), or the predicted noise (B, D)."""
        channels, height, width = self.shape
        image = x.reshape(len(x), *self.shape)
        if self.entry is not None and beside is not None:
            image = self.entry(image, beside.reshape(len(x), beside.shape[1] // (height * width), height, width))
        net = self.denoiser.required() if self.training else self.denoiser.net
        # A gradient penalty differentiates twice, which the fused attention kernels do not support.
        with sdpa_kernel(SDPBackend.MATH) if self.head is not None else nullcontext():
            output = self._predicted(net, image, self.times[level], labels)
        result: Tensor = output[:, :channels].flatten(1) if self.head is None else self.head(output)
        return result

    def _refuse(self, wants: str) -> UsageError:
        shape = "x".join(map(str, self.shape))
        return UsageError(
            f"this {self.Config.KIND} needs {wants}, but the latent is a map of {shape}; choose another folder."
        )


class UNet2D(Denoiser):
    """A pretrained U-Net, such as a DDPM's, on a latent that is one map."""

    Config: ClassVar[type[NetworkSettings]] = UNet2DSettings

    def _prepare(self, net: Any, classes: int) -> None:
        config, factor = net.config, 2 ** (len(net.config.block_out_channels) - 1)
        if config.in_channels != self.shape[0] or any(side % factor for side in self.shape[1:]):
            raise self._refuse(f"{config.in_channels} channels and sides that {factor} divides")
        if config.out_channels < self.shape[0]:
            raise self._refuse(f"at most {config.out_channels} channels")
        if config.time_embedding_type == "fourier" or config.center_input_sample:
            raise UsageError("this UNet2DModel reads noise levels, or images in [0, 1]; choose one trained as a DDPM.")
        if not classes:
            net.class_embedding = None
        elif config.class_embed_type is not None or (config.num_class_embeds or 0) < classes:
            raise UsageError(
                f"classes: this UNet2DModel does not support {classes} classes; use --set prior.classes=0, or a DiT."
            )

    def _channels(self, net: Any) -> int:
        return int(net.config.out_channels)

    def _predicted(self, net: Any, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        result: Tensor = net(x, time, labels).sample
        return result


class DiT(Denoiser):
    """A pretrained diffusion transformer on a latent that is one square map; without a label it uses the empty class."""

    Config: ClassVar[type[NetworkSettings]] = DiTSettings

    def _prepare(self, net: Any, classes: int) -> None:
        config = net.config
        _, height, width = self.shape
        if config.in_channels != self.shape[0] or height != width or height % config.patch_size:
            raise self._refuse(f"{config.in_channels} channels and equal sides that {config.patch_size} divides")
        if self._channels(net) < self.shape[0]:
            raise self._refuse(f"at most {self._channels(net)} channels")
        if classes > config.num_embeds_ada_norm:
            raise UsageError(
                f"classes: this DiT has {config.num_embeds_ada_norm} classes, not {classes}; set "
                "prior.classes to that number."
            )
        for block in net.transformer_blocks:
            # In training mode it would drop labels at random, with the global random state.
            block.norm1.emb.class_embedder.dropout_prob = 0.0

    def _channels(self, net: Any) -> int:
        return int(net.out_channels)

    def _predicted(self, net: Any, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        chosen = torch.full_like(time, net.config.num_embeds_ada_norm) if labels is None else labels
        result: Tensor = net(x, timestep=time, class_labels=chosen).sample
        return result


def _map(layout: Layout, kind: str) -> tuple[int, int, int]:
    """Return (C, h, w) of the only layer. Raises UsageError for another layout."""
    if len(layout) != 1 or len(layout.shapes[0]) != 3:
        raise UsageError(
            f"network: a {kind} needs a latent that is one map (C, h, w), but the layers of this backbone "
            f"are {layout.shapes}; use the backbone pixels or autoencoderkl, or network=mlp."
        )
    channels, height, width = layout.shapes[0]
    return channels, height, width
