"""Checks of a prior's samples: seeds, conditions, chains, and agreement with the prior's density."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from priorkit.core import Condition, Draw, Prior, Sampling
from priorkit.errors import UsageError
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.host_reads import host_reads
from priorkit.testing.options import settings_of
from priorkit.testing.problem import CENTRES, LAYOUT, grid, sampler, weighted_moments
from priorkit.testing.surroundings import untouched
from priorkit.testing.training import built, trained

__all__ = ["CHECKS", "drawn"]

MANY = 1_000
LONG = 80
"""Number of steps of chains whose ends are compared with the density: they must be independent of their start."""


def drawn(prior: Prior, n: int, seed: int = 0, **asked: Any) -> Draw:
    """Return n samples with the kit's sampler and a generator of that seed."""
    return prior.draw(n, Sampling(sampler(), torch.Generator().manual_seed(seed), **asked))


def draws_have_their_shape(plugin: Any, given: Mapping[str, Any]) -> None:
    """`draw(n)` returns n finite points (n, D) without a gradient, before training and after."""
    settings = settings_of(plugin, given)
    for prior in (built(plugin, settings), trained(plugin, settings)):
        for n in (1, 7):
            draw = drawn(prior, n)
            assert isinstance(draw, Draw), f"draw gives {type(draw).__name__}, not a priorkit.core.Draw"
            wanted = (n, LAYOUT.dim)
            assert draw.u.shape == wanted, f"draw({n}).u has the shape {tuple(draw.u.shape)}, not {wanted}"
            assert draw.u.dtype == torch.float32, f"draw(n).u is {draw.u.dtype}, not float32"
            assert bool(torch.isfinite(draw.u).all()), "some draws are NaN or infinite"
            assert not draw.u.requires_grad, "draws carry a gradient; detach them"


def draws_follow_the_seed(plugin: Any, given: Mapping[str, Any]) -> None:
    """The generator's seed determines the samples: the same seed gives the same, another seed others."""
    prior = trained(plugin, settings_of(plugin, given))
    first, again, other = drawn(prior, 20).u, drawn(prior, 20).u, drawn(prior, 20, seed=1).u
    assert torch.equal(first, again), "two draws with generators of one seed differ"
    assert not torch.equal(first, other), "draws with generators of two seeds are the same; the generator is not used"
    assert bool((first != first[:1]).any()), "all draws are the same point"


def draws_leave_global_state_alone(plugin: Any, given: Mapping[str, Any]) -> None:
    """Sampling changes no global random state: all randomness comes from the generator."""
    prior = trained(plugin, settings_of(plugin, given))
    with untouched("draw"):
        drawn(prior, 8)


def draws_do_not_depend_on_the_gradient_mode(plugin: Any, given: Mapping[str, Any]) -> None:
    """Under no_grad, under inference_mode and with gradients, the samples are the same."""
    prior = trained(plugin, settings_of(plugin, given))
    found = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            found.append(drawn(prior, 12).u.clone())
    same = all(torch.equal(found[0], other) for other in found[1:])
    assert same, "draws depend on the caller's gradient mode"


def kept_states_change_nothing(plugin: Any, given: Mapping[str, Any]) -> None:
    """`keep_every` returns the chains' states, (kept, n, D), and does not change the samples."""
    prior = trained(plugin, settings_of(plugin, given))
    plain, kept = drawn(prior, 6), drawn(prior, 6, keep_every=1)
    assert torch.equal(plain.u, kept.u), "keep_every=1 changes the draws"
    for chain in kept.chains:
        assert chain.u.shape == (6, LAYOUT.dim), f"a chain ends in the shape {tuple(chain.u.shape)}, not {(6, LAYOUT.dim)}"
        shape = None if chain.trajectory is None else tuple(chain.trajectory.shape)
        assert shape is None or shape[1:] == (6, LAYOUT.dim), f"a chain's trajectory has the shape {shape}"


def chains_do_not_wait_for_the_device(plugin: Any, given: Mapping[str, Any]) -> None:
    """A longer chain reads no more values of tensors: every read waits until the device has done all its work."""
    prior = trained(plugin, settings_of(plugin, given))
    reads = []
    # The first draw may read what the later ones remember.
    for steps in (4, 4, 12):
        with host_reads() as found:
            prior.draw(6, Sampling(sampler(steps), torch.Generator().manual_seed(0)))
        reads.append(found.count)
    told = f"a chain of 12 steps reads {reads[2]} values of tensors, one of 4 steps {reads[1]}"
    assert reads[2] == reads[1], (
        f"{told}; keep on the host what log_ratio reads at every call (priorkit.runtime.on_host.OnHost)"
    )


def keeps_fixed_layers(plugin: Any, given: Mapping[str, Any]) -> None:
    """`condition.top` is respected: the upper layers are fixed, the lower ones differ from row to row."""
    prior = trained(plugin, settings_of(plugin, given))
    top = torch.tensor([0.7]).expand(16, 1)
    u = drawn(prior, 16, condition=Condition(top=top)).u
    assert u.shape == (16, LAYOUT.dim), f"conditioned draws have the shape {tuple(u.shape)}, not {(16, LAYOUT.dim)}"
    assert torch.equal(u[:, :1], top), "the fixed upper layer is not what was asked for in condition.top"
    assert bool((u[:, 1:] != u[:1, 1:]).any()), "below a fixed upper layer all rows are the same"


def refuses_labels_it_has_not_learnt(plugin: Any, given: Mapping[str, Any]) -> None:
    """A label that the prior has not learnt is rejected with a UsageError, not ignored."""
    prior = trained(plugin, settings_of(plugin, given))
    unknown = Condition(labels={"no-such-attribute": torch.zeros(4, dtype=torch.int64)})
    try:
        drawn(prior, 4, condition=unknown)
    except UsageError:
        return
    raise AssertionError("draw ignores a label that was never learnt; call self.label_log_prob(u, sampling.labels)")


def honours_labels_it_has_learnt(plugin: Any, given: Mapping[str, Any]) -> None:
    """Samples for a label are close to the data with that label."""
    prior = trained(plugin, settings_of(plugin, given))
    if not prior.attributes:
        raise NotApplicable("this prior learns no labels with these options")
    name = next(iter(prior.attributes))
    centres = torch.tensor(CENTRES)
    for label in (0, 1):
        asked = Condition(labels={name: torch.full((200,), label)})
        nearest = torch.cdist(drawn(prior, 200, condition=asked).u, centres).argmin(1)
        share = float((nearest == label).double().mean())
        assert share > 0.7, f"of 200 draws asked for label {label}, {share:.0%} lie nearest to its data"


def draws_have_the_stated_density(plugin: Any, given: Mapping[str, Any]) -> None:
    """Moments of samples are those of `log_ratio` times N(0, I), integrated on a grid.

    Tolerance: four standard errors of the samples, and a tenth of a standard deviation for chains of finite length.
    """
    prior = trained(plugin, settings_of(plugin, given))
    if not prior.draws_follow_log_ratio:
        raise NotApplicable("this prior declares that its draws follow log_ratio only approximately")
    nodes = grid()
    with torch.no_grad():
        density = torch.cat([prior.log_prob(part) for part in torch.split(nodes, 20_000)])
    chain = sampler(LONG).tuned(prior.log_prob, drawn(prior, 200).u, generator=torch.Generator().manual_seed(2))
    u = prior.draw(MANY, Sampling(chain, torch.Generator().manual_seed(3))).u
    _compare("mean", u, nodes, density)
    _compare("mean square", u.square(), nodes.square(), density)


def _compare(name: str, draws: Tensor, nodes: Tensor, log_weight: Tensor) -> None:
    """Compare the means, in units of the standard deviation under the weights."""
    exact, deviation = weighted_moments(nodes, log_weight)
    off = ((draws.mean(0) - exact) / deviation).abs()
    allowed = 4 / MANY**0.5 + 0.1
    column = int(off.argmax())
    assert bool((off < allowed).all()), (
        f"the {name} of u[:, {column}] is {float(draws.mean(0)[column]):.2f} over draws and {float(exact[column]):.2f} "
        f"under log_ratio: {float(off[column]):.2f} standard deviations apart, {allowed:.2f} are allowed"
    )


CHECKS: list[Body] = [
    draws_have_their_shape,
    draws_follow_the_seed,
    draws_leave_global_state_alone,
    draws_do_not_depend_on_the_gradient_mode,
    kept_states_change_nothing,
    chains_do_not_wait_for_the_device,
    keeps_fixed_layers,
    refuses_labels_it_has_not_learnt,
    honours_labels_it_has_learnt,
    draws_have_the_stated_density,
]
