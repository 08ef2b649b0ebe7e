"""What a run records of a wrapped VAE; its functions are code, which a configuration does not contain."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from priorkit.core import Settings
from priorkit.errors import UsageError

__all__ = ["WrappedSettings"]

Shape = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class WrappedSettings(Settings):
    """A VAE of the user's own code, given to `priorkit.wrap` in Python; these options are filled in there."""

    latents: tuple[Shape, ...] = ()
    """Shape of each latent layer, top first, without the batch axis."""
    shape: tuple[PositiveInt, ...] = ()
    """Shape of the data, without the batch axis."""
    likelihood: Literal["bernoulli", "gaussian", "none"] = "none"
    """p(x | z). bernoulli: binary pixels; gaussian: with one fixed sigma; none: no density, so that the ELBO and all
    bounds are not defined."""
    sigma: PositiveFloat = 0.1
    """Sigma of gaussian, for images in [-1, 1] (twice that of images in [0, 1]) and for points in their own units."""
    output: Literal["mean", "logits"] = "mean"
    """Output of the decoder. mean: the mean of x; logits: the mean of x is their sigmoid."""
    interval: tuple[float, float] = (0.0, 1.0)
    """Black and white of the images that the VAE was trained on: [-1, 1] for a decoder that ends in tanh. The encoder's
    input and the decoder's mean are scaled to it."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Reject an empty interval, and what is defined only for images."""
        if self.interval[0] >= self.interval[1]:
            raise UsageError(f"interval: expected black and white in this order, such as (-1, 1), got {self.interval}.")
        if self.shape and len(self.shape) != 3 and (self.likelihood == "bernoulli" or self.output == "logits"):
            raise UsageError(
                f"likelihood bernoulli and output logits are for images (C, H, W), but shape is {self.shape}; choose "
                'likelihood="gaussian" or "none", and output="mean".'
            )
        return self

    def told(self) -> str:
        """Return layers, shape and likelihood in a few words."""
        layers = ", ".join("x".join(map(str, shape)) for shape in self.latents)
        return f"latents {layers}; data {'x'.join(map(str, self.shape))}; likelihood {self.likelihood}"
