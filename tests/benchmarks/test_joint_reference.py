"""A joint training step is that of a plain implementation, which walks the layers in a loop and differentiates the whole log
density: same weights, same random numbers, double precision.

Sums are taken in another order, so that the two agree to rounding: 1e-9 relative.
"""

from copy import deepcopy

import pytest
import torch
from clock import Clock
from seeding import seeded
from speed_cases import Scale
from speed_joint import TINY, joint_steps, made

from priorkit.core import PosteriorChain, PosteriorChainSettings, Step, Streams

BATCH = 4
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
CPU = torch.device("cpu")


def case(space, shape=(1, 8, 8), options=TINY):
    return made(space, shape, options, batch=BATCH, posterior=(3, 0.01), prior=(4, 0.16), dtype=torch.float64)


@pytest.mark.parametrize("space", ["u", "z"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28)])
def test_chains_have_the_same_states(space, shape):
    found = case(space, shape)
    x = torch.rand(BATCH, *shape, generator=seeded(2), dtype=torch.float64)
    chain = PosteriorChain(PosteriorChainSettings(steps=3, step_size=0.01), space)
    own = chain.run(found.model.backbone, found.model.prior, x, generator=seeded(1))
    torch.testing.assert_close(own, found.reference.chain(x, BATCH, seeded(1)), **CLOSE)


@pytest.mark.parametrize("space", ["u", "z"])
def test_a_step_moves_all_weights_alike(space):
    """So the gradients are the same; Adam's first step would hide a factor, not the second."""
    found = case(space)
    backbone, nets = found.model.backbone, found.model.prior.net.nets
    before = [deepcopy(module) for module in (backbone, *nets)]
    images = torch.rand(2 * BATCH, 1, 8, 8, generator=seeded(0), dtype=torch.float64)
    for now in range(3):
        found.step()
        rows = torch.randint(len(images), (BATCH,), generator=seeded(now))
        found.reference.step(images[rows], Streams(0).generator("step", now))
    twins = (found.reference.network, *found.reference.nets)
    for module, twin, old in zip((backbone, *nets), twins, before, strict=True):
        for (name, a), b, c in zip(module.named_parameters(), twin.parameters(), old.parameters(), strict=True):
            torch.testing.assert_close(a, b, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")
            # The last bias of an energy cancels between positives and negatives.
            assert not torch.equal(a, c) or a.numel() == 1, f"{name} has not moved"


@pytest.mark.parametrize("space", ["u", "z"])
def test_a_posterior_step_walks_the_hierarchy_once(space, monkeypatch):
    found = case(space)
    walks, start = [], type(found.model.backbone).top_down
    monkeypatch.setattr(
        type(found.model.backbone), "top_down", lambda *given, **more: walks.append(0) or start(*given, **more)
    )
    now = Step(0, 9, Streams(0).generator("step", 0))
    batch = found.phase.batch(torch.arange(BATCH), now)
    # Three steps on the posterior, and in z four on the prior.
    assert len(walks) == (3 if space == "u" else 3 + 4)
    generator, energies = found.phase.objectives()
    walks.clear()
    generator.loss(batch, now)
    assert len(walks) == (1 if space == "u" else 2), "positives, and negatives in z"
    walks.clear()
    energies.loss(batch, now)
    assert len(walks) == (0 if space == "u" else 3), "no chain of the energies' own in z: noise of both, z of the negatives"


def test_the_table_has_a_row_of_each_case():
    title, header, rows = joint_steps(Clock(CPU, "processor"), Scale(batch=2), 1, quick=True)
    assert [row[0] for row in rows] == ["dense, 8x8, on z", "dense, 8x8, on u", "dcgan, 32x32, on z", "dcgan, 32x32, on u"]
    assert "joint" in title and all(len(row) == len(header) and float(row[-1]) > 0 for row in rows)
