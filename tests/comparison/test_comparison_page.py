"""The page of finished runs: what they share, what differs, and in which order they stand."""

import json
import re

import pytest

from priorkit.workflows.comparing import compare_runs, pages


@pytest.fixture
def compared(fabricate, tmp_path, monkeypatch):
    """compare.html and compare.json of two runs, whose backbones have such weights."""
    monkeypatch.setattr(pages, "sheets", lambda firsts, progress: [])

    def make(*weights):
        given = (("worse", "gaussian", 3.0, 200, 0.02), ("better", "multistage", 1.0, 0, 0.01))
        runs = []
        for (name, prior, fd, steps, rate), content in zip(given, weights, strict=True):
            options = (f"prior={prior}", f"trainer.backbone_steps={steps}", f"backbone.optimiser.lr={rate}")
            spent = {} if prior != "gaussian" else {"seconds": {"backbone": 5.0}}
            runs.append(fabricate(name, *options, fd=fd, backbone=content, cost=spent).folder.path)
        compare_runs(runs, tmp_path / "out")
        return (tmp_path / "out" / "compare.html").read_text(), json.loads((tmp_path / "out" / "compare.json").read_text())

    return make


def test_equal_weights_are_told_and_their_training_is_not(compared):
    page, record = compared("same", "same")
    assert "identical in all runs" in page and "2 finished runs" in page
    assert record["setting"]["backbone weights"].startswith("identical")
    options = page[page.index("Quality against cost</h2>") :].split("<h2>All metrics")[0]
    assert "backbone_steps" not in options and "backbone.optimiser" not in options and ">prior.name<" not in options


def test_other_weights_are_not_called_identical(compared):
    page, record = compared("one", "other")
    assert "identical in all runs" not in page and "backbone weights" not in record["setting"]
    assert "trainer.backbone_steps" in page and "backbone.optimiser.lr" in page and ">prior.name<" not in page


def test_the_first_stands_first_and_posterior_samples_last(compared):
    page, record = compared("same", "same")
    rows = re.findall(r'<th scope="row"[^>]*>([^<]*)', page)[:3]
    assert rows == ["multistage", "gaussian", "posterior samples (best reachable)"]
    assert {row["prior"] for row in record["rows"]} == {"multistage", "gaussian", "posterior samples"}  # as before


def test_what_the_columns_mean_is_on_the_page_and_no_tip_is_promised(compared):
    page, _ = compared("same", "same")
    assert "<dt>Fréchet distance to held-out images</dt><dd>how far" in page
    assert "Tips" not in page and "All metrics and costs" in page and "figure's" not in page
