"""A run's page draws the hole by layer where its folder holds it, and tables rank the share that priors close."""

import json

import pytest

from priorkit.report.comparison_table import columns
from priorkit.workflows.comparing.gather import gather
from priorkit.workflows.comparing.run_page import write_run_page
from priorkit.workflows.comparing.run_record import RunRecord

HOLE = {f"hole_{name}": {"value": value, "spread": 0.2, "protocol": "held-out"} for name, value in
        (("top_0", 16.6), ("top_1", 9.3), ("top_2", 5.5), ("only_0", 16.4), ("only_1", 6.0), ("shuffled", 9.3))}  # fmt: skip


def test_the_page_draws_what_evaluate_printed_into_the_run_s_folder(fabricate, tmp_path):
    run = fabricate("run")
    write_run_page(run, tmp_path / "before.html")
    assert "prior hole by layer" not in (tmp_path / "before.html").read_text().lower()
    (run.folder.path / "hole.json").write_text(json.dumps({"run": "run", "metrics": HOLE}))
    (run.folder.path / "broken.json").write_text(json.dumps({"metrics": {"hole_top_0": {"other": 1}}}))
    bounds = {"hole_nats_lower": HOLE["hole_top_0"]}  # of another group, in a file that comes first
    (run.folder.path / "bounds.json").write_text(json.dumps({"metrics": bounds}))
    found = RunRecord.read(run.folder.path)
    assert {name: figure.value for name, figure in found.hole.items()} == {n: f["value"] for n, f in HOLE.items()}
    write_run_page(found, tmp_path / "after.html")
    page = (tmp_path / "after.html").read_text()
    assert "Prior hole by layer" in page and "layers of different images" in page


def test_the_page_draws_what_the_summary_holds(fabricate):
    run = fabricate("run")
    summary = json.loads(run.folder.summary.read_text())
    summary["metrics"] |= HOLE
    run.folder.summary.write_text(json.dumps(summary))
    (run.folder.path / "MANIFEST.json").unlink(missing_ok=True)  # which has the checksum of the summary before
    assert {*RunRecord.read(run.folder.path).hole} == {*HOLE}


def test_the_share_is_a_headline_with_its_interval(fabricate, tmp_path):
    run = fabricate("run")
    metrics = run.summary["metrics"]
    metrics["share_closed"] = {"value": 0.456, "spread": 0.0789, "protocol": "an interval of the share"}
    ends = {"_gaussian": 6.3, "": 3.5, "_posterior": 0.14}
    metrics |= {f"fd_digits_heldout{end}": {"value": v, "spread": 0.1, "protocol": "95 %"} for end, v in ends.items()}
    write_run_page(run, tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text()
    told = (
        "The learned prior closes 46 % (95 % interval 38 to 53 %) of the prior hole. Fréchet distance to held-out images: "
    )
    assert (
        page.index(told)
        < page.index(">share closed<")
        < page.index("<details>")
        < page.index("<td", page.index("<details>"))
    )
    assert "0.46 ±0.08" in page and "an interval of the share" in page[page.index("<details>") :]


def test_the_share_stands_after_the_distance_and_more_of_it_is_better(fabricate):
    rows = []
    for name, share in (("a", 0.3), ("b", 0.7)):
        run = fabricate(name, f"prior.stages={3 if name == 'a' else 4}")
        run.summary["metrics"]["share_closed"] = {"value": share, "spread": 0.1, "protocol": "held-out"}
        rows.append(run)
    found = gather(rows, {}, {"data": "digits"})
    assert columns(found)[0] == "fd_digits_heldout" and "share_closed" in columns(found)
    assert found.best("share_closed").figures["share_closed"].mean == pytest.approx(0.7)
