"""Checks of metrics, on an untrained model of the built-in digits."""

import re
from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any

import torch

from priorkit.core import Metric, set_learning
from priorkit.data import Dataset, array
from priorkit.errors import UsageError
from priorkit.model import Model
from priorkit.registry import installed
from priorkit.testing.backbones import SPEC, pictures
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.problem import sampler
from priorkit.testing.surroundings import untouched

__all__ = ["CHECKS"]

SAMPLES = 100


@cache
def _problem() -> tuple[Model, Dataset]:
    """Return a two-layer backbone under its Gaussian prior, and a hundred images."""
    backbones, priors = installed().load("backbone", "priorkit:twolayer"), installed().load("prior", "priorkit:gaussian")
    pixels = (pictures(100, 3) * 16).round().to(torch.uint8).numpy()
    data = array(pixels, [index % 10 for index in range(100)], name="pictures", levels=17, holdout=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = backbones(backbones.Config.model_validate({"latents": [2, 3], "hidden": 8}), SPEC)
        prior = priors(priors.Config(), backbone.space())
    for module in (backbone, prior):
        set_learning(module, False)
    return Model(backbone, prior, sampler(3), SPEC), data


def _measured(plugin: Any, seed: int = 0) -> Mapping[str, Metric]:
    """Return the values. A metric that is not defined for this model raises a UsageError or returns none."""
    model, data = _problem()
    try:
        found: Mapping[str, Metric] = plugin(model, data, samples=SAMPLES, seed=seed)
    except UsageError as error:
        raise NotApplicable(f"it is not defined for a two-layer backbone under its Gaussian prior: {error}") from error
    assert isinstance(found, Mapping), f"it gives {type(found).__name__}, not a mapping of names to metrics"
    if not found:
        raise NotApplicable("it gives no metric of a two-layer backbone under its Gaussian prior")
    return found


def figures_say_what_they_are(plugin: Any, given: Mapping[str, Any]) -> None:
    """It returns values by name, each finite, with a spread or None, and with a protocol."""
    found = _measured(plugin)
    for name, figure in found.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", str(name)), f"{name!r} is no name of a metric; use letters and underscores"
        assert isinstance(figure, Metric), f"{name} is {type(figure).__name__}, not a priorkit.core.Metric"
        assert isinstance(figure.value, float) and isfinite(figure.value), f"{name}: its value is {figure.value!r}"
        assert figure.spread is None or figure.spread >= 0, f"{name}: its spread is {figure.spread!r}"
        assert figure.protocol, f"{name}: its protocol does not say how it was measured"


def figures_follow_the_seed(plugin: Any, given: Mapping[str, Any]) -> None:
    """The same seed gives the same values, and no global random state changes."""
    with untouched("measuring"):
        first, again = _measured(plugin), _measured(plugin)
    different = [name for name, figure in first.items() if figure.value != again[name].value]
    assert not different, f"two measurements from one seed differ in {', '.join(different)}"


CHECKS: list[Body] = [figures_say_what_they_are, figures_follow_the_seed]
