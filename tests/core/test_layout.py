"""Layout: cutting and joining are inverse, views share memory, and layer sums are sums."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from priorkit.core import Layout
from priorkit.errors import UsageError

shapes = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), min_size=1, max_size=5).map(tuple)


@given(shapes, st.integers(0, 5))
def test_join_inverts_split(shapes, batch):
    layout = Layout(shapes)
    u = torch.arange(batch * layout.dim, dtype=torch.float32).view(batch, layout.dim)
    parts = layout.split(u)
    assert [tuple(part.shape[1:]) for part in parts] == list(shapes)
    assert torch.equal(layout.join(parts), u)


@given(shapes)
def test_split_copies_nothing(shapes):
    layout = Layout(shapes)
    u = torch.zeros(2, layout.dim)
    for part in layout.split(u):
        part += 1
    assert torch.equal(u, torch.ones_like(u))


@given(shapes)
def test_layer_sums(shapes):
    layout = Layout(shapes)
    u = torch.randn(3, layout.dim, dtype=torch.float64)
    expected = torch.stack([part.flatten(1).sum(1) for part in layout.split(u)], dim=1)
    torch.testing.assert_close(layout.layer_sums(u), expected)


@given(shapes, st.data())
def test_top_is_a_slice_of_columns(shapes, data):
    layout = Layout(shapes)
    k = data.draw(st.integers(1, len(layout)))
    u = torch.randn(2, layout.dim)
    top = layout.top(k)
    assert torch.equal(u[:, : top.dim], top.join(layout.split(u)[:k]))
    assert layout.select(f"top:{k}") == tuple(range(k))
    assert layout.select(f"bottom:{k}") == tuple(range(len(layout) - k, len(layout)))


@pytest.mark.parametrize("spec", ["top:0", "top:4", "bottom:x", "3", "-1", "", "some"])
def test_select_refuses(spec):
    with pytest.raises(UsageError, match="layers: expected"):
        Layout(((1,), (2,), (3,))).select(spec)


@pytest.mark.parametrize("shapes", [(), ((0,),), ((2,), (3, 0))])
def test_a_layout_has_layers_and_layers_have_elements(shapes):
    with pytest.raises(ValueError, match="at least one layer of positive sizes"):
        Layout(shapes)
