"""A training step is a transaction; accumulation and averaging change nothing but the cost."""

import pytest
import torch
from torch import nn

from priorkit.core import Loss, Objective, OptimiserSettings, Step
from priorkit.engine import ProcessContext
from priorkit.engine.ema import ExponentialMovingAverage
from priorkit.engine.update import Updater

HERE = ProcessContext(torch.device("cpu"))


class Regression(nn.Module):
    """A linear layer and a batch norm, so that a forward pass moves buffers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, 1)

    def loss(self, x, step):
        return Loss(self.linear(self.norm(x)).square().mean(), {"mean": x.mean()})


def updater(model, loss=None, **options):
    objective = Objective("fit", list(model.parameters()), OptimiserSettings(lr=0.1, **options), loss or model.loss)
    return Updater(model, [objective], HERE)


def step(index=0):
    return Step(index, 10, torch.Generator().manual_seed(0))


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(poison):
    torch.manual_seed(0)
    model = Regression()
    before = snapshot(model)
    taken, _ = updater(model).step([torch.full((4, 3), poison)], step())
    assert not taken
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_finite_step_is_torchs_own():
    torch.manual_seed(0)
    model, twin = Regression(), Regression()
    twin.load_state_dict(model.state_dict())
    x = torch.randn(8, 3)
    assert updater(model).step([x], step())[0]
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.1)
    twin.loss(x, None).value.backward()
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_accumulation_gives_the_gradient_of_the_whole_batch():
    torch.manual_seed(0)
    model, twin = nn.Linear(3, 1).double(), nn.Linear(3, 1).double()
    twin.load_state_dict(model.state_dict())
    x = torch.randn(12, 3, dtype=torch.float64)
    for learner, batches in ((model, [x]), (twin, list(x.chunk(3)))):
        run = updater(learner, loss=lambda part, step, learner=learner: Loss(learner(part).square().mean()))
        run.step(batches, step())
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_clipping_bounds_the_norm():
    model = nn.Linear(2, 1)
    run = updater(model, loss=lambda x, step: Loss(1e3 * model(x).sum()), clip=1.0)
    run.step([torch.ones(4, 2)], step())
    norm = torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()
    assert norm.item() == pytest.approx(1.0, abs=1e-5)


def test_without_a_bound_gradients_are_left_alone():
    model = nn.Linear(2, 1)
    run = updater(model, loss=lambda x, step: Loss(1e-30 * model(x).sum() + 1e25 * model.bias.sum()))
    assert run.step([torch.ones(4, 2)], step())[0] is False, "the norm itself overflows"
    assert torch.equal(model.weight.grad, torch.full((1, 2), 4e-30))


@pytest.mark.parametrize("first_steps", [0, 1])
def test_a_later_objective_that_is_refused_takes_the_earlier_one_back(first_steps):
    torch.manual_seed(0)
    model, x = Regression(), torch.randn(8, 3)
    objectives = [
        Objective("norm", list(model.norm.parameters()), OptimiserSettings(lr=0.1), model.loss),
        Objective("linear", list(model.linear.parameters()), OptimiserSettings(lr=0.1), lambda x, step: poisoned(x, step)),
    ]

    def poisoned(x, step):
        loss = model.loss(x, step)
        return Loss(loss.value * (1.0 if step.index < first_steps else float("nan")))

    run = Updater(model, objectives, HERE)
    for index in range(first_steps):
        assert run.step([x], step(index))[0]
    before, state = snapshot(model), {key: value.clone() for key, value in run.state().items()}
    assert not run.step([x], step(first_steps))[0]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert run.state().keys() == state.keys()
    assert all(torch.equal(run.state()[key], value) for key, value in state.items())


def test_objectives_that_share_parameters_are_taken_back_last_first():
    """The second remembers what the first had moved already."""
    torch.manual_seed(0)
    model, x = nn.Linear(3, 1), torch.randn(8, 3)
    factors = (1.0, -2.0, float("nan"))
    objectives = [
        Objective(
            str(factor),
            list(model.parameters()),
            OptimiserSettings(lr=0.1),
            lambda x, step, factor=factor: Loss(factor * model(x).square().mean()),
        )
        for factor in factors
    ]
    before = snapshot(model)
    assert not Updater(model, objectives, HERE).step([x], step())[0]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", -1), ("betas", (0.9, 1)), ("eps", 0), ("weight_decay", -0.1), ("warmup", 1.5), ("lr_min", -1), ("clip", 0)],
)
def test_settings_out_of_bounds(name, value):
    with pytest.raises(ValueError, match=name):
        OptimiserSettings(**{name: value})


def test_optimiser_state_goes_round():
    torch.manual_seed(0)
    model = Regression()
    run, x = updater(model), torch.randn(8, 3)
    run.step([x], step())
    saved, weights = {key: value.clone() for key, value in run.state().items()}, snapshot(model)
    run.step([x], step(1))
    twin = Regression()
    twin.load_state_dict(weights)
    again = updater(twin)
    again.load(saved)
    again.step([x], step(1))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in twin.state_dict().items())


def test_averaged_weights_are_the_recursion():
    learner = nn.Module()
    learner.parameter = parameter = nn.Parameter(torch.zeros(2))
    average = ExponentialMovingAverage(learner, decay=0.9)
    expected = torch.zeros(2)
    for index in range(30):
        with torch.no_grad():
            parameter.add_(1.0)
        decay = min(0.9, (1 + index) / (10 + index))
        expected = decay * expected + (1 - decay) * parameter.detach()
        average.update(index)
    average.apply()
    torch.testing.assert_close(parameter.detach(), expected)


def test_a_learner_without_tensors_has_nothing_to_average():
    average = ExponentialMovingAverage(nn.Module(), decay=0.9)
    average.update(0)
    average.apply()
    assert average.state() == {}


@pytest.mark.parametrize("betas", [(-0.1, 0.9), (0.9, 1.0), (1.5, 0.9)])
def test_decay_rates_are_below_one(betas):
    with pytest.raises(ValueError, match="betas"):
        OptimiserSettings(betas=betas)
    assert OptimiserSettings(betas=(0.0, 0.0)).betas == (0.0, 0.0)
