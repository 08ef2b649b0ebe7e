"""Sizes that follow from the settings and the data: padding, groups, resolutions, widths."""

from dataclasses import dataclass

from priorkit.core import DataSpec, Layout
from priorkit.errors import UsageError
from priorkit_nvae.settings import NvaeSettings

__all__ = ["Geometry"]

MNIST_SIDE, MNIST_PADDED = 28, 32


@dataclass(frozen=True)
class Geometry:
    """The derived sizes of one NVAE.  Scale s = 0 is the highest latent resolution; group 0 is the top."""

    channels: int
    """Colour channels of an image."""
    side: int
    """Side of the network's input image, including padding."""
    border: int
    """Number of zero-padded pixels on each side."""
    preprocess_blocks: int
    groups: tuple[int, ...]
    """Number of groups of each scale."""
    latent_channels: int

    @property
    def scales(self) -> tuple[int, ...]:
        """The scale of each group, in the order of generation."""
        return tuple(s for s in reversed(range(len(self.groups))) for _ in range(self.groups[s]))

    @property
    def vanilla(self) -> bool:
        """True for a single group: an ordinary VAE without towers."""
        return self.groups == (1,)

    def multiplier(self, scale: int) -> int:
        """Return the number of channels at a scale, as a multiple of those at the image's resolution."""
        return int(2 ** (self.preprocess_blocks + scale))

    def latent_side(self, scale: int) -> int:
        """Return the side of the latents of a scale."""
        return self.side // self.multiplier(scale)

    @property
    def layout(self) -> Layout:
        """The latents' shapes, top first."""
        return Layout(tuple((self.latent_channels, self.latent_side(s), self.latent_side(s)) for s in self.scales))

    @classmethod
    def of(cls, settings: NvaeSettings, spec: DataSpec) -> "Geometry":
        """Return the derived sizes. Raises UsageError naming the setting that does not fit the data."""
        _check(settings, spec)
        channels, side, _ = spec.shape
        factor = 2 ** (settings.num_preprocess_blocks + settings.num_latent_scales - 1)
        padded = MNIST_PADDED if side == MNIST_SIDE else side
        if padded % factor:
            raise UsageError(
                f"nvae: images of side {padded} cannot be halved {factor.bit_length() - 1} times; decrease "
                "num_latent_scales or num_preprocess_blocks, or use --set backbone.preset=digits."
            )
        groups = [settings.num_groups_per_scale]
        for _ in range(1, settings.num_latent_scales):
            groups.append(max(settings.min_groups_per_scale, groups[-1] // 2) if settings.ada_groups else groups[-1])
        return cls(
            channels=channels,
            side=padded,
            border=(padded - side) // 2,
            preprocess_blocks=settings.num_preprocess_blocks,
            groups=tuple(groups),
            latent_channels=settings.num_latent_per_group,
        )


def _check(settings: NvaeSettings, spec: DataSpec) -> None:
    if not spec.is_image or spec.shape[1] != spec.shape[2]:
        raise UsageError(
            f"nvae: needs square images, but {spec.name} has data of shape {spec.shape}; choose another --backbone."
        )
    if settings.num_postprocess_blocks != settings.num_preprocess_blocks:
        raise UsageError(
            "nvae: num_postprocess_blocks must equal num_preprocess_blocks, otherwise the image has another size."
        )
    if settings.num_x_bits != 8 and spec.levels not in (256, None):
        raise UsageError(
            f"nvae: num_x_bits reduces images of 256 levels, but {spec.name} has {spec.levels}; use --set "
            "backbone.num_x_bits=8."
        )
    single = settings.num_latent_scales == 1 and settings.num_groups_per_scale == 1
    if single and settings.num_channels_enc != settings.num_channels_dec:
        raise UsageError("nvae: with a single group num_channels_enc and num_channels_dec must be equal.")
