"""Commands as they are written, at two steps per phase and with little to measure: for tests of the documentation."""

import importlib
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from priorkit.config import RunConfig
from priorkit.engine import Watch

SAMPLER = {"steps": 2, "pilot_steps": 2, "proposals": 8}
PRIOR = {
    "multistage": {"pool_size": 64},
    "jointebm": {"chain.steps": 1, "chain.chains": 16},
    "ncp": {"proposals": 8},
    "diffusion": {"training_steps": 1, "proposals": 2},
}
TRAINER = {
    "two-phase": {
        "backbone_batch": 8,
        "prior_batch": 8,
        "posterior_samples": 1,
        "validate_every": 0,
        "prior_validate_every": 0,
    },
    "joint": {"batch": 8, "chain.steps": 1, "stage_samples": 16, "validate_every": 0},
}
STEPS = {"backbone_steps": 1, "prior_steps": 0, "joint_steps": 0}
"""The options that count steps; 0: they are shared by the prior's stages."""
SAMPLES, IMAGES = 60, 40
AFTER = ("reconstruction", "fd")
"""Metrics at the end of a run."""
RESAMPLES = 10
"""Of the joint bootstraps of Fréchet distances."""
SEEDS = 2
"""Of a comparison, at most."""
CHAIN_CALLS = 100
"""Evaluations of the density by each of the long chains of the group `chains`."""


def laid_over(component, options):
    """The component with those of the options that it has."""
    values = dict(component.options)
    for path, value in options.items():
        key, _, inner = path.partition(".")
        if key in values:
            values[key] = {**values[key], inner: value} if inner else value
    return type(component)(name=component.name, **values)


def short(config):
    """A resolved configuration whose phases have two steps, and none where they had none."""
    asked = config.prior.options.get("stages", 1)
    stages = 3 if asked == "auto" else max(1, asked)
    counts = {key: 2 * (1 if per_run else stages) for key, per_run in STEPS.items()}
    trainer = laid_over(config.trainer, TRAINER.get(config.trainer.name, {}))
    steps = {key: min(count, trainer.options[key]) for key, count in counts.items() if key in trainer.options}
    return config.model_copy(
        update={
            "prior": laid_over(config.prior, PRIOR.get(config.prior.name, {})),
            "sampler": laid_over(config.sampler, SAMPLER),
            "trainer": laid_over(trainer, steps),
            "engine": config.engine.model_copy(update={"threads": 1}),
        }
    )


@contextmanager
def shortened():
    """While it lasts every configuration is short, few samples are measured, and a run draws no pictures of its own."""
    resolved = RunConfig.resolved
    evaluation, detection = (importlib.import_module(f"priorkit.workflows.measuring.{name}") for name in ("evaluate", "ood"))
    measure, detect = evaluation.measure, detection.detect
    compare = importlib.import_module("priorkit.workflows.comparing").compare_priors

    def measure_few(*arguments, samples=SAMPLES, metrics=AFTER, **options):
        return measure(*arguments, samples=min(samples, SAMPLES), metrics=metrics, **options)

    def measure_after(*arguments, samples, metrics, **options):
        return measure_few(*arguments, samples=samples, **options)

    def compare_few(request, **options):
        return compare(replace(request, seeds=min(request.seeds, SEEDS)), **options)

    def detect_few(*arguments, images=IMAGES, **options):
        return detect(*arguments, images=min(images, IMAGES), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunConfig, "resolved", lambda self, origins=None: short(resolved(self, origins)))
        patch.setattr("priorkit.workflows.measuring.evaluate.measure", measure_few)
        patch.setattr("priorkit.workflows.training.train.measure", measure_after)
        patch.setattr("priorkit.workflows.training.train.LivePictures", lambda *arguments: Watch())
        patch.setattr("priorkit.workflows.measuring.ood.detect", detect_few)
        patch.setattr("priorkit.workflows.training.train.draw_pictures", lambda *arguments, **options: None)
        distances = importlib.import_module("priorkit.workflows.measuring.feature_distance")
        patch.setattr(distances, "joint_distances", partial(distances.joint_distances, resamples=RESAMPLES))
        patch.setattr("priorkit.metrics.hole.RESAMPLES", RESAMPLES)
        patch.setattr("priorkit.workflows.measuring.chains.CALLS", CHAIN_CALLS)
        patch.setattr("priorkit.workflows.measuring.density.CHAINS", 32)
        patch.setattr("priorkit.workflows.measuring.density.BUDGET", 1e7)
        patch.setattr("priorkit.workflows.measuring.hole_nats.POINTS", IMAGES)
        patch.setattr("priorkit.workflows.measuring.hole_nats.IMAGES", IMAGES)
        patch.setattr("priorkit.workflows.comparing.compare_priors", compare_few)
        execute = importlib.import_module("priorkit.workflows.comparing.job_pool").execute
        here = {"workers": 0}
        patch.setattr("priorkit.workflows.comparing.plan.PILOT_STEPS", (1, 2))
        patch.setattr("priorkit.workflows.comparing.compare.longer_pilot", lambda *arguments: None)
        patch.setattr("priorkit.workflows.comparing.compare.execute", lambda jobs, **kept: execute(jobs, **kept | here))
        yield
