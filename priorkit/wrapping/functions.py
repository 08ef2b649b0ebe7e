"""The functions of a VAE that was trained elsewhere; what each returns is checked at every call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from priorkit.core import Context
from priorkit.errors import PriorkitError, UsageError, said
from priorkit.likelihoods import widened
from priorkit.runtime.memory import ran_out

__all__ = ["Conditional", "Functions"]

Conditional = Callable[[int, Sequence[Tensor]], Context]
"""Returns the Gaussian over z of layer i, given the layers above it, top first."""


MOST = 4
"""Largest number of results that a message lists one by one."""


@dataclass(frozen=True)
class Functions:
    """Encoder, conditional priors and decoder.

    Gaussians are returned as (mean, log variance), each (B, *shape of the layer); layers are given top first.
    """

    encode: tuple[Callable[..., Any], ...]
    """One function for all layers, (x) -> one Gaussian, or one per layer; or one per layer, (x, *layers above)."""
    conditionals: tuple[Callable[..., Any], ...]
    """p(z_i | layers above) of each layer below the top, called with these layers."""
    decode: Callable[..., Any]
    """Called with all layers; returns (B, *data shape), or flattened."""
    modules: tuple[nn.Module, ...]
    """The networks with the weights."""

    def posterior(self, x: Tensor, shapes: Sequence[tuple[int, ...]]) -> Conditional:
        """Return q(z_i | layers above, x) of data x (B, *data shape) as a function."""
        if len(self.encode) == len(shapes) > 1:
            return lambda i, above: _gaussian(
                f"encode[{i}]", _called(f"encode[{i}]", self.encode[i], x, *above), len(x), shapes[i]
            )
        found = _called("encode", self.encode[0], x)
        layers = self._layers(found, len(shapes)) if len(shapes) > 1 else [found]
        names = [f"encode, layer {i}," for i in range(len(shapes))] if len(shapes) > 1 else ["encode"]
        all_layers = [_gaussian(*given) for given in zip(names, layers, [len(x)] * len(shapes), shapes, strict=True)]
        return lambda i, above: all_layers[i]

    @property
    def factorises(self) -> bool:
        """True if q(z | x) is a product over the layers: then x alone determines the Gaussian of each."""
        return len(self.encode) == 1

    def prior(self, above: Sequence[Tensor], shape: tuple[int, ...]) -> Context:
        """Return p(z_i | layers above) of a layer below the top."""
        i = len(above) - 1
        name = "conditionals" if len(self.conditionals) == 1 else f"conditionals[{i}]"
        return _gaussian(name, _called(name, self.conditionals[i], *above), len(above[0]), shape)

    def decoded(self, z: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Return the decoder's output, (B, *shape)."""
        found, batch = _called("decode", self.decode, *z), len(z[0])
        wanted, flat = (batch, *shape), (batch, prod(shape))
        if not isinstance(found, Tensor) or tuple(found.shape) not in (wanted, flat):
            raise UsageError(f"decode returned {_told(found)}, but shape={shape} needs {wanted}, or flattened {flat}.")
        return widened(found).reshape(wanted)

    def _layers(self, found: Any, count: int) -> Sequence[Any]:
        if isinstance(found, list | tuple) and len(found) == count and all(isinstance(f, list | tuple) for f in found):
            return found
        raise UsageError(
            f"encode returned {_told(found)}, but for {count} layers it must return one pair (mean, log variance) per "
            "layer, top first; or give one function per layer, called with x and the layers above: "
            "encode=[vae.encode_top, vae.encode_bottom]."
        )


def _called(name: str, function: Callable[..., Any], *given: Tensor) -> Any:
    try:
        return function(*given)
    except PriorkitError:
        raise
    except Exception as error:  # the user's own code may raise anything
        if ran_out(error):
            raise
        shapes = " and ".join(str(tuple(part.shape)) for part in given)
        advice = (
            "It gets images (B, C, H, W); a VAE of vectors needs encode=lambda x: vae.encode(x.flatten(1)), modules=[vae]."
            if name.startswith("encode")
            else "It is called with one tensor per layer of latents, top first; a decoder that reads only the last of two "
            "needs lambda top, bottom: vae.decode(bottom), and modules=[vae]."
        )
        raise UsageError(f"{name} failed on input of shape {shapes} with {said(error)}. {advice}") from error


def _gaussian(name: str, found: Any, batch: int, shape: tuple[int, ...]) -> Context:
    """Return (mean, log variance) as a Gaussian, and raise UsageError if it is something else."""
    wanted = (batch, *shape)
    pair = isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found)
    if not pair or any(tuple(part.shape) != wanted for part in found):
        raise UsageError(
            f"{name} returned {_told(found)}, but must return two tensors, the mean and the log variance, each of shape "
            f"{wanted} for a batch of {batch}; correct it, or latents= (one entry per layer, top first)."
        )
    mean, log_variance = map(widened, found)
    return Context(mean, (0.5 * log_variance).exp(), None)


def _told(found: Any) -> str:
    """Return what a function gave, with its shapes."""
    if isinstance(found, Tensor):
        return f"one tensor of shape {tuple(found.shape)}"
    if isinstance(found, list | tuple) and len(found) <= MOST:
        return f"({', '.join(str(tuple(part.shape)) if isinstance(part, Tensor) else _told(part) for part in found)})"
    return f"{type(found).__name__} of {len(found)}" if isinstance(found, list | tuple) else type(found).__name__
