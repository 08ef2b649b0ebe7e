"""What the documentation tells the reader to type is understood by the code."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import typer

from priorkit.cli import app
from priorkit.config import resolve
from priorkit.core import Layout
from priorkit.core.backbone import LatentSpace
from priorkit.plugins import Logger, hooks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FLAGS = ("backbone", "prior", "sampler", "trainer", "data", "seed", "precision", "devices", "nodes")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands():
    lines = {
        line.strip()
        for page in PAGES
        for language in ("bash", "sh", "console")
        for block in blocks(page, language)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip().startswith("priorkit ")
    }
    return sorted(lines)


def parsed(line):
    """The command's context, its arguments read and checked, nothing run."""
    command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    return command.make_context(line, words)


def test_there_are_commands_to_check():
    assert len(commands()) > 10


@pytest.mark.parametrize("line", [line for line in commands() if "--help" not in line])
def test_a_command_in_the_documentation_parses(line):
    context = parsed(line)
    if line.startswith("priorkit train") and context.params["resume"] is None:
        values = context.params
        config = resolve(None, values["set_"], **{name: values[name] for name in FLAGS})
        assert config.backbone.name == (values["backbone"] or "nvae")


def test_a_wrong_option_would_be_noticed():
    with pytest.raises(Exception, match="no-such"):
        parsed("priorkit train --no-such-option 1")


def plugin_example(number):
    return {}, blocks(ROOT / "docs" / "concepts" / "plugins.md", "python")[number]


def test_the_example_prior_is_the_gaussian_it_claims_to_be():
    scope, code = plugin_example(0)
    exec(code, scope)
    prior = scope["ScaledGaussian"](scope["ScaledSettings"](scale=0.5), LatentSpace(Layout(((3,),)), lambda u: u, None))
    u = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 0.5).log_prob(u).sum(1)
    constant = prior.log_prob(u) - exact
    torch.testing.assert_close(constant, constant[:1].expand(5))
    draws = prior.draw(20_000, sampler=None, generator=torch.Generator().manual_seed(1)).u
    # Four standard errors of a standard deviation from 60,000 numbers: 4 * 0.5 / sqrt(2 * 60,000) < 0.006.
    assert abs(draws.std().item() - 0.5) < 0.006


def test_the_example_logger_hears_a_run(capsys, tmp_path):
    scope, code = plugin_example(1)
    exec(code, scope)
    printer = scope["Printer"](tmp_path)
    assert isinstance(printer, Logger)
    hooks([printer]).hook.priorkit_log(phase="prior.1", step=50, figures={"loss": 1.0})
    assert capsys.readouterr().out == "prior.1 50 {'loss': 1.0}\n"
