"""`gpu.py`, rehearsed on the CPU with few runs: every part has its table, which names what differs from the CPU."""

import argparse
import json

import gpu
import gpu_correct
import gpu_images
import pytest
import torch
from same_numbers import SameNumbers

CPU = torch.device("cpu")


def rehearsed(part):
    given = argparse.Namespace(rehearse=True, parts=[part], minutes=9.0, data="digits", heldout=None, sheets=None)
    texts, good = zip(*gpu.report(given), strict=True)
    return "\n".join(texts), all(good)


def rows(report):
    """First cells of all lines of tables, with the others."""
    lines = [line.strip("|").split("|") for line in report.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(gpu_correct, "RUNS", {name: gpu_correct.RUNS[name] for name in ("gaussian", "joint-multistage")})
    monkeypatch.setattr(gpu_correct, "CHANGED", gpu_correct.CHANGED[1:])


def test_what_is_equal_is_said_to_be(few):
    report, good = rehearsed("correct")
    assert good
    equal = {name: cells for name, cells in rows(report).items() if cells[-1] == "equal"}
    names = ["gaussian, twolayer", "gaussian, nvae", "joint-multistage, twolayer"]
    names += [f"joint-multistage, twolayer, {order} on cpu" for order in ("begun", "ended")]
    assert list(equal) == names
    assert all(cells[:3] == ["0.0e+00"] * 3 for name, cells in equal.items() if "on cpu" not in name)


def test_other_numbers_and_errors_are_told(few, monkeypatch):
    class Others(SameNumbers):
        def _twin(self, generator):
            return torch.Generator().manual_seed(1)

    monkeypatch.setattr(gpu_correct, "SameNumbers", Others)
    monkeypatch.setattr(gpu_correct, "CHANGED", (("gaussian", "twolayer", "prior.9", 1),))
    monkeypatch.setattr(gpu_correct, "RUNS", {"gaussian": gpu_correct.RUNS["gaussian"]})
    report, good = rehearsed("correct")
    found = rows(report)
    assert not good
    assert found["gaussian, twolayer"][-1] == "**differs**"
    assert "was not stopped" in found["gaussian, twolayer, begun on cpu"][-1]


def test_the_times_and_the_profile():
    report, good = rehearsed("times")
    assert good
    found = rows(report)
    assert all(float(found[f"{setting}, stage 3"][0]) > 0 for setting in ("two-phase", "joint"))
    assert float(found["jointebm, energies on z, small NVAE"][1]) > float(found["jointebm, energies on u, small NVAE"][1])
    assert float(found["ELBO of the NVAE"][2]) > 0
    assert "aten::" in report.split("```text")[1]


def test_priors_have_figures_and_sheets(tmp_path, monkeypatch):
    monkeypatch.delitem(gpu_images.SHARES, "multistage")
    found = gpu_images.images("cpu", ["data=digits"], 9.0, tmp_path / "runs", tmp_path / "sheets", quick=True)
    assert [cells[0] for cells in found] == ["jointebm"] and all("±" in cells[2] for cells in found)
    summary = json.loads((tmp_path / "runs" / "jointebm" / "summary.json").read_text())
    assert summary["backbone"] == "nvae"
    assert {sheet.name for sheet in (tmp_path / "sheets").iterdir()} == {"gaussian.png", "jointebm.png"}


def test_a_part_that_fails_leaves_the_others(monkeypatch):
    monkeypatch.setattr(gpu, "times", lambda *given: 1 / 0)
    report, good = rehearsed("times")
    assert not good and "**failed**" in report and "In all" in report


def test_without_a_gpu_the_report_says_so():
    assert "No GPU was used" in gpu.heading("python benchmarks/gpu.py --rehearse", rehearsal=True)


@pytest.mark.parametrize("apart", [False, True])
def test_the_numbers_are_those_of_the_cpu(apart, monkeypatch):
    if apart:  # as on a GPU, the CPU's tensors are others
        monkeypatch.setattr("same_numbers._to_cpu", lambda value: value.clone() if torch.is_tensor(value) else value)
    draws = (
        lambda given: torch.randn(3, generator=given),
        lambda given: torch.empty(4).uniform_(generator=given),
        lambda given: torch.randint(9, (5,), generator=given),
        lambda given: torch.randperm(6, generator=given),
    )
    for draw in draws:
        plain, within = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
        expected = [draw(plain), draw(plain)]
        with SameNumbers(CPU):
            found = [draw(within), draw(within)]
        assert all(map(torch.equal, found, expected))
        assert torch.equal(within.get_state(), torch.Generator().manual_seed(7).get_state()), "the twin was drawn from"
