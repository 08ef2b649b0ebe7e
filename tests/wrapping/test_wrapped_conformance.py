"""Wrapped VAEs under the conformance kit of backbones."""

import pytest
from vaes import Flat, Ladder, flat_arguments, ladder_arguments

import priorkit
from priorkit.testing import checks
from priorkit.testing.body import NotApplicable
from priorkit.wrapping import WrappedBackbone

KINDS = {
    "one-layer": lambda: flat_arguments(Flat()),
    "two-layers": lambda: ladder_arguments(Ladder()),
    "two-layers-at-once": lambda: at_once(Ladder()),
    "gaussian": lambda: flat_arguments(Flat(), likelihood="gaussian", output="mean", interval=(-1, 1)),
    "without-density": lambda: ladder_arguments(Ladder(), likelihood=None),
}
"""Arguments of priorkit.wrap."""
SKIPPED = {
    "objectives_can_be_minimised": KINDS,
    "posterior_density_is_that_of_the_samples": ("two-layers", "without-density"),
}
"""Checks that do not apply: nothing is trained, and an encoder that reads the layers above has no such function."""


def at_once(vae):
    return ladder_arguments(vae, encode=vae.encode)


def plugin(kind):
    """A class as the kit wants one: every instance has networks of its own, as a run read in another process has."""

    class Wrapped(WrappedBackbone):
        def __init__(self, settings, spec):
            super().__init__(settings, spec, priorkit.wrap(**KINDS[kind]()).functions)

    return Wrapped, priorkit.wrap(**KINDS[kind]()).settings.model_dump(mode="json")


@pytest.fixture(scope="module")
def plugins():
    return {kind: plugin(kind) for kind in KINDS}


@pytest.mark.parametrize("check", checks("backbone"), ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_conformance(plugins, kind, check):
    wrapped, options = plugins[kind]
    try:
        check(wrapped, options)
        applied = True
    except NotApplicable:
        applied = False
    assert applied == (kind not in SKIPPED.get(str(check), ()))
