"""Whole fits of a tiny joint run: every option trains, a run without an inference network is read back and measured."""

import pytest
import torch
from priorkit_joint import JointTrainer

from priorkit.config import resolve
from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder
from priorkit.workflows.measuring.evaluate import measure
from priorkit.workflows.session import open_run
from priorkit.workflows.training.train import fit

TINY = (
    "trainer=joint",
    "backbone=twolayer",
    "backbone.hidden=16",
    "backbone.latents=[2, 3]",
    "backbone.inference=none",
    "trainer.backbone_steps=3",
    "trainer.joint_steps=6",
    "trainer.batch=16",
    "trainer.chain.steps=2",
    "trainer.stage_samples=30",
    "engine.threads=1",
)
STAGES = ("prior=multistage", "prior.stages=2", "prior.energy.width=8", "prior.pool_size=50")
CHAIN = ("sampler=langevin", "sampler.steps=2")
SHARED = ("trainer.share_prior_samples=true", "prior.layers=all")
VARIANTS = [
    ["prior=gaussian"],
    ["prior=gaussian", "trainer.chain_space=z"],
    [*STAGES, *CHAIN],
    [*STAGES, *CHAIN, "trainer.chain_space=z"],
    [*STAGES, *CHAIN, "trainer.chain_space=z", "prior.energy_input=z"],
    [*STAGES, *CHAIN, "prior.energy_input=z", "trainer.chain.adjusted=true"],
    [*STAGES, *CHAIN, "prior.energy_input=z", "prior.negatives=chain", "trainer.decay=0.5", "trainer.flip=true"],
    [*STAGES, *CHAIN, "prior.energy_input=z", "prior.negatives=posterior"],
    [*STAGES, *CHAIN, "backbone.latents=[4]", "prior.labels=[{name: digit}]"],
    [*STAGES, *CHAIN, "backbone.latents=[2, 2, 3]", "engine.accumulate=2", "engine.precision=bf16"],
    [*STAGES, *CHAIN, "trainer.posterior=variational", "backbone.inference=bottom-up", "prior.energy_input=z"],
    [*STAGES, *CHAIN, "trainer.posterior=variational", "backbone.inference=top-down", "trainer.backbone_steps=0"],
    ["prior=jointebm", "prior.energy.width=8", *CHAIN],
    ["prior=jointebm", "prior.energy.width=8", *CHAIN, "prior.energy_input=z", "trainer.chain_space=z"],
    ["prior=jointebm", "prior.energy.width=8", *CHAIN, "prior.energy_input=z", *SHARED],
    ["prior=jointebm", "prior.energy.width=8", *CHAIN, "prior.energy_input=z", "trainer.chain_space=z", *SHARED],
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: " ".join(options))
def test_every_option_trains(tmp_path, options):
    state = fit(resolve(None, [*TINY, *options]), tmp_path / "run")
    assert state is not None
    assert state.skipped == 0
    learnt = "prior=gaussian" not in options
    assert ("joint.1" in state.done) == learnt
    assert set(state.weights) == ({"backbone", "prior"} if learnt else {"backbone"})
    session = open_run(tmp_path / "run")
    assert session.model.infer(session.data.heldout.batch(torch.arange(3))).u.shape[0] == 3


def test_without_a_network_the_chain_infers_and_the_bound_is_not_defined(tmp_path):
    fit(resolve(None, [*TINY, *STAGES, *CHAIN]), tmp_path / "run")
    session = open_run(tmp_path / "run")
    model, data = session.model, session.data
    x = data.heldout.batch(torch.arange(5))
    posterior = model.infer(x, seed=1)
    assert posterior.kl is None and posterior.log_ratio is None and posterior.u.shape == (5, 5)
    assert torch.equal(posterior.u, model.infer(x, seed=1).u)
    assert model.chain.settings.steps == 2
    figures = measure(model, data, metrics=("reconstruction", "elbo", "gap"), samples=400)
    assert {"reconstruction", "gap_auc", "gap_auc_gaussian"} <= set(figures)
    assert not any(name.startswith(("elbo", "kl")) for name in figures)


def test_generator_and_prior_both_move(tmp_path):
    options = [*TINY, *STAGES, *CHAIN, "trainer.average=0"]
    fit(resolve(None, [*options, "trainer.joint_steps=0", "prior.stages=1"]), tmp_path / "before")
    fit(resolve(None, [*options, "prior.stages=1"]), tmp_path / "after")
    for name in ("backbone", "prior"):
        before, after = (RunFolder(tmp_path / run).load_weights(name) for run in ("before", "after"))
        assert any(not torch.equal(before[key], after[key]) for key in before)
    phases = {record["phase"] for record in RunFolder(tmp_path / "after").records()}
    assert phases == {"backbone", "joint.1"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["backbone=identity", "data=toy:moons", "trainer=joint"], "two-phase"),
        (["backbone=twolayer", "backbone.inference=none", "trainer=two-phase"], "--trainer joint"),
        ([*TINY, "trainer.posterior=variational"], "inference network"),
        ([*TINY, "prior=jointebm", *SHARED], "with energies on u takes no samples"),
        (
            [*TINY, *STAGES, "prior.energy_input=z", "trainer.share_prior_samples=true"],
            "MultistagePrior .* takes no samples",
        ),
    ],
)
def test_pairs_that_make_no_sense_are_refused(tmp_path, options, word):
    with pytest.raises(UsageError, match=word):
        fit(resolve(None, options), tmp_path / "run")


def test_the_gaussian_generator_has_the_same_number_of_steps(tmp_path):
    state = fit(resolve(None, [*TINY, "prior=gaussian"]), tmp_path / "run")
    assert list(state.done) == ["backbone"]
    assert RunFolder(tmp_path / "run").records()[-1]["step"] == 9


def test_the_last_steps_are_the_generators_under_all_stages(tmp_path):
    """With the weights of the joint phases alone, the prior's are the same and the generator's are not."""
    options = [*TINY, *STAGES, *CHAIN, "trainer.average=0", "trainer.final_share=0.25", "trainer.joint_steps=8"]
    state = fit(resolve(None, options), tmp_path / "run")
    shorter = fit(resolve(None, [*options, "trainer.final_share=0", "trainer.joint_steps=6"]), tmp_path / "shorter")
    assert list(state.done) == ["backbone", "joint.1", "joint.2", "final"]
    assert list(shorter.done) == ["backbone", "joint.1", "joint.2"]
    for name, moved in (("backbone", True), ("prior", False)):
        run, before = (RunFolder(tmp_path / folder).load_weights(name) for folder in ("run", "shorter"))
        assert any(not torch.equal(run[key], before[key]) for key in before) == moved


def test_the_variational_scheme_leaves_inference_to_the_backbone():
    assert JointTrainer(JointTrainer.Config(posterior="variational")).posterior is None
    chain = JointTrainer(JointTrainer.Config(chain_space="z")).posterior
    assert chain is not None and chain.space == "z"
