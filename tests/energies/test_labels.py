"""Labels coupled to energies: identities of the three terms, and what is refused."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from priorkit.core import Layout
from priorkit.energies import LabelHeads, LabelSettings
from priorkit.errors import UsageError

LAYOUT = Layout(((3,), (2, 2)))


def heads(*options, zero=False, seed=0):
    torch.manual_seed(seed)
    settings = tuple(LabelSettings(energy={"width": 8}, **option) for option in options)
    return LabelHeads(settings, LAYOUT, zero=zero).double().eval()


def points(n=9, seed=1):
    return torch.randn(n, LAYOUT.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_asked_label_puts_its_logit_in_the_place_of_the_log_sum():
    """evidence + log p(y | x) = g_y - log K, the energy that the conditional chain follows."""
    made = heads({"classes": 4})
    x, y = points(), torch.arange(9) % 4
    logits = made.logits(x)["label"]
    together = made.evidence(x) + made.log_conditional(x, {"label": y})
    torch.testing.assert_close(together, logits.gather(1, y[:, None])[:, 0] - math.log(4))


def test_the_two_losses_are_the_cross_entropy_of_one_class_more():
    """K classes of positives and one of negatives whose logit is 0, with logits h = f + g - log K of the others."""
    made = heads({"classes": 4})
    positive, negative, y = points(), points(7, seed=2), torch.arange(9) % 4
    weight = torch.randn(LAYOUT.dim, dtype=torch.float64)

    def energy(x):
        return x @ weight

    def all_logits(x):
        h = energy(x)[:, None] + made.logits(x)["label"] - math.log(4)
        return torch.cat([h, h.new_zeros(len(h), 1)], dim=1)

    of_negatives = torch.full((7,), 4)
    expected = cross_entropy(all_logits(positive), y) + cross_entropy(all_logits(negative), of_negatives)
    binary = softplus(-energy(positive) - made.evidence(positive)).mean()
    binary = binary + softplus(energy(negative) + made.evidence(negative)).mean()
    torch.testing.assert_close(binary + made.loss(positive, y), expected)


def test_untrained_heads_add_nothing_and_know_nothing():
    made = heads({"classes": 5}, {"name": "parity", "classes": 2, "of": [0, 1, 0, 1, 0]}, zero=True)
    x = points()
    assert made.evidence(x).abs().max() < 1e-12
    log_p = made.log_conditional(x, {"label": torch.zeros(9, dtype=torch.int64), "parity": torch.ones(9, dtype=torch.int64)})
    torch.testing.assert_close(log_p, torch.full_like(log_p, -math.log(5) - math.log(2)))


def test_several_attributes_add_up_and_those_not_asked_are_left_out():
    made = heads({"name": "a", "classes": 3}, {"name": "b", "classes": 2})
    x, a, b = points(), torch.arange(9) % 3, torch.arange(9) % 2
    alone = [made.log_conditional(x, asked) for asked in ({"a": a}, {"b": b})]
    torch.testing.assert_close(made.log_conditional(x, {"a": a, "b": b}), alone[0] + alone[1])
    assert torch.equal(made.log_conditional(x, {}), torch.zeros(9, dtype=torch.float64))


def test_an_attribute_reads_only_its_layers():
    made = heads({"name": "upper", "classes": 3, "layers": "top:1"}, {"name": "lower", "classes": 3, "layers": "bottom:1"})
    x = points()
    moved = torch.cat([x[:, :3], x[:, 3:] + 1], dim=1)
    before, after = made.logits(x), made.logits(moved)
    assert torch.equal(before["upper"], after["upper"])
    assert not torch.allclose(before["lower"], after["lower"])


def test_the_loss_weighs_attributes_and_maps_classes():
    parity = {"name": "parity", "classes": 2, "of": [0, 1, 0], "weight": 0.5}
    made = heads({"classes": 3}, parity)
    x, y = points(), torch.arange(9) % 3
    logits = made.logits(x)
    expected = cross_entropy(logits["label"], y) + 0.5 * cross_entropy(logits["parity"], torch.tensor([0, 1, 0])[y])
    torch.testing.assert_close(made.loss(x, y), expected)


def test_no_attributes_cost_nothing():
    made = heads()
    assert not list(made.parameters())
    assert made.loss(points(), None) == 0
    assert torch.equal(made.evidence(points()), torch.zeros(9, dtype=torch.float64))


@pytest.mark.parametrize(
    ("labels", "part"),
    [({"other": [0] * 9}, "has label"), ({"label": [3] * 9}, "0 to 2"), ({"label": [-1] * 9}, "0 to 2")],
)
def test_labels_that_are_not_known_are_refused(labels, part):
    with pytest.raises(UsageError, match=part):
        heads({"classes": 3}).log_conditional(points(), {name: torch.tensor(values) for name, values in labels.items()})


def test_data_that_do_not_fit_are_refused():
    made = heads({"classes": 3}, {"name": "half", "classes": 2, "of": [0, 1]})
    with pytest.raises(UsageError, match="no labels"):
        made.loss(points(), None)
    with pytest.raises(UsageError, match="class 2 of the data has no value of 'half'"):
        made.loss(points(), torch.arange(9) % 3)
    with pytest.raises(UsageError, match="class 3 of the data has no value of 'label'"):
        made.loss(points(), torch.arange(9) % 4)


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(UsageError, match="same name"):
        heads({"classes": 3}, {"classes": 2})
    with pytest.raises(ValueError, match="values from 0 to 1"):
        LabelSettings(classes=2, of=(0, 2))
    with pytest.raises(UsageError, match="top:k"):
        heads({"layers": "top:9"})
