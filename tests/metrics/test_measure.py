"""What `measure` gives for a model, and what it leaves out, on untrained models."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from priorkit_gaussian import GaussianPrior
from priorkit_mixture import MixturePrior, MixtureSettings
from rich.console import Console

from priorkit.config import resolve
from priorkit.core import Chain, Draw, Sampler, Settings
from priorkit.data import array
from priorkit.metrics import Metric
from priorkit.model import CHUNK, Model
from priorkit.report.pictures import diagnostics, losses
from priorkit.report.table import prior_table
from priorkit.workflows.assemble import build_model
from priorkit.workflows.comparing.gather import comparable
from priorkit.workflows.measuring import groups
from priorkit.workflows.measuring.evaluate import measure
from priorkit.workflows.measuring.variants import priors_of
from priorkit.workflows.sampling.draws import Draws

NO_SHARE = "share_closed is left out: the Gaussian prior and posterior samples are indistinguishable"
"""Which is so of untrained models."""


def images(count, holdout):
    pixels = np.random.RandomState(0).randint(0, 17, (count, 1, 8, 8)).astype(np.uint8)
    return array(pixels, levels=17, holdout=holdout)


def model(data, *options, active=2):
    torch.set_num_threads(1)
    sizes = ["backbone.hidden=8", "backbone.latents=[2, 2]", "prior.energy.width=4", "prior.stages=2", "sampler.steps=2"]
    config = resolve(None, [*sizes, *options], backbone="twolayer", data="digits")
    made = build_model(config, data.spec, torch.device("cpu"))
    if hasattr(made.prior, "active"):
        made.prior.active.fill_(active)
        for number, energy in enumerate(made.prior.energies):
            torch.nn.init.normal_(list(energy.parameters())[-1], std=number + 1.0)
    made.backbone.eval().requires_grad_(False)
    made.prior.eval().requires_grad_(False)
    return made


def test_too_few_held_out_data_leave_out_the_gap_alone(caplog):
    data = images(130, 0.3)
    figures = measure(model(data), data, samples=60)
    assert {"reconstruction", "elbo_nats", "fd_digits", "fd_digits_stage_2", "fd_digits_posterior"} <= set(figures)
    assert not any(name.startswith("gap_auc") for name in figures)
    (line,) = (line for line in caplog.messages if not line.startswith(NO_SHARE))
    assert line.startswith("gap is left out: it needs 50 held-out")
    assert all(figure.protocol.endswith(f"; data: {data.protocol}") for figure in figures.values())


def test_log_z_of_a_normalised_prior_is_exact():
    data = images(200, 0.5)
    base = model(data)
    prior = MixturePrior(MixtureSettings(components=2), base.backbone.space())
    prior.mixtures[0].set(
        {"log_weights": torch.tensor([0.5, 0.5]).log(), "means": torch.ones(2, 4), "factors": torch.ones(2, 4)}
    )
    figures = measure(Model(base.backbone, prior.eval(), base.sampler, data.spec), data, samples=60, metrics=("logz",))
    assert (figures["log_z"].value, figures["log_z"].spread) == (0.0, None)
    assert "log_z_lower" not in figures and "log Z = 0.000" in figures["elbo_prior_nats"].protocol


def test_a_prior_of_ratio_1_has_the_gaussians_bound_by_every_route():
    """A multi-stage prior whose energies are 0, the Gaussian figures beside it, and a run of the Gaussian prior: one number
    and one protocol, though there are more held-out images than the bounds are measured on."""
    data = images(1_400, 0.5)
    learned = model(data)
    gaussian = Model(learned.backbone, GaussianPrior(Settings(), learned.backbone.space()), learned.sampler, data.spec)
    for energy in learned.prior.energies:
        torch.nn.init.zeros_(list(energy.parameters())[-1])
        torch.nn.init.zeros_(list(energy.parameters())[-2])
    found, alone = (measure(one, data, samples=60, metrics=("elbo", "logz")) for one in (learned, gaussian))
    assert "log_z" not in alone
    for name in ("elbo_prior_nats", "iw_prior_nats"):
        same = [found[name], found[f"{name}_gaussian"], alone[name]]
        assert same[1].value == same[2].value
        assert same[0].value == pytest.approx(same[1].value, abs=1e-6)
        assert len({comparable(figure.protocol) for figure in same}) == 1
        assert "mean over 500 examples" in same[0].protocol
    assert "mean over 700 examples" in found["elbo_nats"].protocol
    assert found["iw_prior_nats_gaussian"].value == found["iw_nats"].value


def test_without_held_out_data_there_is_still_the_distance(caplog):
    data = images(60, 0)
    figures = measure(model(data), data, samples=60)
    assert {name.split("_")[0] for name in figures} == {"fd", "log", "copied", "authenticity"}  # log Z needs no data
    left_out = ["reconstruction", "elbo", "elbo_prior", "gap", "fd_digits_heldout", "copied_heldout", "coverage", "kernel"]
    assert [line.split()[0] for line in caplog.messages] == left_out


def test_diverged_chains_leave_out_their_figures_alone(caplog):
    data = images(200, 0.5)
    broken = model(data)
    draw = broken.prior.draw
    broken.prior.draw = lambda n, how: Draw(draw(n, how).u * (torch.nan if how.stages is None else 1))
    figures = measure(broken, data, samples=100, metrics=("gap", "fd"))
    assert {"gap_auc_gaussian", "gap_auc_stage_1", "fd_digits_gaussian", "fd_digits_stage_1"} <= set(figures)
    assert not {"gap_auc", "gap_auc_stage_2", "fd_digits", "fd_digits_stage_2"} & set(figures)
    told = [line for line in caplog.messages if not line.startswith(NO_SHARE)]
    assert len(told) == 2 and all("diverged" in line for line in told)


def test_each_chunk_is_drawn_once_and_each_step_size_chosen_once(monkeypatch):
    data = images(300, 0.5)
    measured = model(data, "sampler.choose=displacement", "sampler.pilot_steps=2")
    drawn, tuned = [], []
    draw, tune = type(measured.prior).draw, Model.tuned
    monkeypatch.setattr(type(measured.prior), "draw", lambda self, n, how: drawn.append(how.stages) or draw(self, n, how))
    monkeypatch.setattr(Model, "tuned", lambda self, stages=None: tuned.append(stages) or tune(self, stages))
    draws = Draws(measured)
    measure(measured, data, samples=250, metrics=("gap", "fd"), draws=draws)
    draws.latents(64, stages=2)
    assert sorted(drawn, key=str) == [1] * 3 + [None] * 3
    assert sorted(tuned, key=str) == [0, 1, None]


def test_samples_and_classifiers_of_a_metric_have_bars_of_their_own(monkeypatch):
    titles = []

    def seen(items, total, title, *, start=0):
        titles.append(title)
        return items

    def area(*_, progress, **__):
        list(progress(range(3), 3, "classifiers"))
        return {"all": Metric(0.5, None, "")}

    monkeypatch.setattr(groups, "gap_auc", area)
    data = images(130, 0.5)
    measure(model(data), data, samples=60, metrics=("gap",), progress=seen)
    sampled = ["sampling after 0 stages", "sampling after 1 stages", "sampling the prior"]
    assert titles == ["gap_auc", *(title for one in sampled for title in (one, "classifiers"))]


def test_shared_draws_are_the_model_s_samples():
    data = images(60, 0)
    made = model(data)
    draws = Draws(made, seed=3)
    draws.latents(5)
    for stages in (None, 0, 1, 2):
        assert torch.equal(draws.latents(130, stages), made.sample_latents(130, seed=3, stages=stages))
    assert torch.equal(draws.chains()[-1].u, draws.latents(CHUNK))


@dataclass
class Watching(Sampler):
    seen: list

    def run(self, log_prob, start, *, generator=None, keep_every=0):
        return Chain(start)

    def tuned(self, log_prob, start, *, generator=None):
        self.seen.append((log_prob(start), start))
        return self


def test_the_step_size_is_chosen_on_the_density_that_is_sampled():
    data = images(60, 0)
    made = model(data)
    made.sampler = Watching([])
    for stages in (1, 2, None):
        made.tuned(stages)
        value, start = made.sampler.seen[-1]
        assert torch.equal(value, made.prior.log_prob(start, stages=stages))
    assert not torch.allclose(made.sampler.seen[0][0], made.sampler.seen[1][0])
    made.tuned(0)
    assert len(made.sampler.seen) == 3


def test_posterior_noise_differs_between_chunks_and_repeats():
    """Copies of one image in different chunks and repeats get different samples."""
    data = array(np.full((1100, 1, 8, 8), 3, np.uint8), levels=17, holdout=0.5)
    seen = []
    made = model(data)
    infer = made.backbone.infer
    made.backbone.infer = lambda x, **how: seen.append(infer(x, **how)) or seen[-1]
    measure(made, data, samples=1100, metrics=("gap",))
    tops = [part.u[:50] for part in seen]
    assert len(tops) == 4
    assert all(not torch.equal(tops[i], tops[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize(
    ("stages", "active", "endings"),
    [
        (1, 1, [("_gaussian",), ("", "_stage_1")]),
        (3, 2, [("_gaussian",), ("_stage_1",), ("", "_stage_2")]),
        (3, 0, [("_gaussian", "")]),
    ],
)
def test_names_of_the_priors(stages, active, endings):
    made = model(images(60, 0), f"prior.stages={stages}", active=active)
    assert [names for names, _ in priors_of(made)] == endings


def test_stages_are_in_the_order_of_their_numbers():
    names = ["_gaussian", *(f"_stage_{m}" for m in range(1, 12)), ""]
    table = prior_table({f"fd_digits{name}": Metric(float(i), None, "") for i, name in enumerate(names)})
    headers = [str(column.header) for column in table.columns]
    assert headers == ["metric", "Gaussian", *(f"stage {m}" for m in range(1, 11)), "learned"]
    Console(quiet=True).print(table)
    figure = losses([{"phase": f"prior.{m}", "step": 1, "loss": 1.0} for m in (10, 2, 1)])
    assert [axis.get_title() for axis in figure.axes] == ["prior.1", "prior.2", "prior.10"]


def test_losses_of_joint_training_are_the_priors():
    row = {"step": 1, "generator.loss": -9.0, "nce.loss": 1.0, "nce.chance": 1.4, "nce.layer.0": 0.5}
    records = [{"phase": "backbone", "step": 1, "loss": 2.0}, *({"phase": f"joint.{m}", **row} for m in (1, 2))]
    figure = losses(records)
    assert [axis.get_title() for axis in figure.axes] == ["joint.1", "joint.2"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["nce layer 0", "nce loss", "chance"]
    assert losses(records[:1]) is None


def test_losses_mark_the_step_whose_weights_the_stage_ends_with():
    steps = [{"phase": "prior.1", "step": step, "loss": 1.0} for step in (1, 2, 3)]
    judged = [{"phase": "prior.1", "step": step, "heldout_validation_loss": loss} for step, loss in ((1, 3.0), (2, 1.0))]
    axis, own = losses([*steps, *judged, {"phase": "prior.2", "step": 1, "heldout_validation_loss": 0.0}]).axes
    (held,) = own.lines  # on an axis of its own, as the training loss is 1.0 in all steps
    assert list(held.get_xdata()) == [1, 2] and list(held.get_ydata()) == [3.0, 1.0]
    (marked,) = [line for line in axis.lines if line.get_label() == "least held-out loss"]
    assert list(marked.get_xdata()) == [2, 2]
    falling = [row | {"loss": 4.0 - row["step"]} for row in steps]
    (axis,) = losses([*falling, *judged]).axes
    assert [line.get_label() for line in axis.lines] == ["loss", "held-out loss", "least held-out loss"]


def test_the_diagnostics_that_chains_have_are_drawn():
    line = torch.arange(4.0)
    chains = [Chain(torch.zeros(1, 1), {"energy": line, "displacement": line, "finite": line})] * 2
    figure = diagnostics(chains)
    assert len(figure.axes) == 2 and all(len(axis.lines) == 2 for axis in figure.axes)
    assert diagnostics([Chain(torch.zeros(1, 1), {"energy": line[:1]})]) is None and diagnostics([]) is None
