r"""A VAE of the user's own code as a backbone.

Layers :math:`p(z_0) = N(0, I)` and :math:`p(z_i \mid z_{<i}) = N(\mu_i, \sigma_i^2)`, so that
:math:`u_i = (z_i - \mu_i) / \sigma_i`; the encoder's Gaussian over :math:`z_i` is one over :math:`u_i`, with an analytic KL
to N(0, I) given the layers above. The networks are the user's own objects, not copies, and are never trained here.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from priorkit.core import (
    Backbone,
    Context,
    DataSpec,
    Layout,
    Likelihood,
    Objective,
    Posterior,
    PosteriorDensity,
    Settings,
    TopDown,
    gaussian_log_ratio,
)
from priorkit.errors import UsageError
from priorkit.likelihoods import normal_kl
from priorkit.wrapping.functions import Conditional, Functions
from priorkit.wrapping.pixels import likelihood
from priorkit.wrapping.posterior_density import FactorisedDensity
from priorkit.wrapping.settings import WrappedSettings
from priorkit.wrapping.walk import WrappedWalk

__all__ = ["WrappedBackbone", "see_wrapped"]

CHUNK = 500
"""Number of images encoded together for a posterior density."""


class WrappedBackbone(Backbone):
    """A trained VAE of the user's own code, made in Python by `priorkit.wrap`."""

    Config = WrappedSettings
    settings: WrappedSettings

    def __init__(self, settings: WrappedSettings, spec: DataSpec, functions: Functions | None = None) -> None:
        """Raises UsageError without functions: neither an option nor a run's folder contains them."""
        super().__init__()
        if functions is None:
            raise UsageError(_absent(settings))
        self.settings, self.spec, self.functions = settings, spec, functions
        self.layout = Layout(settings.latents)
        self.parts = nn.ModuleList(functions.modules)
        self.register_state_dict_post_hook(_untied)  # type: ignore[no-untyped-call]

    def bound(self, settings: Settings, spec: DataSpec) -> Self:
        """Return the same VAE for the data of a run with these settings; the weights are shared.

        Raises UsageError if it is not the VAE of these settings, or if the data have another shape.
        """
        if not isinstance(settings, WrappedSettings):
            raise UsageError("backbone: this run has a backbone that is installed here; leave backbone= out.")
        own, asked = self.settings.model_dump(), settings.model_dump()
        if different := [f"{key} {asked[key]}, not {own[key]}" for key in own if own[key] != asked[key]]:
            raise UsageError(f"backbone: the run has {'; '.join(different)} as given to priorkit.wrap. Give the same there.")
        if spec.shape != self.settings.shape:
            raise UsageError(
                f"{spec.name} has data of shape {spec.shape}, but the wrapped VAE was given shape={self.settings.shape}. "
                "Choose other data, or correct the shape."
            )
        return type(self)(self.settings, spec, self.functions)

    def has_weights(self, state: Mapping[str, Tensor]) -> bool:
        """Return whether the networks' weights are these, bit by bit."""
        own = self.state_dict()
        return own.keys() == state.keys() and all(torch.equal(value.cpu(), state[key].cpu()) for key, value in own.items())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the weights of a run into the networks. Raises UsageError if they are of another network."""
        own = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        saved = {name: tuple(value.shape) for name, value in state_dict.items()}
        if wrong := [name for name in sorted(own.keys() | saved.keys()) if own.get(name) != saved.get(name)]:
            first = wrong[0].partition(".")[2]
            raise UsageError(
                f"backbone: the run's weights are not those of the VAE that was given: {len(wrong)} tensors differ, the "
                f"first is {first} (here {own.get(wrong[0], 'absent')}, in the run {saved.get(wrong[0], 'absent')}). Build "
                "the VAE as it was when the run was trained."
            )
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Sample q(u | x) for x (B, *spec.shape); the KL of each layer is analytic given the layers above."""
        q, walk = self._posterior(x), self.top_down(len(x))
        z, found = list[Tensor](), list[tuple[Tensor, Tensor, Tensor]]()
        for i in range(len(self.layout)):
            given, prior = q(i, z), walk.context()
            mean, scale = (given.mean - prior.mean) / prior.scale, given.scale / prior.scale
            u = mean + scale * torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
            z.append(walk.take_noise(u))
            found.append((u, mean, scale))
        u, mean, scale = (torch.cat([part.flatten(1) for part in parts], dim=1) for parts in zip(*found, strict=True))
        log_ratio = gaussian_log_ratio(u[:, None], mean[:, None], scale[:, None])[:, 0]
        return Posterior(u, self.layout.layer_sums(normal_kl(mean, scale)), log_ratio, mean, scale)

    def posterior_density(self, x: Tensor) -> PosteriorDensity | None:
        """Return q(u | x) of x (N, *spec.shape) as a function of u; None if an encoder reads the layers above, since every
        image would be encoded for every point."""
        if not self.functions.factorises:
            return None
        layers = range(len(self.layout))
        found = [[q(i, ()) for i in layers] for q in map(self._posterior, torch.split(x, CHUNK))]
        moments = [
            Context(torch.cat([part[i].mean for part in found]), torch.cat([part[i].scale for part in found]), None)
            for i in layers
        ]
        return FactorisedDensity(moments, self.layout, self.top_down)

    def top_down(self, batch: int, *, temperature: float = 1.0) -> TopDown:
        """Start a walk down the hierarchy."""
        like = next((p for p in self.parameters() if p.is_floating_point()), torch.empty(0))
        origin = like.new_zeros(batch, *self.layout.shapes[0])
        return WrappedWalk(self.functions, self.layout, origin, temperature, self._likelihood)

    def objectives(self) -> list[Objective]:
        """Return none: the VAE is trained already."""
        return []

    def raw(self, z: list[Tensor]) -> Tensor:
        """Return the decoder's output for the latents of each layer, (B, *spec.shape)."""
        return self.functions.decoded(z, self.settings.shape)

    def _likelihood(self, z: list[Tensor]) -> Likelihood:
        return likelihood(self.settings, self.raw(z))

    def _posterior(self, x: Tensor) -> Conditional:
        low, high = self.settings.interval
        return self.functions.posterior(low + (high - low) * x, self.layout.shapes)


def see_wrapped(given: Any) -> None:
    """Raise UsageError unless this is a wrapped VAE or None."""
    if given is not None and not isinstance(given, WrappedBackbone):
        raise UsageError(
            f"backbone: expected the result of priorkit.wrap, got {type(given).__name__}. To use a VAE: "
            "priorkit.wrap(encode=vae.encode, decode=vae.decode, latents=20, shape=(1, 28, 28))."
        )


def _absent(settings: WrappedSettings) -> str:
    if not settings.latents:
        return (
            "the backbone wrapped is a VAE of your own code, so it is used from Python: "
            "priorkit.train(backbone=priorkit.wrap(encode=..., decode=..., ...), ...). For use in the shell, make a package "
            "of it: `priorkit plugins new NAME --kind backbone`."
        )
    return (
        f"this run's backbone is a wrapped VAE ({settings.told()}), whose code is not in the run. Read it in Python: "
        "priorkit.load(RUN, backbone=priorkit.wrap(...)), with the same arguments as for the training."
    )


def _untied(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Copy weights that two parts of a network share: a safetensors file cannot contain one tensor twice."""
    seen = set[int]()
    for name, value in state.items():
        if value.untyped_storage().data_ptr() in seen:
            state[name] = value.clone()
        seen.add(value.untyped_storage().data_ptr())
