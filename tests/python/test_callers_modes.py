"""What a notebook has set in torch for its own work neither reaches a model nor is it changed by one."""

from threading import Barrier, Thread

import pytest
import torch

import priorkit
from priorkit.core.single import single_precision
from priorkit.metrics import feature_network

LEARNT = {
    "backbone": "twolayer",
    "prior": "jointebm",
    "sampler": "langevin",
    "options": {
        "backbone": {"hidden": 8, "latents": [2, 2]},
        "prior.energy.width": 8,
        "trainer": {"backbone_steps": 2, "prior_steps": 10},
        "sampler.steps": 2,
        "engine.threads": 1,
    },
}
"""A prior whose chains take gradients, and that differs from the Gaussian one."""
MODES = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def results(model):
    x = model.data.heldout.batch(torch.arange(3, device="cpu"))
    return [model.sample(3, seed=1), model.score(x), model.infer(x).u, model.sample(2, seed=1, mean=False)]


def same(found, expected):
    return all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def learnt(train, tmp_path_factory):
    model = train(**LEARNT, out=tmp_path_factory.mktemp("learnt") / "run")
    return model, results(model)


@pytest.mark.parametrize("mode", MODES)
def test_a_model_gives_the_same_within_it(learnt, mode):
    model, expected = learnt
    with MODES[mode]():
        assert same(results(model), expected)
        model.overview(2)
    assert same(results(model), expected)


@pytest.mark.parametrize("mode", MODES)
def test_a_model_that_is_loaded_within_it_works_without(learnt, mode):
    with MODES[mode]():
        again = priorkit.load(learnt[0].folder)
    assert same(results(again), learnt[1])


@pytest.mark.parametrize("mode", MODES)
def test_training_within_it_is_the_same(train, learnt, tmp_path, mode):
    with MODES[mode]():
        again = train(**LEARNT, out=tmp_path / "run")
    assert same(results(again), learnt[1])


def test_a_default_device_is_given_back(learnt):
    torch.set_default_device("meta")
    try:
        assert same(results(learnt[0]), learnt[1])
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)


def test_the_callers_random_numbers_are_not_taken(train, tmp_path):
    before = torch.get_rng_state()
    model = train(**LEARNT, out=tmp_path / "run")
    results(model)
    feature_network("fashion")
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_that_overlap_give_the_default_type_back():
    """The first to come in leaves first; only the last one may undo what the first one did."""
    entered, left, seen = Barrier(2, timeout=60), Barrier(2, timeout=60), []

    def first():
        with single_precision():
            entered.wait()
        left.wait()

    def second():
        with single_precision():
            entered.wait()
            left.wait()
            seen.append(torch.get_default_dtype())

    torch.set_default_dtype(torch.float64)
    try:
        threads = [Thread(target=first), Thread(target=second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [torch.float32] and torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
