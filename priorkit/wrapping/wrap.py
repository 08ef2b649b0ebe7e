"""`priorkit.wrap`."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from priorkit.core import DataSpec, frozen
from priorkit.errors import UsageError
from priorkit.wrapping.backbone import WrappedBackbone
from priorkit.wrapping.functions import Functions
from priorkit.wrapping.settings import WrappedSettings

__all__ = ["wrap"]

log = logging.getLogger(__name__)

Function = Callable[..., Any]
Layers = int | Sequence[int | Sequence[int]]

FAR = 0.5
"""How far beyond [0, 1] a decoder's mean makes a mistaken interval likely."""


def wrap(
    *,
    encode: Function | Sequence[Function],
    decode: Function,
    latents: Layers,
    shape: int | Sequence[int],
    conditionals: Function | Sequence[Function] = (),
    modules: nn.Module | Sequence[nn.Module] | None = None,
    likelihood: str | None = None,
    output: str = "mean",
    sigma: float = 0.1,
    interval: tuple[float, float] = (0.0, 1.0),
) -> WrappedBackbone:
    """Make a backbone of a trained VAE, for `priorkit.train(backbone=...)` and `priorkit.load(..., backbone=...)`.

    The functions get and return tensors with a batch axis. The networks are used as they are, not copied: priorkit sets
    them to evaluation mode, freezes them and moves them to the run's device.

    Args:
        encode: q(z | x): x (B, *shape) to the mean and the log variance of the latents. With several layers, a function
            that returns one such pair per layer, or one function per layer, called with x and the layers above.
        decode: The latents, one tensor per layer, to the data, (B, *shape) or flattened.
        latents: Size of the latents, or one size or shape per layer, top first: 20, (8, 16), [(4, 7, 7)].
        shape: Shape of the data: (C, H, W) for images in [0, 1], (d,) for points.
        conditionals: p(z_i | layers above) of each layer below the top, which has N(0, I): the layers above to mean and log
            variance.
        modules: The networks with the weights. Not needed if all functions are networks or their methods.
        likelihood: p(x | z): "bernoulli", "gaussian", or none, for which the ELBO is not defined.
        output: Output of `decode`: "mean" of x, or "logits", whose sigmoid it is.
        sigma: Standard deviation of "gaussian", for images in [-1, 1] (twice that of images in [0, 1]).
        interval: Black and white of the images that the VAE was trained on, such as (-1, 1).

    Returns:
        The backbone.

    Raises:
        UsageError: If a function fails or returns another shape than the arguments say.
    """
    settings = _settings(latents, shape, likelihood, output, sigma, interval)
    encoders, lower = _listed("encode", encode), _listed("conditionals", conditionals)
    _listed("decode", decode)
    _see_numbers(settings, encoders, lower, latents)
    functions = Functions(encoders, lower, decode, _networks(encoders, lower, decode, modules))
    backbone = WrappedBackbone(settings, DataSpec("data", settings.shape, None), functions)
    _try(backbone)
    return backbone


def _settings(latents: Layers, shape: int | Sequence[int], likelihood: str | None, *others: Any) -> WrappedSettings:
    layers = [_sizes(layer) for layer in latents] if isinstance(latents, list | tuple) else [_sizes(latents)]
    options = {"latents": layers, "shape": _sizes(shape)}
    given = {"likelihood": likelihood or "none", **dict(zip(("output", "sigma", "interval"), others, strict=True))}
    try:
        settings = WrappedSettings.model_validate({**options, **given})
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r:.80}"
        raise UsageError(f"priorkit.wrap: {told}.") from error
    if not settings.latents or not settings.shape:
        raise UsageError("priorkit.wrap: latents and shape may not be empty, such as latents=20, shape=(1, 28, 28).")
    return settings


def _sizes(shape: Any) -> list[Any]:
    """Return a shape, or the size of a vector, as a list; what is in it is checked with the settings."""
    return list(shape) if isinstance(shape, list | tuple) else [shape]


def _listed(name: str, given: Any) -> tuple[Function, ...]:
    """Return one function or several as a tuple. Raises UsageError for anything else."""
    # A module may be a sequence too (nn.Sequential).
    found = (given,) if callable(given) else given
    if not isinstance(found, list | tuple) or not all(map(callable, found)):
        raise UsageError(f"priorkit.wrap: {name} must be a function, such as a method of the VAE, got {given!r:.80}.")
    return tuple(found)


def _see_numbers(settings: WrappedSettings, encode: Sequence[Function], lower: Sequence[Function], latents: Layers) -> None:
    """Raise UsageError unless there are as many functions as layers."""
    count = len(settings.latents)
    if len(lower) != count - 1:
        one = f"; for one layer of shape {latents} write latents=[{latents}]" if count > 1 and not lower else ""
        raise UsageError(
            f"priorkit.wrap: latents={latents} has layers: {count}; conditionals= needs one function per layer "
            f"below the top, which is {count - 1}, got {len(lower)}{one}."
        )
    if len(encode) not in (1, count):
        raise UsageError(
            f"priorkit.wrap: encode has functions: {len(encode)}; latents={latents} needs one, or one per layer: {count}."
        )


def _networks(
    encode: Sequence[Function], lower: Sequence[Function], decode: Function, given: nn.Module | Sequence[nn.Module] | None
) -> tuple[nn.Module, ...]:
    """Return the networks with the weights: those given, or those that the functions belong to."""
    if given is not None:
        found = [given] if isinstance(given, nn.Module) else list(given) if isinstance(given, Sequence) else [None]
        if wrong := [one for one in found if not isinstance(one, nn.Module)]:
            kind = type(given if wrong[0] is None else wrong[0]).__name__
            raise UsageError(
                f"priorkit.wrap: modules: expected networks (torch.nn.Module), such as modules=[vae], got {kind}."
            )
    else:
        named = [*(("encode", one) for one in encode), *(("conditionals", one) for one in lower), ("decode", decode)]
        found = [_owner(name, function) for name, function in named]
    unique = list(dict.fromkeys(found))
    inner = {part for module in unique for part in module.modules() if part is not module}
    return tuple(module for module in unique if module not in inner)


def _owner(name: str, function: Function) -> nn.Module:
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    if isinstance(owner, nn.Module):
        return owner
    raise UsageError(
        f"priorkit.wrap: {name} is not a network's method, so the weights that it uses are not known; name the networks: "
        "modules=[vae], or modules=[] if there are no weights."
    )


def _try(backbone: WrappedBackbone) -> None:
    """Encode and decode two data, so that a wrong function is named at once. Raises UsageError."""
    like = next(backbone.parameters(), torch.empty(0))
    x = torch.stack([torch.zeros(backbone.settings.shape), torch.full(backbone.settings.shape, 0.5)])
    x = x.to(like.device, like.dtype)
    with frozen(backbone), torch.no_grad():
        first, again = (backbone.infer(x, generator=_seeded(x)).mean for _ in range(2))
        assert first is not None and again is not None
        if not torch.allclose(first, again, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise UsageError(
                "encode returned another mean at a second call with the same images: it must return the mean and the log "
                "variance of q(z | x), not a sample."
            )
        _see_range(backbone, backbone.raw(backbone.generate(first).z))


def _seeded(like: Tensor) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(0)


def _see_range(backbone: WrappedBackbone, raw: Tensor) -> None:
    """Raise UsageError for probabilities outside [0, 1], and warn of images far outside."""
    settings = backbone.settings
    low, high = settings.interval
    if settings.output == "logits" or len(settings.shape) != 3 or not bool(raw.isfinite().all()):
        return
    least, most = ((float(value) - low) / (high - low) for value in (raw.min(), raw.max()))
    told = f"decode returned values from {float(raw.min()):.3g} to {float(raw.max()):.3g}"
    if settings.likelihood == "bernoulli" and (least < -1e-4 or most > 1 + 1e-4):
        raise UsageError(f'{told}, but with output="mean" they are probabilities. If they are logits, give output="logits".')
    if least < -FAR or most > 1 + FAR:
        log.warning('%s, but interval is %s; if it is another, give interval=, if they are logits, output="logits"',
                    told, settings.interval)  # fmt: skip
