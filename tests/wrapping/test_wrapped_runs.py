"""Runs on a wrapped VAE: trained, stored without its code, read again with it."""

import json

import pytest
import torch
from torch import nn
from vaes import Flat, Ladder, flat_arguments, ladder_arguments

import priorkit
from priorkit.config import RunConfig
from priorkit.errors import UsageError
from priorkit.runtime.atomic_files import read_tensors
from priorkit.workflows.measuring.ood import detect
from priorkit.workflows.sharing.model_card import model_card

TINY = {
    "prior": {"energy.width": 16, "pool_size": 200, "stages": 1, "adaptive": False},
    "sampler": {"steps": 3, "pilot_steps": 4},
    "trainer": {"prior_steps": 20, "posterior_samples": 1},
    "engine.threads": 1,
}


def seeded(kind, seed=0):
    torch.manual_seed(seed)
    return kind()


def trained(backbone, out, **changed):
    given = {"prior": "multistage", "data": "digits", "options": TINY, "samples": 60, "quiet": True}
    return priorkit.train(backbone=backbone, out=out, **{**given, **changed})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(wrapped(), tmp_path_factory.mktemp("runs") / "ladder")


def wrapped(seed=0, **changed):
    return priorkit.wrap(**ladder_arguments(seeded(Ladder, seed), **changed))


def test_a_prior_is_trained_and_the_vae_is_not(run):
    assert run.prior.trained_stages == 1 and "wrapped, 2 layers from the top: 2, 3×1×1" in repr(run)
    assert run.sample(3).shape == (3, 1, 8, 8) and run.score(torch.rand(2, 1, 8, 8)).shape == (2,)
    assert {"elbo_nats", "gap_auc", "fd_digits"} <= run.figures.keys()
    assert json.loads((run.folder / "summary.json").read_text())["phases"].keys() == {"prior.1"}
    assert wrapped().has_weights(read_tensors(run.folder / "weights" / "backbone.safetensors"))
    assert not any(parameter.requires_grad for parameter in run.backbone.parameters())


def test_it_is_read_with_a_vae_that_was_never_trained(run):
    again = priorkit.load(run.folder, backbone=wrapped(seed=5))
    assert torch.equal(again.sample(4, seed=1), run.sample(4, seed=1))
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(again.score(x), run.score(x))
    assert priorkit.from_pretrained(run.folder, backbone=wrapped(seed=6)).origin == str(run.folder)


def test_the_same_call_reads_it_and_other_weights_are_another_run(run):
    before = run.session.folder.summary.stat().st_mtime_ns
    again = trained(wrapped(), run.folder)
    assert run.session.folder.summary.stat().st_mtime_ns == before
    assert torch.equal(again.sample(2), run.sample(2))
    other = wrapped(seed=1)
    first = next(other.parameters()).clone()
    with pytest.raises(UsageError, match=r"contains another run, which differs in the weights of the backbone"):
        trained(other, run.folder)
    assert torch.equal(next(other.parameters()), first)
    with pytest.raises(UsageError, match="differs in backbone"):
        trained(wrapped(likelihood="gaussian"), run.folder)
    with pytest.raises(UsageError, match="differs in backbone"):
        trained("twolayer", run.folder, options={"engine.threads": 1})


def test_a_stopped_run_goes_on(run, tmp_path):
    trained(wrapped(), tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    finished = trained(wrapped(), tmp_path / "run")
    assert finished.figures == run.figures and torch.equal(finished.sample(2), run.sample(2))


def test_the_shell_says_in_one_line_what_is_needed(run, call, tmp_path):
    for command in (
        ("sample", run.folder, "--out", tmp_path / "x.png"),
        ("evaluate", run.folder),
        ("train", "--from", run.folder),
    ):
        done = call(*command)
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert "priorkit.load(RUN, backbone=priorkit.wrap(...))" in done.stderr and "latents 2, 3x1x1" in done.stderr
    done = call("train", "--backbone", "wrapped", "--out", tmp_path / "run")
    assert done.exit_code == 2 and "used from Python" in done.stderr and not (tmp_path / "run").exists()
    assert call("report", run.folder, "--out", tmp_path / "run.html").exit_code == 0


def test_another_vae_is_refused_when_it_is_read(run):
    with pytest.raises(UsageError, match=r"expected the result of priorkit\.wrap, got Ladder"):
        priorkit.load(run.folder, backbone=Ladder())
    with pytest.raises(UsageError, match=r"whose code is not in the run"):
        priorkit.load(run.folder)
    with pytest.raises(UsageError, match="the run has likelihood bernoulli, not gaussian"):
        priorkit.load(run.folder, backbone=wrapped(likelihood="gaussian"))
    wide = seeded(Ladder)
    wide.lower = nn.Sequential(nn.Linear(2, 7), nn.SiLU(), nn.Linear(7, 6))
    with pytest.raises(UsageError, match=r"6 tensors differ|lower\.0\.bias \(here \(7,\), in the run \(16,\)\)"):
        priorkit.load(run.folder, backbone=priorkit.wrap(**ladder_arguments(wide)))


def test_a_run_with_its_own_backbone_needs_none(run, tmp_path):
    options = {"backbone.hidden": 8, "trainer.backbone_steps": 2, "engine.threads": 1}
    own = priorkit.train(backbone="twolayer", prior="gaussian", out=tmp_path, options=options, samples=60, quiet=True)
    with pytest.raises(UsageError, match="is installed here; leave backbone= out"):
        priorkit.load(own.folder, backbone=wrapped())


def test_its_model_card_says_that_the_vae_is_needed(run):
    config = RunConfig.read(run.folder / "config.yaml").model_dump(mode="json")
    summary = json.loads((run.folder / "summary.json").read_text())
    card = model_card("me/ladder", config, vars(run.spec), summary)
    assert 'backbone = priorkit.wrap(...)\nmodel = priorkit.from_pretrained("me/ladder", backbone=backbone)' in card


def test_runs_on_it_are_compared_with_their_samples(run, tmp_path, caplog):
    other = trained(wrapped(), tmp_path / "gaussian", prior="gaussian", options={"engine.threads": 1})
    found = priorkit.compare([run, other], out=tmp_path / "table", quiet=True)
    assert "multistage" in repr(found) and "no samples" not in found.page.read_text() + caplog.text
    with pytest.raises(UsageError, match=r"priorkit.compare\(\[first, second\]"):
        priorkit.compare(backbone=wrapped(), priors="gaussian", out=tmp_path / "other")


def test_what_cannot_be_trained_on_it_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match=r"got Flat\. To use a VAE: priorkit\.wrap"):
        trained(Flat(), tmp_path / "run")
    with pytest.raises(UsageError, match="leave source= out"):
        trained(wrapped(), tmp_path / "run", source=run.folder)
    with pytest.raises(UsageError, match=r"its phase .* trains the backbone, but a wrapped VAE is trained already"):
        options = {"engine.threads": 1, "trainer.joint_steps": 2}
        trained(wrapped(), tmp_path / "run", trainer="joint", prior="gaussian", options=options)
    with pytest.raises(UsageError, match=r"the run has sigma 0.5, not 0.1 as given to priorkit.wrap"):
        trained(wrapped(), tmp_path / "run", options={**TINY, "backbone.sigma": 0.5})
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_without_a_likelihood_images_are_scored_by_what_is_defined(tmp_path):
    options = {"engine.threads": 1}
    model = trained(wrapped(likelihood=None), tmp_path / "run", prior="gaussian", options=options)
    assert "elbo_nats" not in model.figures and "reconstruction" in model.figures
    (found,) = detect(model.session, ["ood:blurred"], scores=["gaussian", "elbo"], images=20)
    assert {item.name for item in found.detected} == {"gaussian"}


class Tied(Flat):
    """Encoder and decoder share a weight."""

    def __init__(self):
        super().__init__()
        self.tail = nn.Linear(16, 64)
        self.tail.weight = self.decoder[2].weight

    def decode(self, z):
        return self.tail(self.decoder[1](self.decoder[0](z)))


def test_weights_that_are_shared_are_stored(tmp_path):
    backbone = priorkit.wrap(**flat_arguments(seeded(Tied)))
    model = trained(backbone, tmp_path / "run", prior="gaussian", options={"engine.threads": 1})
    again = priorkit.load(model.folder, backbone=priorkit.wrap(**flat_arguments(seeded(Tied, 3))))
    assert torch.equal(again.sample(2), model.sample(2))
