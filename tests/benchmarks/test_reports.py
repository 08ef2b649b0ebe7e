"""What all benchmarks share: the table, the command that a report names, the file of `--write`, and runs that are there."""

import json
import sys

import pytest
import training
from command_line import benchmark_parser, given_command, publish, typed_command
from markdown_table import markdown_table
from stopping import stop_at
from training import fit_run, is_fitted, train_run

from priorkit.errors import InterruptedRunError

TINY = [
    "backbone=twolayer", "backbone.hidden=4", "backbone.latents=[2, 2]", "prior=gaussian", "sampler.steps=2",
    "sampler.pilot_steps=2", "trainer.backbone_steps=4", "engine.log_every=2", "engine.threads=1",
]  # fmt: skip


def test_a_table_has_a_line_per_row_and_as_many_cells_as_its_head():
    assert markdown_table(("a", "b"), [["1", ""], ["2", "3"]]) == "| a | b |\n|---|---|\n| 1 |  |\n| 2 | 3 |"
    assert markdown_table(("a", "b", "c"), [], numbers=True) == "| a | b | c |\n|---|---:|---:|"
    assert markdown_table((), [["1", "2"]]) == "| 1 | 2 |"


def parsed(*words):
    parser = benchmark_parser("What it does.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prior-steps", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out")
    return parser, parser.parse_args(words)


def test_the_command_of_a_report_has_what_is_not_at_its_default_and_not_where_it_goes():
    words = ("--seeds", "3", "--prior-steps", "7", "--out", "x", "--write", "y", "--set", "a=1", "b=[2, 3]", "--quick")
    command = given_command("benchmarks/some.py", *parsed(*words), lambda value: str(value).upper())
    assert command == "python benchmarks/some.py --prior-steps 7 --set A=1 'B=[2, 3]' --quick"


def test_the_typed_command_goes_without_where_the_results_go(monkeypatch):
    words = ["--out", "x", "--data", "zip:a b", "--write", "y", "--seed", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmarks/some.py", *words])
    assert typed_command(lambda word: word.removeprefix("zip:")) == "python benchmarks/some.py --data 'a b' --seed 1"


def test_a_report_is_printed_and_written_where_a_file_is_named(tmp_path, capsys):
    _, arguments = parsed("--write", str(tmp_path / "new" / "report.md"))
    publish("é\n", arguments.write)
    publish("twice\n", None)
    assert capsys.readouterr().out == "é\n\ntwice\n\n"
    assert arguments.write.read_bytes() == "é\n".encode()


def test_a_run_is_trained_once_and_gone_on_with_after_a_stop(tmp_path, monkeypatch):
    """The weights are those of a run that was not stopped; what is finished is only read."""
    fit_run(tmp_path / "whole", TINY)
    with pytest.raises(InterruptedRunError):
        fit_run(tmp_path / "run", TINY, on_log=stop_at("backbone", 2))
    assert not is_fitted(tmp_path / "run")
    fit_run(tmp_path / "run", [*TINY, "seed=7"], quiet=True)  # a run that was begun keeps its options
    assert is_fitted(tmp_path / "run")
    whole, gone_on = ((tmp_path / name / "weights" / "backbone.safetensors").read_bytes() for name in ("whole", "run"))
    assert whole == gone_on
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("a finished run was trained"))
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"metrics": {}}))
    assert train_run(tmp_path / "run", TINY) == {"metrics": {}}


def test_a_run_takes_the_backbone_of_another(tmp_path):
    fit_run(tmp_path / "base", TINY)
    more = ["prior=ncp", "prior.energy.width=4", "trainer.prior_steps=2", "engine.threads=1"]
    state = fit_run(tmp_path / "run", [*more, "trainer.posterior_samples=1"], tmp_path / "base")
    assert state is not None and is_fitted(tmp_path / "run")
    base, taken = ((tmp_path / name / "weights" / "backbone.safetensors").read_bytes() for name in ("base", "run"))
    assert base == taken
