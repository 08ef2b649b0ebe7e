"""A stage of a prior that overfits ends with the weights of its least held-out loss, also if it was stopped on the way."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from priorkit.config import RunConfig, resolve
from priorkit.errors import InterruptedRunError
from priorkit.workflows.training import train as workflow

FEW = [
    "backbone=twolayer", "backbone.hidden=16", "backbone.latents=[3, 4]", "data.holdout=0.8", "trainer.backbone_steps=40",
    "trainer.posterior_samples=1", "trainer.prior_batch=32", "sampler.steps=2", "sampler.pilot_steps=2", "engine.threads=1",
]  # fmt: skip
OVERFITS = [
    *FEW, "prior.stages=1", "prior.energy.width=64", "prior.energy.dropout=0", "prior.bound=null", "prior.adaptive=false",
    "prior.optimiser.lr=0.003", "prior.optimiser.schedule=constant",
]  # fmt: skip
STEPS, EVERY = 120, 10


def files(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("weights/*.safetensors"), folder / "metrics.jsonl"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 images to learn from, and 240 held out."""
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(load_digits().images[:300]):
        Image.fromarray((15 * image).astype(np.uint8)).save(folder / f"{i}.png")
    return f"data.name=folder:{folder}"


def fit(folder, *options, stop=None):
    """Train, as far as step `stop` of the prior's stage; gives its closing figures, and its held-out losses by step."""
    told = []

    def tell(phase, step, figures):
        if (phase, step) == ("prior.1", stop) and not told:
            told.append(step)  # a second signal would end it at once
            os.kill(os.getpid(), signal.SIGINT)

    workflow.fit(resolve(None, [*OVERFITS, *options]), folder, on_log=tell)
    return read(folder)


def read(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["phase"] == "prior.1"]
    return rows[-1], {row["step"]: row["heldout_validation_loss"] for row in rows if "heldout_validation_loss" in row}


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory, data):
    """The run, its closing figures, and its held-out losses by step."""
    folder = tmp_path_factory.mktemp("selection") / "whole"
    return folder, *fit(folder, data, f"trainer.prior_steps={STEPS}", f"trainer.prior_validate_every={EVERY}")


def test_it_ends_with_the_weights_of_a_run_that_stops_there(overfitted, data, tmp_path):
    folder, figures, losses = overfitted
    best = min(losses, key=losses.get)
    assert figures["weights_of_step"] == best < STEPS and losses[STEPS] > losses[best] + 0.02
    fit(tmp_path / "stops", data, f"trainer.prior_steps={best}", "trainer.prior_validate_every=0")
    assert files(folder)["prior.safetensors"] == files(tmp_path / "stops")["prior.safetensors"]


@pytest.mark.parametrize("after", [0, 15])
def test_a_run_stopped_at_its_best_weights_or_later_goes_on_with_the_same_bits(overfitted, data, tmp_path, after):
    folder, figures, _ = overfitted
    options = [data, f"trainer.prior_steps={STEPS}", f"trainer.prior_validate_every={EVERY}", "engine.log_every=5"]
    stop = int(figures["weights_of_step"]) + after
    with pytest.raises(InterruptedRunError):
        fit(tmp_path / "stopped", *options, stop=stop)
    workflow.fit(RunConfig.read(tmp_path / "stopped" / "config.yaml"), tmp_path / "stopped", resume=True)
    found, told = files(tmp_path / "stopped"), files(folder)
    assert found["prior.safetensors"] == told["prior.safetensors"]
    assert read(tmp_path / "stopped") == overfitted[1:]


def test_patience_that_ran_out_as_the_run_was_stopped_is_remembered(overfitted, data, tmp_path):
    losses = overfitted[2]
    options = [data, f"trainer.prior_steps={STEPS}", f"trainer.prior_validate_every={EVERY}", "trainer.prior_patience=1"]
    first = next(step for step in losses if step > EVERY and losses[step] >= losses[step - EVERY])
    whole, seen = fit(tmp_path / "whole", *options)
    assert whole["step"] == max(seen) == first and whole["weights_of_step"] == first - EVERY
    with pytest.raises(InterruptedRunError):
        fit(tmp_path / "stopped", *options, stop=first)
    workflow.fit(RunConfig.read(tmp_path / "stopped" / "config.yaml"), tmp_path / "stopped", resume=True)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


@pytest.mark.parametrize("prior", [["prior=vdrme", "prior.energy.width=8", "prior.generator.width=8", "prior.scales=1"]])
def test_a_prior_without_a_judgement_trains_as_without_the_option(tmp_path, data, prior):
    for every in ("auto", "0"):
        options = [data, *FEW, *prior, "trainer.prior_steps=6", f"trainer.prior_validate_every={every}"]
        workflow.fit(resolve(None, options), tmp_path / every)
    assert files(tmp_path / "auto") == files(tmp_path / "0")


def test_a_run_of_before_the_option_goes_on_without_it(tmp_path):
    file = tmp_path / "config.yaml"
    resolve(None, FEW).write(file)
    lines = [line for line in file.read_text().splitlines() if "prior_validate_every" not in line]
    file.write_text("\n".join(lines))
    assert RunConfig.read(file).trainer.options["prior_validate_every"] == 0
    assert resolve(None, FEW).trainer.options["prior_validate_every"] == "auto"
