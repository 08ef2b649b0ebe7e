"""The sentence about training and held-out loss of a stage."""

import pytest

from priorkit.report.parting import partings

STEPS = (100, 200, 300, 400, 500)
PARTS = "the held-out loss parts from the training loss at step 300;"


def records(held, training=(1.0, 0.8, 0.6, 0.4, 0.2)):
    """Both losses at five steps of a stage."""
    named = {"heldout_validation_loss": held, "loss": training}
    each = [(name, *pair) for name, losses in named.items() for pair in zip(STEPS, losses, strict=True)]
    return [{"phase": "prior.1", "step": step, name: loss} for name, step, loss in each]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (
            (1.0, 0.81, 0.7, 0.65, 0.8),
            f"{PARTS} it rises after step 400 of 500: later steps fit the training points only.",
        ),
        (
            (1.0, 0.81, 0.8, 0.75, 0.75),
            f"{PARTS} it is lowest at step 400 of 500 and level after it.",
        ),
        ((1.0, 0.8, 0.6, 0.4, 0.2), "the held-out loss falls to the end, step 500: more steps may help."),
        ((9.0, 8.0, 7.0, 6.0, 5.0), "the held-out loss falls to the end, step 500: more steps may help."),  # another scale
    ],
)
def test_when_they_part(held, told):
    assert partings(records(held)) == [f"prior.1: {told}"]


def test_each_stage_has_a_sentence_in_order_and_few_values_tell_nothing():
    rows = records((1.0, 0.8, 0.6, 0.4, 0.2))
    more = [row | {"phase": f"prior.{stage}"} for stage in (10, 2) for row in rows]
    few = [{"phase": "prior.3", "step": step, "heldout_validation_loss": 1.0} for step in (1, 2)]
    assert [told.partition(":")[0] for told in partings([*more, *few])] == ["prior.2", "prior.10"]
    assert partings([{"phase": "backbone", "step": 1, "loss": 1.0}]) == []
