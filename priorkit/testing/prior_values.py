"""Checks of a prior's density: shapes, types, gradients."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from priorkit.core import Prior
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.options import settings_of
from priorkit.testing.problem import LAYOUT, grid
from priorkit.testing.surroundings import untouched
from priorkit.testing.training import built, check_one_value_a_row, restored, trained

__all__ = ["CHECKS", "points"]

DIM, LAYERS = LAYOUT.dim, len(LAYOUT)


def points(count: int, scale: float = 1.0) -> Tensor:
    """Return points of N(0, scale^2 I), (count, 3)."""
    return scale * torch.randn(count, DIM, generator=torch.Generator().manual_seed(11))


def builds_from_settings_and_a_latent_space(plugin: Any, given: Mapping[str, Any]) -> None:
    """`cls(settings, space)` builds the prior, for all shapes of layers."""
    prior = built(plugin, settings_of(plugin, given))
    assert isinstance(prior, Prior), f"cls(settings, space) gives {type(prior).__name__}, which is no priorkit.core.Prior"
    assert prior.layout == LAYOUT, "the prior's layout is not that of its space; call super().__init__(settings, space)"
    assert isinstance(prior.stages, int) and prior.stages >= 0, f"stages must be a number from 0, got {prior.stages!r}"
    assert prior.energy_input in ("u", "z"), f"energy_input must be 'u' or 'z', got {prior.energy_input!r}"


def log_ratio_has_one_value_a_row(plugin: Any, given: Mapping[str, Any]) -> None:
    """`log_ratio` maps (B, D) to (B,) and `layer_log_ratio` to (B, L), in single precision or better."""
    prior = trained(plugin, settings_of(plugin, given))
    for count in (1, 5):
        check_one_value_a_row(prior, points(count))
        with torch.no_grad():
            value, by_layer = prior.log_ratio(points(count)), prior.layer_log_ratio(points(count))
        assert value.dtype in (torch.float32, torch.float64), f"log_ratio is {value.dtype}, not float32 or float64"
        if by_layer is not None:
            wanted = (count, LAYERS)
            assert by_layer.shape == wanted, f"layer_log_ratio has the shape {tuple(by_layer.shape)}, not {wanted}"


def log_ratio_is_finite(plugin: Any, given: Mapping[str, Any]) -> None:
    """`log_ratio` and its gradient are finite, also at a distance of six standard deviations."""
    prior = trained(plugin, settings_of(plugin, given))
    u = points(200, 2.0).requires_grad_()
    value = prior.log_ratio(u)
    assert bool(torch.isfinite(value).all()), "log_ratio is NaN or infinite at points of N(0, 4)"
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), u)
        assert bool(torch.isfinite(gradient).all()), "the gradient of log_ratio is NaN or infinite at points of N(0, 4)"


def rows_do_not_see_each_other(plugin: Any, given: Mapping[str, Any]) -> None:
    """The log ratio of a point is the same alone and in a batch."""
    prior, u = trained(plugin, settings_of(plugin, given)), points(64)
    with torch.no_grad():
        whole, part = prior.log_ratio(u), torch.cat([prior.log_ratio(u[:1]), prior.log_ratio(u[1:].flip(0)).flip(0)])
    # Single precision, sums in another order.
    worst = float((whole - part).abs().max() / (1 + whole.abs().max()))
    assert worst < 1e-4, f"log_ratio of a point changes by {worst:.1e} with the batch around it (batch norm, or a mean?)"


def layer_terms_add_up(plugin: Any, given: Mapping[str, Any]) -> None:
    """If the log ratio decomposes over layers, its terms add up to it, after every stage."""
    prior, u = trained(plugin, settings_of(plugin, given)), points(50)
    for stages in (None, *range(1, prior.trained_stages + 1)):
        with torch.no_grad():
            by_layer, value = prior.layer_log_ratio(u, stages=stages), prior.log_ratio(u, stages=stages)
        if by_layer is None:
            raise NotApplicable("this prior's log ratio does not decompose over layers")
        worst = float((by_layer.sum(1) - value).abs().max() / (1 + value.abs().max()))
        told = "" if stages is None else f" after {stages} stages"
        assert worst < 1e-4, f"the terms of layer_log_ratio add up to something else than log_ratio, by {worst:.1e}{told}"


def layer_terms_do_not_read_layers_below(plugin: Any, given: Mapping[str, Any]) -> None:
    """A layer's term is a function of that layer and those above: another bottom layer does not change the terms above."""
    prior, u = trained(plugin, settings_of(plugin, given)), points(50)
    changed = torch.cat([u[:, : DIM - LAYOUT.sizes[-1]], points(50, 2.0)[:, -LAYOUT.sizes[-1] :]], dim=1)
    with torch.no_grad():
        before, after = prior.layer_log_ratio(u), prior.layer_log_ratio(changed)
    if before is None or after is None:
        raise NotApplicable("this prior's log ratio does not decompose over layers")
    worst = float((before[:, :-1] - after[:, :-1]).abs().max() / (1 + before.abs().max()))
    assert worst < 1e-4, (
        f"layer_log_ratio: another bottom layer changes the terms above it, by {worst:.1e}; add to a layer's term only what "
        "reads that layer, or return None"
    )


def stages_that_are_trained_are_all(plugin: Any, given: Mapping[str, Any]) -> None:
    """`stages=None` means all trained stages."""
    prior, u = trained(plugin, settings_of(plugin, given)), points(20)
    count = prior.trained_stages
    assert 0 <= count <= max(prior.stages, 0), f"trained_stages is {count}, of {prior.stages} stages"
    with torch.no_grad():
        same = torch.equal(prior.log_ratio(u), prior.log_ratio(u, stages=count))
    assert same, f"log_ratio(u) is not log_ratio(u, stages={count}), though {count} stages are trained"


def gradient_of_log_ratio_is_right(plugin: Any, given: Mapping[str, Any]) -> None:
    """The gradient of `log_ratio` agrees with finite differences."""
    prior, dtype, step, allowed = restored(trained(plugin, settings_of(plugin, given))), torch.float64, 1e-5, 1e-4
    try:
        prior.double().log_ratio(points(1).double())
    except RuntimeError:  # it is not written for double precision
        prior, dtype, step, allowed = restored(trained(plugin, settings_of(plugin, given))), torch.float32, 1e-2, 3e-2
    u = points(20).to(dtype).requires_grad_()
    value = prior.log_ratio(u)
    gradient = torch.autograd.grad(value.sum(), u)[0] if value.requires_grad else torch.zeros_like(u)
    with torch.no_grad():
        move = step * torch.eye(DIM, dtype=dtype)
        slope = torch.stack([(prior.log_ratio(u + m) - prior.log_ratio(u - m)) / (2 * step) for m in move], dim=1)
    error = (gradient - slope).abs() / (1 + slope.abs())
    # The median: a network of kinks (ReLU) may have one between two neighbours.
    assert float(error.median()) < allowed, (
        f"the gradient of log_ratio is off by {float(error.median()):.1e}; is a part of it detached from u?"
    )


def a_normalised_density_integrates_to_one(plugin: Any, given: Mapping[str, Any]) -> None:
    """Where the prior declares that its density is normalised, `log_ratio` times N(0, I) has the integral 1 on a grid.

    Allowed: a tenth, for a density that is narrower than the grid's cells, and for numerical error.
    """
    settings = settings_of(plugin, given)
    if not built(plugin, settings).normalised:
        raise NotApplicable("this prior does not declare that its density is normalised")
    prior, nodes = trained(plugin, settings), grid()
    with torch.no_grad():
        log_ratio = torch.cat([prior.log_ratio(part) for part in torch.split(nodes, 20_000)]).double()
    weight = -0.5 * nodes.double().square().sum(1)
    total = float((log_ratio + weight).logsumexp(0).exp() / weight.logsumexp(0).exp())
    assert abs(total - 1) < 0.1, f"log_ratio times N(0, I) integrates to {total:.2f}, but the prior says normalised = True"


def log_ratio_leaves_global_state_alone(plugin: Any, given: Mapping[str, Any]) -> None:
    """`log_ratio` of a prior in evaluation mode gives the same value twice and changes no global random state."""
    prior, u = trained(plugin, settings_of(plugin, given)), points(20)
    with untouched("log_ratio"), torch.no_grad():
        first, second = prior.log_ratio(u), prior.log_ratio(u)
    assert torch.equal(first, second), "log_ratio gives two values for the same points"


CHECKS: list[Body] = [
    builds_from_settings_and_a_latent_space,
    log_ratio_has_one_value_a_row,
    log_ratio_is_finite,
    rows_do_not_see_each_other,
    layer_terms_add_up,
    layer_terms_do_not_read_layers_below,
    stages_that_are_trained_are_all,
    gradient_of_log_ratio_is_right,
    a_normalised_density_integrates_to_one,
    log_ratio_leaves_global_state_alone,
]
