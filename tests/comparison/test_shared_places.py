"""Places of rows: paired differences with known intervals, and rows that cannot be told apart."""

import json
import math
import statistics

import pytest
import torch
from scipy import stats
from seeding import seeded

from priorkit.report.comparison_table import comparison_tables, deciding, shown_rank
from priorkit.report.console import plain_console
from priorkit.report.ranking import Behind, places
from priorkit.workflows.comparing.gather import gather
from priorkit.workflows.comparing.paired import behind
from priorkit.workflows.comparing.run_record import RunRecord

NAME = "fd_digits_heldout"
SURE = "2000 samples; half of a 95 % interval"


def behind_of(difference, half):
    return Behind(difference, half, "")


def test_rows_share_a_place_until_one_is_certainly_worse():
    values = {"a": 1.0, "b": 1.1, "c": 2.0, "d": 2.05, "e": 9.0}
    found = places(list(values), lambda row, first: behind_of(values[row] - values[first], 0.2))
    assert {row: str(rank) for row, rank in found.items()} == {"a": "1=", "b": "1=", "c": "3=", "d": "3=", "e": "5"}
    assert found["a"].behind is None and found["d"].behind.difference == pytest.approx(0.05)


def test_a_row_without_an_interval_cannot_be_told_apart():
    found = places(["a", "b"], lambda row, first: behind_of(100.0, None))
    assert [str(rank) for rank in found.values()] == ["1=", "1="]


def rows(fabricate, values, *, backbone="b0", **how):
    """Runs of two configurations; `values` are pairs, one for each seed."""
    return [
        [fabricate(f"{side}{seed}", f"seed={seed}", f"prior.stages={side + 1}", fd=pair[side], backbone=backbone, **how)
         for seed, pair in enumerate(values)]
        for side in (0, 1)
    ]  # fmt: skip


def test_the_difference_is_a_paired_t_interval(fabricate):
    """The seeds' levels differ by far more than the rows do; against scipy."""
    values = [(1.0, 1.2), (5.0, 5.3), (3.0, 3.1), (9.0, 9.25)]
    leader, row = rows(fabricate, values)
    found = behind(NAME, row, leader)
    expected = stats.ttest_rel([b for _, b in values], [a for a, _ in values]).confidence_interval(0.95)
    assert found.difference - found.half_width == pytest.approx(expected.low)
    assert found.difference + found.half_width == pytest.approx(expected.high)
    assert found.certain and "4 pairs" in found.how
    assert {label: str(rank) for label, rank in gather([*leader, *row], {}, {}).ranks[NAME].items()} == {
        "multistage stages=1": "1", "multistage stages=2": "2"
    }  # fmt: skip


def test_pairs_are_of_the_same_backbone_and_seed(fabricate):
    leader, _ = rows(fabricate, [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)])
    others = [fabricate(f"x{seed}", f"seed={seed}", fd=value) for seed, value in ((2, 3.5), (0, 1.5), (7, 50.0))]
    for run in (*leader, *others):
        run.summary["sample_seed"] = 0  # as of runs that were trained one by one
    found = behind(NAME, others, leader)
    assert found.difference == pytest.approx(0.5) and "2 pairs" in found.how and found.half_width == 0
    elsewhere = [fabricate("y0", "seed=0", fd=1.5, backbone="b1"), fabricate("y1", "seed=1", fd=2.5, backbone="b1")]
    assert behind(NAME, elsewhere, leader).how == "no interval"


def with_resamples(fabricate, name, option, fd, drawn):
    run = fabricate(name, option, fd=fd, protocol=SURE)
    summary = json.loads(run.folder.summary.read_text())
    summary["resamples"] = {NAME: " ".join(f"{value:.8g}" for value in drawn)}
    run.folder.summary.write_text(json.dumps(summary))
    return RunRecord.read(run.folder.path)


def test_one_pair_has_the_interval_of_joint_resamples(fabricate):
    """What both have in common is no uncertainty of their difference."""
    common = 3 * torch.randn(200, generator=seeded(0), dtype=torch.float64)
    own = 0.1 * torch.randn(200, generator=seeded(1), dtype=torch.float64)
    first = with_resamples(fabricate, "a", "prior.stages=1", 10.0, (10 + common).tolist())
    second = with_resamples(fabricate, "b", "prior.stages=2", 10.4, (10.4 + common + own).tolist())
    found = behind(NAME, [second], [first])
    assert found.half_width == pytest.approx(1.959964 * own.std().item(), rel=1e-3)
    assert found.difference == pytest.approx(0.4) and found.certain and "joint bootstrap" in found.how


def test_one_pair_without_resamples_has_both_intervals(fabricate):
    first, second = fabricate("a", "prior.stages=1", protocol=SURE), fabricate("b", fd=1.1, protocol=SURE)
    found = behind(NAME, [second], [first])
    assert found.half_width == pytest.approx(math.hypot(0.1, 0.1)) and not found.certain
    # A standard deviation is no interval: nothing is known of the difference.
    third = fabricate("c", fd=5.0)
    assert behind(NAME, [third], [first]).half_width is None


def test_the_nearer_to_a_half_is_the_better_auc(fabricate):
    more = [{"gap_auc": {"value": value, "spread": 0.01, "protocol": SURE}} for value in (0.45, 0.6)]
    first, second = (fabricate(f"r{i}", f"prior.stages={i + 1}", more=each) for i, each in enumerate(more))
    found = behind("gap_auc", [second], [first])
    assert found.difference == pytest.approx(0.05) and found.certain


def test_the_interval_contains_the_true_difference():
    """5,000 comparisons of 3 seeds: 95 %, within four standard errors."""
    drawn = torch.randn(5_000, 3, generator=seeded(0), dtype=torch.float64)
    half = stats.t.ppf(0.975, 2) * drawn.std(1) / 3**0.5
    assert float((drawn.mean(1).abs() <= half).double().mean()) == pytest.approx(0.95, abs=4 * (0.05 * 0.95 / 5_000) ** 0.5)


def test_tables_and_records_show_the_places(fabricate):
    runs = [run for side in rows(fabricate, [(1.0, 1.1), (2.0, 2.6), (3.0, 2.9)]) for run in side]
    found = gather(runs, {}, {"data": "digits", "backbone": "b"})
    assert deciding(found) == NAME
    assert [shown_rank(found, row) for row in found.rows] == ["", "", "1=", "1="]
    assert all(found.leads(NAME, row) for row in found.priors)
    console = plain_console(width=200, record=True)
    for table in comparison_tables(found):
        console.print(table)
    assert "rank" in console.export_text() and "95 % interval" in found.setting["rank"]
    whole = found.as_dict()["rows"][3]["ranks"][NAME]
    assert whole["place"] == 1 and whole["shared"]
    assert whole["behind"]["difference"] == pytest.approx(statistics.fmean([0.1, 0.6, -0.1]))
