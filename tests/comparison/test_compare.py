"""A whole comparison of tiny runs: trained, recorded, drawn; then gone on with."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.workflows.comparing.gather import comparable

TINY = [
    "backbone.hidden=16", "backbone.latents=[2, 3]", "multistage:prior.energy.width=8", "multistage:prior.pool_size=50",
    "multistage:prior.stages=2", "sampler=langevin", "sampler.steps=2", "trainer.backbone_steps=4", "trainer.prior_batch=16",
    "trainer.posterior_samples=1", "engine.threads=1",
]  # fmt: skip


def compare(out, *more):
    options = [part for option in TINY for part in ("--set", option)]
    given = ["--backbone", "twolayer", "--priors", "gaussian,multistage", "--samples", "40", "--budget", "steps:4"]
    return CliRunner().invoke(app, ["compare", *given, *options, "--jobs", "0", "--out", str(out), *more])


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    result = compare(folder)
    assert result.exit_code == 0, result.output
    return folder


def test_rows_have_figures_and_costs(out):
    found = json.loads((out / "compare.json").read_text())
    rows = {row["prior"]: row for row in found["rows"]}
    assert list(rows) == ["posterior samples", "gaussian", "multistage"]
    assert found["warnings"] == []
    assert {"fd_digits", "fd_digits_stage_1"} <= set(rows["multistage"]["metrics"])
    bounds = [rows[name]["metrics"]["elbo_prior_nats"]["protocol"] for name in ("gaussian", "multistage")]
    assert comparable(bounds[0]) == comparable(bounds[1])
    for name in ("fd_digits_heldout", "elbo_prior_nats"):
        ranks = [rows[prior]["ranks"][name] for prior in ("gaussian", "multistage")]
        # One seed: both runs recorded the same resamples. Whichever is first, the other is compared with it, if not apart.
        assert {rank["place"] for rank in ranks} in ({1}, {1, 2})
        found = [rank["behind"]["how"] for rank in ranks if rank["behind"] is not None]
        assert {*found} <= {"joint bootstrap of one pair of runs"}
    run = next(run for run in (out / "runs").iterdir() if run.name.startswith("multistage"))
    resamples = json.loads((run / "summary.json").read_text())["resamples"]
    assert {"fd_digits_heldout", "elbo_prior_nats"} <= set(resamples) and not any("_stage_" in name for name in resamples)
    assert all(len(told.split()) == 200 for told in resamples.values())
    costs = {name: value["mean"] for name, value in rows["multistage"]["cost"].items()}
    assert (costs["steps"], costs["calls_per_sample"]) == (4, 2)
    assert costs["samples_per_second"] > 0
    assert costs["parameters"] > 0
    assert rows["gaussian"]["cost"]["calls_per_sample"]["mean"] == 0
    assert (out / "compare.csv").read_text().startswith("prior,kind,metric,value")


def test_one_backbone_is_shared(out):
    (backbone,) = (out / "backbones").iterdir()
    weights = (backbone / "weights" / "backbone.safetensors").read_bytes()
    runs = sorted((out / "runs").iterdir())
    assert [run.name.split("-")[0] for run in runs] == ["gaussian", "multistage"]
    assert all((run / "weights" / "backbone.safetensors").read_bytes() == weights for run in runs)


def test_the_page_stands_alone(out):
    page = (out / "compare.html").read_text()
    assert page.count("data:image/png;base64,") >= 3
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert str(out) not in page


def test_the_same_command_trains_only_what_is_missing(out):
    runs = {run.name.split("-")[0]: run for run in (out / "runs").iterdir()}
    before = (runs["gaussian"] / "summary.json").stat().st_mtime_ns
    figures = json.loads((runs["multistage"] / "summary.json").read_text())["metrics"]
    shutil.rmtree(runs["multistage"])
    assert compare(out).exit_code == 0
    assert (runs["gaussian"] / "summary.json").stat().st_mtime_ns == before
    assert json.loads((runs["multistage"] / "summary.json").read_text())["metrics"] == figures


def test_a_prior_has_a_second_row(out, tmp_path):
    out = shutil.copytree(out, tmp_path / "copy")
    further = ["energy.width=8", "pool_size=50", "stages=1"]
    options = [part for option in further for part in ("--set", f"multistage/one:prior.{option}")]
    result = compare(out, "--priors", "gaussian,multistage,multistage/one", *options)
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "compare.json").read_text())["rows"]
    runs = {row["prior"]: row["runs"] for row in rows if row["kind"] == "prior"}
    assert list(runs) == ["gaussian", "multistage", "multistage/one"]
    assert runs["multistage"] != runs["multistage/one"]


def test_finished_runs_can_be_named(out, tmp_path):
    runs = [str(run) for run in (out / "runs").iterdir()]
    result = CliRunner().invoke(app, ["compare", *runs, "--out", str(tmp_path / "again"), "--json"])
    assert result.exit_code == 0, result.output
    assert {row["kind"] for row in json.loads(result.stdout)["rows"]} == {"prior", "reference"}


def test_a_run_has_a_page(out, tmp_path):
    run = next(run for run in (out / "runs").iterdir() if run.name.startswith("multistage"))
    result = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "run.html")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "run.html").read_text()
    assert 'title="fd_digits_heldout"' in page and "Fréchet distance to held-out images" in page and "stage 1" in page
    assert str(run) not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either finished runs, or priors"),
        (["runs/a", "--priors", "gaussian"], "either finished runs, or priors"),
        (["runs/a", "--budget", "steps:3"], "--budget"),
        (["runs/absent"], "not a run"),
        (["--priors", "gaussian,absent"], "absent"),
        (["--priors", "multistage", "--set", "multistage:prior.stagse=2"], "stagse"),
        (["--priors", "multistage,multistage/same"], "have equal options"),
        (["--priors", "gaussian", "--budget", "hours:2"], "steps:N or seconds:S"),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(tmp_path, arguments, message):
    result = CliRunner().invoke(app, ["compare", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "out").exists()
