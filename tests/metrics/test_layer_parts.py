"""Layers and their sums by name."""

import pytest
import torch

from priorkit.metrics.layer_parts import number_of_parts, sums_of_layers


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (1, ["all"]),
        (2, ["layer_0", "layer_1", "all"]),
        (4, ["layer_0", "layer_1", "top_2", "layer_2", "top_3", "layer_3", "all"]),
    ],
)
def test_names_and_sums(layers, names):
    terms = [torch.tensor(10.0**i) for i in range(layers)]
    found = dict(sums_of_layers(iter(terms), layers))
    assert list(found) == names and number_of_parts(layers) == len(names)
    assert found["all"] == sum(terms)
    if layers == 4:
        assert found["top_2"] == 11 and found["top_3"] == 111 and found["layer_2"] == 100
