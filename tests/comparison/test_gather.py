"""From fabricated runs to rows: means, spreads, references, refusals, records."""

import csv
import json
import statistics
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.report.charts import front
from priorkit.report.comparison_table import columns, heading
from priorkit.report.direction import ranked
from priorkit.workflows.comparing.gather import comparable, gather
from priorkit.workflows.comparing.record import write_record

SETTING = {"data": "digits", "backbone": "twolayer"}


def row_of(comparison, label):
    return next(row for row in comparison.rows if row.label == label)


def test_seeds_make_a_mean_and_a_spread(fabricate):
    values = [1.0, 1.4, 0.9]
    found = gather([fabricate(f"m{seed}", f"seed={seed}", fd=fd) for seed, fd in enumerate(values)], {}, SETTING)
    value = row_of(found, "multistage").figures["fd_digits"]
    assert value.mean == pytest.approx(statistics.fmean(values))
    assert value.spread == pytest.approx(statistics.stdev(values))
    assert (value.spread_of, value.runs) == ("runs", 3)


def test_a_single_run_keeps_its_own_spread(fabricate):
    found = gather([fabricate("m")], {}, SETTING)
    value = row_of(found, "multistage").figures["fd_digits"]
    assert (value.mean, value.spread, value.spread_of) == (1.0, 0.1, "figure")
    assert "its protocol" in found.setting["spread"]


def test_references_stand_beside_the_priors(fabricate):
    found = gather([fabricate("m")], {}, SETTING)
    assert [row.kind for row in found.rows] == ["reference", "reference", "prior"]
    assert row_of(found, "Gaussian").figures["fd_digits"].mean == 6.0
    assert row_of(found, "posterior samples").figures["fd_digits"].mean == 0.15
    assert row_of(found, "Gaussian").figures["elbo_bpd"].mean == 2.0


BOUND = "bits per dimension, {} prior with log Z = {}, 10 posterior samples each, mean over {} examples"


def figure(value, protocol):
    return {"value": value, "spread": 0.1, "protocol": protocol}


def bound(value, prior, log_z, examples):
    return figure(value, BOUND.format(prior, log_z, examples))


def test_the_gaussians_bound_is_its_own_figure_of_that_name(fabricate):
    """Not its ELBO, which is taken from all held-out data and not from the learned priors' images."""
    learned = {"elbo_prior_bpd": bound(1.9, "learned", "2.5 ± 0.1", 500)}
    assert "elbo_prior_bpd" not in row_of(gather([fabricate("old", more=learned)], {}, SETTING), "Gaussian").figures
    learned["elbo_prior_bpd_gaussian"] = bound(1.95, "Gaussian", "0.000 ± 0", 500)
    found = gather([fabricate("new", more=learned)], {}, SETTING)
    assert row_of(found, "Gaussian").figures["elbo_prior_bpd"].mean == 1.95
    assert "elbo_prior_bpd" not in found.refused and not found.warnings


def test_a_gaussian_run_is_ranked_by_bounds_of_the_same_images_only(fabricate):
    learned = fabricate("m", more={"elbo_prior_bpd": bound(1.9, "learned", "2.5 ± 0.1", 500)})
    alike = fabricate("g", "prior=gaussian", more={"elbo_prior_bpd": bound(1.95, "Gaussian", "0.000 ± 0", 500)})
    other = fabricate("o", "prior=gaussian", more={"elbo_prior_bpd": bound(1.85, "Gaussian", "0.000 ± 0", 1797)})
    assert gather([alike, learned], {}, SETTING).best("elbo_prior_bpd").label == "multistage"
    found = gather([other, learned], {}, SETTING)
    assert found.best("elbo_prior_bpd") is None
    assert "elbo_prior_bpd" in found.warnings[0]


@pytest.mark.parametrize("reference", ["_gaussian", "_posterior"])
def test_what_is_renamed_is_held_against_its_new_neighbours(fabricate, reference):
    """fd_digits of the references comes from another count than that of the priors."""
    told = {f"fd_digits_heldout{reference}": figure(0.1, "100 samples")}
    found = gather([fabricate("a", "prior.stages=1", more=told), fabricate("b", more=told)], {}, SETTING)
    assert "fd_digits_heldout" in found.refused and "fd_digits" in found.warnings[0]
    assert found.best("fd_digits_heldout") is None and found.best("gap_auc") is not None


def test_a_trained_gaussian_takes_the_reference_s_place(fabricate):
    found = gather([fabricate("g", "prior=gaussian"), fabricate("m")], {}, SETTING)
    assert [row.label for row in found.rows] == ["posterior samples", "gaussian", "multistage"]


def test_the_best_is_lowest_highest_or_nearest_to_a_half(fabricate):
    found = gather([fabricate("a", "prior.stages=1", fd=0.5), fabricate("b", "prior.stages=2", fd=2.0)], {}, SETTING)
    assert [row.label for row in found.priors] == ["multistage stages=1", "multistage stages=2"]
    assert found.best("fd_digits_heldout").label == "multistage stages=1"
    assert found.best("samples_per_second").label == "multistage stages=1"
    assert found.best("steps") is None


def test_costs_are_those_of_the_prior(fabricate):
    costs = row_of(gather([fabricate("m")], {}, SETTING), "multistage").costs
    told = {name: value.mean for name, value in costs.items()}
    assert told == {
        "seconds": 7.0, "steps": 60, "samples_per_second": 100.0, "calls_per_sample": 40, "parameters": 3,
        "peak_memory": 2**21,
    }  # fmt: skip


def test_other_counts_are_shown_but_not_ranked(fabricate):
    found = gather([fabricate("a", "prior.stages=1"), fabricate("b", protocol="100 samples")], {}, SETTING)
    assert "fd_digits_heldout" in found.refused
    assert found.best("fd_digits_heldout") is None
    assert found.best("gap_auc") is not None
    assert any("fd_digits" in warning and "gap_auc" not in warning for warning in found.warnings)


def test_other_data_are_never_ranked(fabricate):
    found = gather([fabricate("a", "prior.stages=1"), fabricate("b", content="xyz")], {}, SETTING)
    assert found.best("fd_digits_heldout") is None
    assert found.best("gap_auc") is None
    assert "different data" in found.warnings[0]


def test_what_was_measured_on_the_way_is_no_protocol():
    told = "bits, learned prior with log Z = {} ± {}, 10 posterior samples each"
    assert comparable(told.format("-12.125", "0.03")) == comparable(told.format("3.5", "1e-05"))
    assert comparable("2000 samples") != comparable("100 samples")


def test_a_failed_prior_costs_its_row(fabricate):
    found = gather([fabricate("m")], {"vdrme": "seed 0: diverged"}, SETTING)
    assert (row_of(found, "vdrme").kind, row_of(found, "vdrme").problem) == ("failed", "seed 0: diverged")


def test_both_records_hold_the_same_figures(fabricate, tmp_path):
    found = gather([fabricate("a", "prior.stages=1", fd=0.5), fabricate("b")], {"vdrme": "diverged"}, SETTING)
    write_record(found, tmp_path)
    whole = json.loads((tmp_path / "compare.json").read_text())
    with (tmp_path / "compare.csv").open() as file:
        lines = list(csv.DictReader(file))
    for row in whole["rows"]:
        for name, value in {**row["metrics"], **row["cost"]}.items():
            (line,) = [line for line in lines if (line["prior"], line["metric"]) == (row["prior"], name)]
            assert float(line["value"]) == value["mean"]
    best = [line["prior"] for line in lines if line["metric"] == "fd_digits_heldout" and line["best"] == "True"]
    assert best == ["multistage stages=1"]
    assert lines[-1]["protocol"] == "diverged"


def test_the_front_is_what_nothing_beats_in_both():
    points = [(1.0, 5.0), (2.0, 3.0), (3.0, 4.0), (4.0, 1.0), (4.0, 2.0)]
    assert front(points, "seconds", "fd_digits") == [(1.0, 5.0), (2.0, 3.0), (4.0, 1.0)]
    assert front([(1.0, 5.0), (9.0, 3.0)], "samples_per_second", "fd_digits") == [(9.0, 3.0)]


def test_brackets_in_a_warning_are_printed(fabricate, tmp_path, monkeypatch):
    told = "one of them needs pip install priorkit[hub]"
    found = replace(gather([fabricate("a")], {}, SETTING), warnings=[told])
    monkeypatch.setattr("priorkit.workflows.comparing.compare_runs", lambda *given, **how: found)
    shown = CliRunner().invoke(app, ["compare", "a", "--out", str(tmp_path / "out")])
    assert told in " ".join(shown.output.split())


def test_a_figure_against_training_images_is_shown_and_never_ranked(fabricate):
    found = gather([fabricate("a", "prior.stages=1", fd=0.5), fabricate("b")], {}, SETTING)
    assert found.best("fd_digits") is None and "fd_digits" not in found.ranks
    shown = columns(found)
    assert shown[0] == "fd_digits_heldout" and shown[-1] == "fd_digits"
    assert heading("fd_digits") == "fd to training images ↓ (not ranked)"
    for name in ("copied", "c_t", "authenticity", "fid", "kid", "kd_digits", "precision_digits", "density_digits_heldout"):
        assert not ranked(name), name
    for name in ("kd_digits_heldout", "coverage_digits_heldout", "clipped_density_digits_heldout", "elbo_prior_nats"):
        assert ranked(name), name


def test_copying_stands_beside_the_ranked_figures(fabricate):
    more = {"copied": figure(0.4, "share"), "elbo_prior_nats": figure(-90.0, "nats"), "c_t": figure(-1.0, "5 of 7 cells")}
    other = more | {"c_t": figure(-1.0, "6 of 7 cells")}
    found = gather([fabricate("a", "prior.stages=1", more=more), fabricate("b", more=other)], {}, SETTING)
    assert columns(found)[:3] == ["fd_digits_heldout", "elbo_prior_nats", "copied"] and "c_t" in columns(found)
    assert not found.warnings and not {"copied", "c_t"} & {*found.ranks}
