"""Checks of backbones, on small images and with untrained weights, for which the properties hold too."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import safetensors.torch
import torch
from torch import Generator, Tensor

from priorkit.core import Backbone, DataSpec, Streams, set_learning
from priorkit.errors import UsageError
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.options import settings_of
from priorkit.testing.surroundings import untouched
from priorkit.testing.training import minimise

__all__ = ["CHECKS", "SPEC", "pictures"]

SPEC = DataSpec("pictures", (1, 8, 8), 17, 10)
"""Images of the format of the built-in digits."""


def pictures(count: int, seed: int = 0) -> Tensor:
    """Return blobs with 17 grey levels, (count, 1, 8, 8) in [0, 1]."""
    centre = 1.5 + 4 * torch.rand(count, 2, 1, 1, generator=_seeded(seed))
    axis = torch.arange(8.0)
    square = (axis[:, None] - centre[:, 0]).square() + (axis[None] - centre[:, 1]).square()
    return ((-square / 4).exp() * 16).round()[:, None] / 16


def _seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def _built(plugin: Any, given: Mapping[str, Any]) -> Backbone:
    return _cached(plugin, settings_of(plugin, given).model_dump_json())


@lru_cache(maxsize=4)
def _cached(plugin: Any, settings: str) -> Backbone:
    return _fresh(plugin, plugin.Config.model_validate_json(settings))


def _fresh(plugin: Any, settings: Any) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone: Backbone = plugin(settings, SPEC)
        backbone.adapt(pictures(64, 9))
    set_learning(backbone, False)
    return backbone


def _noise(backbone: Backbone, count: int) -> Tensor:
    return torch.randn(count, backbone.layout.dim, generator=_seeded(1))


def _observed(backbone: Backbone, count: int) -> Tensor:
    return backbone.observe(pictures(count), generator=_seeded(6))


def builds_from_settings_and_a_data_spec(plugin: Any, given: Mapping[str, Any]) -> None:
    """`cls(settings, spec)` builds the backbone and sets `layout`."""
    backbone = _built(plugin, given)
    assert isinstance(backbone, Backbone), f"it gives {type(backbone).__name__}, which is no priorkit.core.Backbone"
    assert len(backbone.layout) >= 1 and backbone.layout.dim >= 1, "its layout has no layers"
    assert backbone.spec == SPEC, "it does not keep the spec it was built for"


def noise_undoes_latents(plugin: Any, given: Mapping[str, Any]) -> None:
    """T and its inverse: `noise(latents(u))` equals u."""
    backbone = _built(plugin, given)
    u = _noise(backbone, 7)
    with torch.no_grad():
        z = backbone.latents(u)
        back = backbone.noise(z)
    assert z.shape == u.shape, f"latents maps {tuple(u.shape)} to {tuple(z.shape)}"
    worst = float((back - u).abs().max())
    # Single precision, divided by each layer's scale.
    assert worst < 1e-2, f"noise(latents(u)) is off by up to {worst:.1e}"


def walking_gives_what_generate_gives(plugin: Any, given: Mapping[str, Any]) -> None:
    """A walk down layer by layer ends in the latents and the likelihood of `generate`."""
    backbone = _built(plugin, given)
    u = _noise(backbone, 5)
    with torch.no_grad():
        whole, walk = backbone.generate(u), backbone.top_down(5)
        for part, wanted in zip(backbone.layout.split(u), whole.z, strict=True):
            context = walk.context()
            assert context.mean.shape == part.shape, f"a mean is {tuple(context.mean.shape)}, not {tuple(part.shape)}"
            assert bool((context.scale > 0).all()), "a context's scale is not positive"
            assert torch.allclose(walk.take_noise(part), wanted, atol=1e-5), "a layer of the walk is not that of generate"
        mean = walk.decode().mean
    assert torch.allclose(mean, whole.likelihood.mean, atol=1e-5), "the walk decodes to something else than generate"
    assert mean.shape == (5, *SPEC.shape), f"the likelihood's mean has the shape {tuple(mean.shape)}"
    assert torch.allclose(backbone.layout.join(whole.z), backbone.latents(u), atol=1e-5), "latents(u) is not generate(u).z"


def temperature_scales_the_first_layer(plugin: Any, given: Mapping[str, Any]) -> None:
    """The temperature multiplies every conditional's scale."""
    backbone = _built(plugin, given)
    with torch.no_grad():
        full, half = (backbone.top_down(3, temperature=value).context() for value in (1.0, 0.5))
    assert torch.allclose(half.scale, 0.5 * full.scale), "temperature=0.5 does not halve the first layer's scale"


def likelihood_is_one(plugin: Any, given: Mapping[str, Any]) -> None:
    """The likelihood's samples are in [0, 1] and depend on the generator; its log density has one value per row."""
    backbone = _built(plugin, given)
    with torch.no_grad():
        likelihood = backbone.generate(_noise(backbone, 4)).likelihood
    first, again = likelihood.sample(_seeded(2)), likelihood.sample(_seeded(2))
    assert first.shape == (4, *SPEC.shape), f"its samples have the shape {tuple(first.shape)}"
    assert torch.equal(first, again), "two samples with generators of one seed differ"
    assert likelihood.protocol, "its protocol says nothing"
    try:
        value = likelihood.log_prob(_observed(backbone, 4))
    except UsageError:
        return
    assert value.shape == (4,) and bool(torch.isfinite(value).all()), f"log_prob has the shape {tuple(value.shape)} or NaN"


def inference_follows_the_seed(plugin: Any, given: Mapping[str, Any]) -> None:
    """`infer` returns finite u (B, D) determined by the generator's seed; no global random state changes."""
    backbone, x = _inferring(plugin, given)
    with torch.no_grad(), untouched("infer"):
        first, again = (backbone.infer(x, generator=_seeded(3)) for _ in range(2))
    assert first.u.shape == (len(x), backbone.layout.dim), f"infer gives u of the shape {tuple(first.u.shape)}"
    assert bool(torch.isfinite(first.u).all()), "infer gives NaN or infinity"
    assert torch.equal(first.u, again.u), "two inferences with generators of one seed differ"


def _inferring(plugin: Any, given: Mapping[str, Any], count: int = 6) -> tuple[Backbone, Tensor]:
    backbone = _built(plugin, given)
    x = _observed(backbone, count)
    try:
        with torch.no_grad():
            backbone.infer(x[:1], generator=_seeded(0))
    except UsageError as error:
        raise NotApplicable(f"with these options it does not infer: {error}") from error
    return backbone, x


def kl_is_its_monte_carlo_estimate(plugin: Any, given: Mapping[str, Any]) -> None:
    """KL(q || p0) is not negative and equals the mean of log q - log p0, within four standard errors."""
    backbone, _ = _inferring(plugin, given)
    x = _observed(backbone, 1).expand(256, *SPEC.shape)
    with torch.no_grad():
        posterior = backbone.infer(x, generator=_seeded(5))
    if posterior.kl is None or posterior.log_ratio is None:
        assert posterior.kl is None and posterior.log_ratio is None, "one of kl and log_ratio is missing; give both or none"
        raise NotApplicable("its q(u | x) has no density")
    assert posterior.kl.shape == (256, len(backbone.layout)), f"kl has the shape {tuple(posterior.kl.shape)}, not (B, L)"
    assert posterior.log_ratio.shape == (256,), f"log_ratio has the shape {tuple(posterior.log_ratio.shape)}, not (B,)"
    by_layer, error = posterior.kl.mean(0), 4 * posterior.kl.std(0) / 16
    assert bool((by_layer >= -error - 1e-4).all()), f"the KL of a layer is {float(by_layer.min()):.3f} on average"
    difference = posterior.kl.sum(1) - posterior.log_ratio
    off, allowed = float(difference.mean().abs()), float(4 * difference.std() / 16 + 1e-3 * (1 + posterior.kl.sum(1).mean()))
    assert off <= allowed, f"the KL is off its Monte-Carlo estimate by {off:.3f} nats, {allowed:.3f} are allowed"


def posterior_density_is_that_of_the_samples(plugin: Any, given: Mapping[str, Any]) -> None:
    """`posterior_density`, if the backbone has it, has at each sample of `infer` the log ratio of that sample, and for other
    images that of them."""
    backbone, x = _inferring(plugin, given)
    with torch.no_grad():
        density, posterior = backbone.posterior_density(x), backbone.infer(x, generator=_seeded(3))
        if density is None:
            raise NotApplicable("it has no posterior_density")
        assert posterior.log_ratio is not None, "it has a posterior_density, but infer gives no log_ratio"
        pairs, one = density.log_ratio(posterior.u), density.log_ratio(posterior.u[:1])
        last = backbone.posterior_density(x[-1:])
        alone = None if last is None else last.log_ratio(posterior.u)[:, 0]
    assert pairs.shape == (len(x), len(x)), f"its log_ratio has the shape {tuple(pairs.shape)}, not (B, N)"
    allowed = 1e-3 * (1 + posterior.log_ratio.abs())
    worst = float((pairs.diagonal() - posterior.log_ratio).abs().sub(allowed).max())
    assert worst <= 0, "at a sample of infer it is not the log_ratio of that sample"
    assert torch.allclose(one, pairs[:1], rtol=1e-3, atol=1e-2), "it changes with the other points"
    assert alone is not None and torch.allclose(alone, pairs[:, -1], rtol=1e-3, atol=1e-2), "it changes with other images"


def elbo_has_its_terms(plugin: Any, given: Mapping[str, Any]) -> None:
    """`elbo` has log p(x | z) (B,) and KL (B, L), finite; it is None exactly if q or p(x | z) has no density."""
    backbone, _ = _inferring(plugin, given)
    x = pictures(6)
    with torch.no_grad():
        elbo, posterior = backbone.elbo(x, generator=_seeded(3)), backbone.infer(x, generator=_seeded(3))
        has_density = backbone.generate(posterior.u).likelihood.has_density
    defined = posterior.kl is not None and has_density
    assert (elbo is not None) == defined, "elbo is None where q and p(x | z) have a density, or the other way round"
    if elbo is not None:
        shapes = tuple(elbo.log_px.shape), tuple(elbo.kl.shape)
        assert shapes == ((6,), (6, len(backbone.layout))), f"log_px and kl have the shapes {shapes}"
        assert bool(torch.isfinite(elbo.value).all()), "the bound is NaN or infinite"


def observing_twice_changes_nothing(plugin: Any, given: Mapping[str, Any]) -> None:
    """`observe` applied to its result changes nothing."""
    backbone = _built(plugin, given)
    once = _observed(backbone, 6)
    assert torch.equal(backbone.observe(once, generator=_seeded(8)), once), "observing twice is not observing once"


def objectives_can_be_minimised(plugin: Any, given: Mapping[str, Any]) -> None:
    """A step on every objective has a finite loss and changes parameters; without objectives nothing is trained."""
    backbone = _fresh(plugin, settings_of(plugin, given))
    set_learning(backbone, True)
    try:
        objectives = backbone.objectives()
    except UsageError as error:
        raise NotApplicable(f"with these options it lists none: {error}") from error
    if not objectives:
        raise NotApplicable("there is nothing to learn")
    before = [parameter.detach().clone() for parameter in backbone.parameters()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        (losses,) = minimise(objectives, [pictures(16)], Streams(0), "check")
    for name, loss in losses.items():
        assert loss.value.ndim == 0 and bool(torch.isfinite(loss.value)), f"objective {name}: its loss is no finite scalar"
        attached = [key for key, value in loss.metrics.items() if value.requires_grad]
        assert not attached, f"objective {name}: metrics that are not detached: {', '.join(attached)}"
    moved = any(not torch.equal(a, b) for a, b in zip(before, backbone.parameters(), strict=True))
    assert moved, "a step moves no parameter"


def comes_back_from_its_weights(plugin: Any, given: Mapping[str, Any]) -> None:
    """A backbone restored from its saved tensors generates the same."""
    backbone = _built(plugin, given)
    state = backbone.state_dict()
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    assert not wrong, f"the state holds something else than tensors: {', '.join(wrong)}"
    saved = safetensors.torch.save({name: value.contiguous().clone() for name, value in state.items()})
    with torch.random.fork_rng(devices=[]):
        again: Backbone = plugin(settings_of(plugin, given), SPEC)
    again.load_state_dict(safetensors.torch.load(saved))
    set_learning(again, False)
    u = _noise(backbone, 4)
    with torch.no_grad():
        same = torch.equal(backbone.generate(u).likelihood.mean, again.generate(u).likelihood.mean)
    assert same, "what it generates changes when it is read back; keep what it needs in parameters and registered buffers"


CHECKS: list[Body] = [
    builds_from_settings_and_a_data_spec,
    noise_undoes_latents,
    walking_gives_what_generate_gives,
    temperature_scales_the_first_layer,
    likelihood_is_one,
    inference_follows_the_seed,
    kl_is_its_monte_carlo_estimate,
    posterior_density_is_that_of_the_samples,
    elbo_has_its_terms,
    observing_twice_changes_nothing,
    objectives_can_be_minimised,
    comes_back_from_its_weights,
]
