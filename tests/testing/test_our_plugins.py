"""Our own plugins under the conformance kit, with small options: third-party plugins are asked nothing that ours are not."""

from importlib.util import find_spec

import pytest

from priorkit.registry import installed
from priorkit.registry.scaffold import TEMPLATES
from priorkit.testing import checks

NET = {"width": 16}
needs_zuko = pytest.mark.skipif(find_spec("zuko") is None, reason="the extra 'flow' is not installed")
METRICS = (
    *(
        "chains",
        "copying",
        "coverage",
        "kernel",
        "elbo",
        "energy_distance",
        "fd",
        "fidelity",
        "gap",
        "hole",
        "hole_nats",
        "logz",
        "nll",
    ),
    *("reconstruction", "sliced_wasserstein"),
)
VISION = ("celeba", "cifar10", "cifar100", "fashion-mnist", "lsun-church", "mnist", "svhn")
SMALL = {
    "prior.gaussian": {},
    "prior.multistage": {"stages": 2, "pool_size": 500, "energy": NET},
    "prior.flow": {
        "width": 16,
        "optimiser": {"lr": 1e-2},
        "labels": [{"classes": 2, "energy": NET}],
    },
    "prior.flowmatching": {
        "net": {"width": 16, "depth": 1},
        "density_steps": 5,
        "optimiser": {"lr": 1e-2},
        "labels": [{"classes": 2, "energy": NET}],
    },
    "prior.mixture": {},
    "prior.jointebm": {
        "energy": NET,
        "chain": {"chains": 100, "steps": 2},
        "optimiser": {"lr": 1e-3},
        "labels": [{"classes": 2, "energy": NET}],
    },
    "prior.ncp": {"energy": NET, "proposals": 50},
    "prior.diffusion": {"energy": NET, "levels": 2, "training_steps": 2},
    "prior.tre": {"energy": NET, "waymarks": 4, "labels": [{"classes": 2, "energy": NET}]},
    "prior.vampprior": {"number": 50},
    "prior.vdrme": {"scales": 2, "energy": NET, "generator": NET},
    "backbone.identity": {},
    "backbone.pixels": {},
    "backbone.twolayer": {"hidden": 16},
    "backbone.nvae": {"num_channels_enc": 4, "num_channels_dec": 4, "num_groups_per_scale": 2},
    "sampler.langevin": {},
    "sampler.mala": {},
    "sampler.hmc": {},
    "sampler.sir": {"proposals": 200},
    "trainer.two-phase": {"posterior_samples": 1},
    **{f"metric.{name}": {} for name in METRICS},
    **{f"extractor.{name}": {} for name in ("cifar", "clip", "digits", "dinov2", "fashion", "inception")},
    "data.digits": {},
    "trainer.joint": {"batch": 16, "chain": {"steps": 2}, "stage_samples": 20},
}
MIXTURE = {"base_prior": "mixture", "base_options": {"components": 2}}
ON_A_MIXTURE = {
    "prior.multistage": {**SMALL["prior.multistage"], "adaptive": False, **MIXTURE},
    "prior.jointebm": {**SMALL["prior.jointebm"], **MIXTURE},
    "prior.tre": {**SMALL["prior.tre"], **MIXTURE},
}
"""Ratios to another base than N(0, I)."""
ELSEWHERE = {"backbone.autoencoderkl", "backbone.wrapped", "data.folder", "data.stream", "data.toy", "data.zip"}
ELSEWHERE |= {f"data.{name}" for name in VISION}
"""What needs files, a place or networks: its kit runs where these are made."""
CASES = [
    pytest.param(key, check, id=f"{key}-{check}", marks=needs_zuko if key == "prior.flow" else ())
    for key in SMALL
    for check in checks(key.partition(".")[0])
]


def test_no_plugin_is_left_out():
    own = {entry.key for entry in installed().entries if entry.own and entry.kind in (*TEMPLATES, "extractor")}
    assert own == set(SMALL) | ELSEWHERE


@pytest.mark.parametrize(
    ("key", "check"),
    [(key, check) for key in ON_A_MIXTURE for check in checks("prior")],
    ids=[f"{key}-{check}" for key in ON_A_MIXTURE for check in checks("prior")],
)
def test_conformance_on_another_base(key, check):
    check(installed().load(*key.split(".")), ON_A_MIXTURE[key])


@pytest.mark.parametrize(("key", "check"), CASES)
def test_conformance(key, check):
    check(installed().load(*key.split(".")), SMALL[key])


def test_a_prior_whose_layers_are_independent_has_the_stated_density():
    plugin = installed().load("prior", "ncp")
    check = next(check for check in checks("prior") if check.name == "draws_have_the_stated_density")
    check(plugin, {"context": "none", "energy": NET})
