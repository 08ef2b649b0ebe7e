"""The ablations without their training: which runs they need, how a drawing is made, the cells of the tables."""

import json
import statistics

import pytest
from ablations import NAMES, discrete, page, stage_losses, work
from ablations_plan import ABLATIONS, Drawing
from ablations_runs import Judge, Place, VdrmeWithoutNoise, carry_out, figures_of, run_of

import priorkit
from priorkit.config import resolve
from priorkit.registry import installed
from priorkit.workflows.session import open_run
from priorkit.workflows.training.train import fit

THREE = ABLATIONS["stages"].rows[-2].fit


@pytest.fixture(scope="module", autouse=True)
def registry():
    """No other test sees what these register."""
    priorkit.register("prior.vdrme-no-noise", VdrmeWithoutNoise)
    yield
    installed.cache_clear()


def test_runs_are_shared_and_shares_have_their_row():
    fits = work(NAMES)
    assert len({fit.name for fit in fits}) == len(fits) < sum(len(ablation.rows) for ablation in ABLATIONS.values()) / 2
    assert all(len(set(drawings)) == len(drawings) for drawings in fits.values())
    assert set(work(["chain", "sampling"])) < set(fits) and discrete(fits).decoder == "logistic"
    for ablation in ABLATIONS.values():
        labels = [row.label for row in ablation.rows]
        assert len(set(labels)) == len(labels) and {row.base or ablation.base for row in ablation.rows} <= set(labels)
    for wanted in fits:
        resolve(None, [*wanted.options, f"backbone.decoder={wanted.decoder}"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on a small backbone, in the place where a benchmark with three steps looks for it."""
    place = Place(tmp_path_factory.mktemp("ablations"), 3, 1, 60)
    options = ["prior.stages=2", "prior.pool_size=20", "sampler.steps=3", "sampler.pilot_steps=2", "engine.threads=1"]
    trainer = ["trainer.backbone_steps=1", "trainer.prior_steps=2", "trainer.posterior_samples=1", "engine.log_every=1"]
    config = resolve(None, [*options, *trainer, "backbone=twolayer", "prior.energy.coupling=separable"])
    fit(config, run_of(place, THREE, 0))
    return place


def test_drawings_of_one_run(run):
    judge = Judge(open_run(run_of(run, THREE, 0)), 0, 60)
    session = open_run(run_of(run, THREE, 0), data=judge.data)
    (gaussian, _), (joint, _) = judge._draw(session, Drawing(stages=0)), judge._draw(session, Drawing())
    (short, _), (posterior, _) = judge._draw(session, Drawing(steps=1)), judge._draw(session, Drawing(posterior=True))
    (progressive, _) = judge._draw(session, Drawing(progressive=True))
    drawn = [gaussian, joint, short, posterior, progressive]
    assert all(u.shape == gaussian.shape for u in drawn)
    assert all(not a.equal(b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert judge._draw(open_run(judge.run, data=judge.data), Drawing())[0].equal(joint)


def test_figures_are_read_back(run, monkeypatch):
    drawings = [Drawing(), Drawing(stages=0), Drawing(posterior=True)]
    monkeypatch.setattr("ablations_runs.fit_run", lambda *_, **__: pytest.fail("a finished run was trained"))
    carry_out(run, THREE, 0, drawings)
    first = [figures_of(run, THREE, 0, drawing) for drawing in drawings]
    assert len({figures["fd_digits"] for figures in first}) == 3
    monkeypatch.setattr(Judge, "figures", lambda *_: pytest.fail("a figure was measured twice"))
    carry_out(run, THREE, 0, drawings)
    assert [figures_of(run, THREE, 0, drawing) for drawing in drawings] == first


def test_losses_by_layer(run):
    found = stage_losses(run_of(run, THREE, 0), 1)
    layers = [found["layer 0 (top)"], found["layer 1"]]
    assert found["mean of the layers"] == pytest.approx(statistics.mean(layers)) and 1 < min(layers) < 1.5
    assert 1 < found["mean of the layers, held out"] < 1.5


def test_the_page(tmp_path):
    place = Place(tmp_path, 3, 1, 60)
    fits = work(["scales"])
    for number, wanted in enumerate(fits, start=1):
        for seed in (0, 1):
            folder = run_of(place, wanted, seed)
            folder.mkdir(parents=True)
            figures = {"fd_digits": 2.0 * number + seed, "gap_auc": 0.5, "seconds": 1.0}
            kept = {"samples=60": figures, "samples=60 posterior=True": figures}
            (folder / "benchmark.json").write_text(json.dumps(kept))
    text = page(place, ["scales"], range(2))
    assert "| K = 4 | 2.500 ± 0.707 | 1.00 | 7.83 | 1.00 | 0.500 ± 0.000 | 1.000 ± 0.000 |" in text
    assert "| K = 6 | 4.500 ± 0.707 | 1.80 | 7.62 | 0.97 |" in text
    assert all(f"[start:{name}]" in text and f"[end:{name}]" in text for name in (*NAMES, "about"))
    assert text.count("Not part of this run.") == len(NAMES) - 1
