"""The recipes against tables of the papers' numbers: every one is named by the file, and is what the paper has.

A number that a file does not name is one of our defaults, which may differ from the paper's today or move tomorrow.  The
tables hold what the papers' texts and released codes fix; what they leave open a recipe chooses, and says so.
"""

from pathlib import Path

import pytest
import yaml

from priorkit.config import resolve

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "recipes"

ADAM = {"name": "adam", "schedule": "constant", "clip": None}
FREE = {"prior.bound": None, "prior.energy.dropout": 0}


def flat(prefix, options):
    return {f"{prefix}.{name}": value for name, value in options.items()}


LANGEVIN = {"sampler.name": "langevin"}
GENERATOR = {
    "backbone.likelihood": "fixed-normal", "backbone.sigma": 0.3, "backbone.inference": "none",
    "trainer.backbone_steps": 0, "trainer.average": 0, "fidelity.decoder": "mean", "fidelity.samples": 50_000,
}  # fmt: skip
SHORT_RUN = {"prior.chain.start": "noise", "prior.chain.adjust": False}
MLP = {"prior.energy.coupling": "separable", "prior.energy.network": "mlp", "prior.energy.width": 200}
SIXTY = {"sampler.steps": 60, "sampler.step_size": 0.4**2} | LANGEVIN
TRAINED_60 = {"prior.chain.steps": 60, "prior.chain.step_size": 0.4**2}

LEBM = {
    **GENERATOR, **MLP, **FREE, **SHORT_RUN, **SIXTY, **TRAINED_60,
    "backbone.latents": [100], "backbone.width": 64, "backbone.decoder": "dcgan",
    "prior.name": "jointebm", "prior.energy.depth": 2, "prior.energy.activation": "gelu", "prior.energy_input": "z",
    "prior.energy_l2": 0, "trainer.chain.steps": 20, "trainer.chain.step_size": 0.1**2, "trainer.chain_space": "z",
    "trainer.batch": 100, "trainer.joint_steps": 201 * 732,
    **flat("prior.optimiser", {"name": "adam", "lr": 2e-5, "betas": [0.5, 0.999], "weight_decay": 0, "clip": None}),
    **flat("trainer.optimiser", {"name": "adam", "lr": 1e-4, "betas": [0.5, 0.999], "weight_decay": 0, "clip": None}),
}  # fmt: skip
"""Released SVHN script; the last rates are 0.998^201 of the first."""

JOINT_EBM = {
    **GENERATOR, **MLP, **FREE, **SHORT_RUN, **SIXTY, **TRAINED_60,
    "backbone.depth": 4, "prior.name": "jointebm", "prior.energy.depth": 3, "prior.energy.activation": "leaky_relu",
    "prior.energy_input": "z", "prior.energy_l2": 0, "trainer.chain.steps": 40, "trainer.chain.step_size": 0.1**2,
    "trainer.chain_space": "z", "trainer.batch": 100,
    **flat("prior.optimiser", {**ADAM, "lr": 2e-5, "betas": [0.9, 0.999], "weight_decay": 0}),
    **flat("trainer.optimiser", {**ADAM, "lr": 1e-4, "betas": [0.9, 0.999], "weight_decay": 0}),
}  # fmt: skip
"""Released CIFAR-10 script."""

TABLE_11 = {"backbone.latents": [100, 100], "backbone.hidden": 256, "backbone.decoder": "dcgan", "backbone.width": 64}
MULTI_STAGE_JOINT = {
    **GENERATOR, **MLP, **FREE, "prior.name": "multistage", "prior.stages": 3, "prior.energy.depth": 4,
    "prior.energy.activation": "leaky_relu", "prior.negatives": "chain", "prior.sampling": "joint",
}  # fmt: skip
"""The multi-stage paper, Table 11."""

CODE_ADAM = {**ADAM, "betas": [0.99, 0.999], "weight_decay": 3e-5}
FROZEN = {"backbone.name": "nvae", "trainer.posterior_samples": 1, "trainer.prior_average": 0}
JOINT_EBM_NVAE = {
    **FROZEN, **FREE, **SHORT_RUN, **LANGEVIN, "prior.name": "jointebm", "prior.energy.coupling": "separable",
    "prior.energy.network": "conv", "prior.energy.channels": 64, "prior.energy_input": "z", "prior.energy_l2": 0,
    "prior.chain.steps": 10, "prior.chain.step_size": 1e-5, "sampler.steps": 10, "sampler.step_size": 1e-5,
    "trainer.prior_steps": 6_500, "trainer.prior_batch": 4, "fidelity.decoder": "sample",
    **flat("prior.optimiser", {**CODE_ADAM, "lr": 2e-5}),
}  # fmt: skip
"""Released CelebA-HQ-256 script, the only one."""

DIFFUSION = {
    **LANGEVIN, "prior.name": "diffusion", "prior.levels": 3, "prior.energy_input": "z", "prior.chain": "paper",
    "prior.bound": None, "prior.loss_weight": "per", "prior.training_steps": None,
    **flat("prior.optimiser", {"name": "adam", "lr": 4e-5, "betas": [0.99, 0.999], "weight_decay": 3e-5, "clip": None}),
}  # fmt: skip
"""Released CIFAR-10 script; the decay of its rates is a cosine of the same sum."""
DIFFUSION_NVAE = DIFFUSION | FROZEN | {"prior.network": "paper", "fidelity.decoder": "sample"}

LAST_WEIGHTS = {"trainer.prior_validate_every": 0}
MULTI_STAGE_NVAE = {
    **FROZEN, **LAST_WEIGHTS, **FREE, **LANGEVIN,
    "prior.name": "multistage", "prior.stages": 3, "trainer.prior_steps": 15_000,
    "prior.energy.coupling": "separable", "prior.energy.network": "residual", "prior.energy.channels": 128,
    "prior.energy.width": 256, "prior.energy.blocks": 8, "prior.negatives": "chain", "prior.sampling": "joint",
    "sampler.steps": 10,
}  # fmt: skip
"""The multi-stage paper, Table 10 and section 5.5."""

NCP = {
    **FROZEN, **LAST_WEIGHTS, **FREE,
    "prior.name": "ncp", "prior.energy_input": "z", "prior.sampling": "sir", "prior.proposals": 5_000,
}  # fmt: skip

VDRME = {
    "prior.name": "vdrme", "prior.pairs": "shared_noise", "prior.predicts": "noise", "prior.entropy_weight": 1,
    "prior.energy_weight": 1, "prior.recovery_weight": 1, "prior.gradient_penalty": 0.01, "prior.bound": None,
    **flat("prior.energy_optimiser", {**ADAM, "lr": 4e-5, "betas": [0, 0.999], "eps": 1e-12}),
    **flat("prior.generator_optimiser", {**ADAM, "lr": 2e-5, "betas": [0.3, 0.999], "eps": 1e-12}),
    **flat("prior.entropy_optimiser", {**ADAM, "lr": 1e-5, "betas": [0.3, 0.999], "eps": 1e-12}),
}  # fmt: skip
"""VDRME, Table 4."""

CELEBA_HQ, FIFTY = {"fidelity.samples": 30_000}, {"fidelity.samples": 50_000}
GAUSSIAN_PIXELS = {"fidelity.decoder": "mean"}

PAPERS = {
    "lebm-svhn": LEBM,
    "jointebm-joint-cifar10": JOINT_EBM | {
        "backbone.latents": [100, 128], "backbone.hidden": 200, "backbone.decoder": "dcgan8", "backbone.width": 128,
        "trainer.joint_steps": 101 * 500,
    },
    "jointebm-joint-celeba64": JOINT_EBM | TABLE_11,
    "jointebm-joint-svhn": JOINT_EBM | TABLE_11,
    "multistage-joint-cifar10": MULTI_STAGE_JOINT | TABLE_11,
    "multistage-joint-celeba64": MULTI_STAGE_JOINT | TABLE_11,
    "multistage-joint-svhn": MULTI_STAGE_JOINT | TABLE_11,
    "adaptive-ce-cifar10": MULTI_STAGE_JOINT | {"backbone.latents": [100]},
    "jointebm-celeba-hq-256": JOINT_EBM_NVAE | CELEBA_HQ,
    "jointebm-cifar10": JOINT_EBM_NVAE | FIFTY,
    "jointebm-lsun-church-64": JOINT_EBM_NVAE | FIFTY,
    "diffusion-celeba-hq-256": DIFFUSION_NVAE | CELEBA_HQ | {
        "sampler.steps": 30, "prior.base_step": 2e-5, "prior.energy.channels": 64, "trainer.prior_batch": 4,
    },
    "diffusion-cifar10": DIFFUSION_NVAE | FIFTY | {
        "sampler.steps": 50, "prior.base_step": 3e-5, "prior.energy.channels": 128, "trainer.prior_batch": 50,
    },
    "diffusion-lsun-church-64": DIFFUSION_NVAE | FIFTY | {"sampler.steps": 50, "prior.base_step": 3e-5},
    "diffusion-hvae-cifar10": DIFFUSION | FIFTY | {"sampler.steps": 50, "prior.base_step": 3e-5, "prior.energy.dropout": 0},
    "multistage-celeba-hq-256": MULTI_STAGE_NVAE | CELEBA_HQ | {"fidelity.decoder": "sample"},
    "multistage-cifar10": MULTI_STAGE_NVAE | FIFTY | {"fidelity.decoder": "sample"},
    "multistage-lsun-church-64": MULTI_STAGE_NVAE | FIFTY | GAUSSIAN_PIXELS,
    "multistage-normal-cifar10": MULTI_STAGE_NVAE | FIFTY | GAUSSIAN_PIXELS | {
        "prior.stages": 2, "trainer.prior_steps": 10_000,
    },
    "ncp-celeba-hq-256": NCP | CELEBA_HQ | GAUSSIAN_PIXELS,
    "ncp-cifar10": NCP | FIFTY | GAUSSIAN_PIXELS,
    "vdrme-checkerboard": VDRME | {"prior.scales": 5, "prior.entropy": "nearest", "prior.draws": 2},
    "vdrme-cifar10": VDRME | {"prior.scales": 8, "prior.entropy": "jsd"},
    "vdrme-imagenet256": VDRME | {"prior.scales": 4, "prior.entropy": "jsd"},
}  # fmt: skip
OURS = {"digits-joint"}


def named(name):
    """What the recipe's file itself says, by dotted path."""
    tree = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    found = {}

    def walk(prefix, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            found[prefix if prefix not in ("prior", "backbone", "sampler", "data") else f"{prefix}.name"] = value

    walk("", tree)
    return found


def close(value, wanted):
    return value == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, float | list) else wanted)


def test_every_recipe_of_a_paper_has_its_table():
    assert {path.stem for path in RECIPES.glob("*.yaml")} == set(PAPERS) | OURS


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_names_what_its_paper_fixes(name):
    said = named(name)
    inherited = sorted(set(PAPERS[name]) - set(said))
    assert not inherited, f"{name}.yaml leaves to our defaults what the paper fixes: {', '.join(inherited)}"
    other = {path: said[path] for path, wanted in PAPERS[name].items() if not close(said[path], wanted)}
    assert not other, f"{name}.yaml differs from its paper: {other}"


@pytest.mark.parametrize("name", [name for name in PAPERS if not name.startswith("vdrme-i") and name != "vdrme-cifar10"])
def test_no_recipe_inherits_a_brake_that_no_paper_has(name):
    """What is resolved in the end: no bound on energies, no dropout, no penalty on them."""
    prior = resolve(RECIPES / f"{name}.yaml").prior.options
    assert prior["bound"] is None
    assert prior.get("energy_l2", 0) == 0
    if prior.get("network") != "paper":  # which has no dropout to set
        assert prior["energy"]["dropout"] == 0


def test_the_last_rates_of_lebm_are_those_of_its_exponential_decay():
    said = named("lebm-svhn")
    for group, first in (("prior", 2e-5), ("trainer", 1e-4)):
        assert said[f"{group}.optimiser.lr_min"] == pytest.approx(first * 0.998**201, rel=0.01)
