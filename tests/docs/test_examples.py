"""What the documentation tells the reader to type is understood by the code."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import doc_pages
import pytest
import torch
import typer

from priorkit import core
from priorkit.cli import app
from priorkit.cli.train import refuse
from priorkit.config import resolve
from priorkit.core import Layout, Logger, Sampling
from priorkit.core.backbone import LatentSpace
from priorkit.errors import UsageError
from priorkit.registry import hooks, installed

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMPONENTS = ("backbone", "prior", "sampler", "trainer")
FLAGS = ("backbone", "prior", "sampler", "trainer", "data", "seed", "precision", "devices", "nodes")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands():
    """Those in blocks that are not run; the others are, by `test_blocks`."""
    left_out = [block for page in PAGES for block in doc_pages.blocks(page) if block.reason]
    return sorted({line for block in left_out for line in doc_pages.commands(block) if line.startswith("priorkit ")})


def parsed(line):
    """The command's context, its arguments read and checked, nothing run."""
    command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    return command.make_context(line, words)


def test_there_are_commands_to_check():
    assert len(commands()) > 3


@pytest.mark.parametrize("line", [line for line in commands() if "--help" not in line])
def test_a_command_in_the_documentation_parses(line):
    context = parsed(line)
    if not line.startswith("priorkit train"):
        return
    values = context.params
    if values["resume"] is not None:
        refuse({**{name: values[name] for name in FLAGS}, "set": values["set_"] or None, "from": values["source"]})
    else:
        config = resolve(None, values["set_"], **{name: values[name] for name in FLAGS})
        assert config.backbone.name == (values["backbone"] or "nvae")


def named_options():
    """The `SECTION.KEY=VALUE` that stand in a sentence; values in capitals stand for the reader's own."""
    found = {
        option
        for page in PAGES
        for option in re.findall(
            r"`(?:--set )?((?:prior|sampler|trainer|engine|data|backbone)\.[\w.]+=[^`\s]+)`",
            page.read_text(encoding="utf-8"),
        )
    }
    return sorted(option for option in found if not option.partition("=")[2].isupper())


@pytest.mark.parametrize("option", named_options())
def test_an_option_in_a_sentence_is_understood(option):
    """By one of our plugins at least; the sentence says by which."""
    kind = option.partition(".")[0]
    accepted = []
    for name in installed().names(kind) if kind in COMPONENTS else [None]:
        try:
            accepted.append(resolve(None, [option], **({} if name is None else {kind: name})))
        except UsageError as error:
            reason = error
    assert accepted, reason


def test_a_wrong_option_would_be_noticed():
    with pytest.raises(Exception, match="no-such"):
        parsed("priorkit train --no-such-option 1")


def documented_signatures():
    """(class, method, names of its arguments) of each signature on the contracts' page."""
    page = (ROOT / "docs" / "concepts" / "contracts.md").read_text(encoding="utf-8")
    for section in page.split("\n## ")[1:]:
        for block in re.findall(r"^```pyi\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                method = ast.parse(f"{line.partition('#')[0].rstrip()}: ...").body[0]
                names = [argument.arg for argument in (*method.args.args, *method.args.kwonlyargs)]
                yield section.split(maxsplit=1)[0], method.name, names


def test_the_contracts_have_the_signatures_that_their_page_shows():
    shown = list(documented_signatures())
    assert {kind for kind, _, _ in shown} == {"Backbone", "Prior", "Sampler", "Trainer"}
    for kind, method, names in shown:
        assert names == list(inspect.signature(getattr(getattr(core, kind), method)).parameters), f"{kind}.{method}"


def plugin_example(number):
    return {}, blocks(ROOT / "docs" / "concepts" / "plugins.md", "python")[number]


def test_the_example_prior_is_the_gaussian_it_claims_to_be():
    scope, code = plugin_example(0)
    exec(code, scope)
    prior = scope["ScaledGaussian"](scope["ScaledSettings"](scale=0.5), LatentSpace(Layout(((3,),)), lambda u: u, None))
    u = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 0.5).log_prob(u).sum(1)
    constant = prior.log_prob(u, stages=0) - exact
    torch.testing.assert_close(constant, constant[:1].expand(5))
    draws = prior.draw(20_000, Sampling(None, torch.Generator().manual_seed(1))).u
    # Four standard errors of a standard deviation from 60,000 numbers: 4 * 0.5 / sqrt(2 * 60,000) < 0.006.
    assert abs(draws.std().item() - 0.5) < 0.006


def test_the_example_logger_hears_a_run(capsys, tmp_path):
    scope, code = plugin_example(1)
    exec(code, scope)
    printer = scope["Printer"](tmp_path)
    assert isinstance(printer, Logger)
    hooks([printer]).hook.priorkit_log(phase="prior.1", step=50, figures={"loss": 1.0})
    assert capsys.readouterr().out == "prior.1 50 {'loss': 1.0}\n"
