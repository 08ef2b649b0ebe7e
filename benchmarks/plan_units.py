"""Operations, parameters and kept bytes of networks that stand on torch's meta device: with shapes and without memory."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from clock import operations
from plan_formulas import Units
from priorkit_vdrme.networks import build_generator, build_net
from priorkit_vdrme.schedule import Schedule
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from priorkit.config import RunConfig, resolve
from priorkit.core import DataSpec, LatentSpace, Layout, TopDown, set_learning

__all__ = ["Moved", "backbone_units", "configured", "kept", "units"]

META = torch.device("meta")
OPTIONS = {"ncp": ["prior.context=none", "prior.base.kind=normal"], "multistage": ["prior.stages=3"]}
"""Options beyond the defaults: flattened, the layers above would be the input of each classifier of `ncp`; the stages of
separable energies."""


class Meta:
    """Networks without memory: tensors made inside have shapes alone."""

    def __enter__(self) -> None:
        # Autocast does not know the device; in float32 there is nothing for it to switch off.
        self.patch = mock.patch.object(torch, "autocast", lambda *_, **__: nullcontext())
        self.patch.start()
        META.__enter__()

    def __exit__(self, *error: Any) -> None:
        META.__exit__(*error)
        self.patch.stop()


def kept(work: Callable[[], object], module: nn.Module) -> float:
    """Bytes of the distinct tensors, but for the module's own, that a piece of work keeps for its gradient."""
    seen: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage()._cdata] = tensor  # held, so that no other takes its number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    own = {parameter.untyped_storage()._cdata for parameter in [*module.parameters(), *module.buffers()]}
    return float(sum(tensor.untyped_storage().nbytes() for key, tensor in seen.items() if key not in own))


class Moved(TorchDispatchMode):
    """Bytes of all tensors that operations other than views read and write."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = [r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns]
        if not any(views):
            leaves = tree_leaves((args, kwargs, result))
            self.bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        return result


def passes(name: str, settings: Any, layout: Layout) -> tuple[nn.Module, dict[str, Callable[[Tensor], Tensor]]]:
    """What one stage trains, and a pass of each of its networks at points (B, D)."""

    def level(x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)

    if name == "vdrme":
        return _variational(settings, layout, level)
    kind, _ = resolve(None, [f"prior={name}"]).component("prior")
    if name == "multistage" and settings.energy.coupling_on(layout, conditional=True) == "conditional":
        # The plan is that of the separable energies, one network per layer without a context.
        settings = settings.model_copy(update={"energy": settings.energy.model_copy(update={"coupling": "separable"})})
    with Meta():
        prior: Any = kind(settings, LatentSpace(layout, lambda u: u, _no_walk))
    if name == "multistage":
        energy = prior.energies[0]
        return energy, {"F": energy}
    if name == "jointebm":
        return prior, {"F": prior.net}
    if name == "ncp":
        return prior, {"F": lambda x: prior.conditional_logits(x, x[:, None])}
    return prior, {"F": lambda x: prior.energy(x, level(x))}


def _variational(settings: Any, layout: Layout, level: Callable[[Tensor], Tensor]) -> Any:
    """The networks alone, for the levels of vdrme are numbers that have to be computed."""
    times = Schedule(settings.scales, settings.spacing).times
    with Meta():
        nets = nn.ModuleDict({"F": build_net(settings.energy, layout, 1, times[:-1])})
        nets["G"] = build_generator(settings.generator, layout, times[1:])
        if not settings.uses_distances(layout.dim):
            nets["I"] = build_net(settings.energy, layout, 1, times[:-1], beside=2)
    works = {
        "F": lambda x: nets["F"](x, level(x)),
        "G": lambda x: nets["G"].generate(x, x, level(x)),
        "I": lambda x: nets["I"](x, level(x), beside=torch.cat([x, x], dim=1)),
    }
    return nets, {key: works[key] for key in nets}


def _no_walk(batch: int) -> TopDown:
    """Networks of u never ask for one."""
    raise RuntimeError("plan_units: a network of u walked the hierarchy")


def configured(preset: str, prior: str, *more: str) -> RunConfig:
    """The defaults but for what is named."""
    return resolve(None, ["backbone=nvae", f"backbone.preset={preset}", f"prior={prior}", *OPTIONS.get(prior, []), *more])


def units(name: str, config: RunConfig, layout: Layout) -> Units:
    """Counted on the meta device, as the difference of two points and one: what does not grow with the batch is left out."""
    settings = config.component("prior")[1]
    module, works = passes(name, settings, layout)
    with Meta():
        one, two = (torch.empty(count, layout.dim) for count in (1, 2))
        forward = {key: operations(partial(w, two)) - operations(partial(w, one)) for key, w in works.items()}
        fixed = operations(partial(works["F"], one)) - forward["F"]
        keeps = kept(partial(works["F"], two), module) - kept(partial(works["F"], one), module)
        set_learning(module, False)
        one, two = one.requires_grad_(), two.requires_grad_()
        chain = kept(partial(works["F"], two), module) - kept(partial(works["F"], one), module)
    return Units(forward, keeps, chain, sum(p.numel() for p in module.parameters()), fixed, getattr(settings, "stages", 1))


@dataclass(frozen=True)
class BackboneUnits:
    """A backbone at one image or one point."""

    network: Any
    """On the meta device."""
    forward: float
    """A: encoding and decoding an image in training."""
    encoding: float
    """E: a posterior sample of an image, when all is frozen."""
    walk: float
    """T: z = T(u), when all is frozen."""
    kept: float
    """Bytes that an image keeps for the gradient of a training step."""
    walk_kept: float
    """Bytes that T keeps for the gradient with respect to u."""

    @property
    def parameters(self) -> int:
        """All weights."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def filters(self) -> int:
        """Weights of convolutions, each of which is normalised in training."""
        return sum(p.numel() for p in self.network.parameters() if p.ndim == 4)

    @property
    def regularised(self) -> bool:
        """Whether a step takes the filters' spectral norms."""
        return bool(self.network.settings.weight_decay_norm)


def backbone_units(config: RunConfig, spec: DataSpec) -> BackboneUnits:
    """Counted on the meta device, kept bytes as the difference of two batches."""
    kind, settings = config.component("backbone")
    with Meta():
        network = kind(settings, spec)
        # Batch norms in training need two images.
        images = [torch.empty(count, *spec.shape) for count in (2, 3)]
        forward = operations(lambda: network.elbo(images[0])) / 2
        fewer, more = (kept(partial(network.elbo, x), network) for x in images)
        set_learning(network, False)
        points = [torch.empty(count, network.layout.dim, requires_grad=True) for count in (1, 2)]
        encoding, walk = operations(lambda: network.infer(images[0])) / 2, operations(lambda: network.latents(points[0]))
        one, two = (kept(partial(network.latents, u), network) for u in points)
    return BackboneUnits(network, forward, encoding, walk, more - fewer, two - one)
