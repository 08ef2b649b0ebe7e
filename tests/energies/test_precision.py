"""Energies in bfloat16, as `engine.precision=bf16` computes them, against the same networks in double precision."""

import pytest
import torch

from priorkit.core import Layout
from priorkit.energies import EnergySettings, build_energy

LAYERS = 24
MANY = Layout(((4,),) * LAYERS)
MAPS = Layout(((2, 4, 4), (2, 8, 8)))
UNIT = 2.0**-8
"""Relative rounding error of bfloat16."""


@pytest.mark.parametrize(
    ("layout", "network", "coupling"),
    [(MANY, "mlp", "separable"), (MANY, "mlp", "coupled"), (MAPS, "conv", "separable"), (MAPS, "local", "separable")],
)
def test_log_ratios_of_bfloat16_differ_by_its_rounding_alone(layout, network, coupling):
    """Some roundings for each of a handful of operations, and no bias: the mean error is far below the largest."""
    torch.manual_seed(0)
    energy = build_energy(EnergySettings(coupling=coupling, network=network, width=32, channels=8), layout)
    x = torch.randn(256, layout.dim)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = energy(x).float().sum(1)
        exact = energy.double()(x.double()).sum(1)
    error, scale = rounded.double() - exact, exact.std()
    assert float(error.abs().max()) < 20 * UNIT * float(scale), error.abs().max() / scale
    assert abs(float(error.mean())) < 2 * UNIT * float(scale)
    # The order of two data by their ratios, which selection and scores use, is kept where they differ by more than that.
    order = exact.argsort()
    assert bool((rounded[order[64:]].min() > rounded[order[:1]]).all())
