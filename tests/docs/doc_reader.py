"""A reader who follows a page from the top: saves its files, runs its commands and its Python, in one folder."""

import importlib
import json
import runpy
import shlex
import sys
import tomllib
from argparse import ArgumentParser
from pathlib import Path
from unittest import mock

import pytest
from doc_pages import ROOT, Block, commands
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.config import resolve
from priorkit.registry import installed

SHELL = ("sh", "bash", "shell", "console")


class Parsed(Exception):
    """A benchmark has understood its arguments."""


class Reader:
    """Follows one page in the working folder; `patch` undoes what it installs."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.names = patch, {"__name__": "__page__"}
        self.sources: list[Path] = []

    def follow(self, block: Block) -> None:
        """Do what the block says; raises AssertionError, or whatever its own code raises, with its place."""
        if block.reason:
            return
        if block.file:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        if block.language in SHELL:
            for line in commands(block):
                self.run(line, block.place)
        elif block.language == "python" and not block.file:
            exec(compile(block.code, block.place, "exec"), self.names)
        elif block.language == "yaml":
            path = Path(block.file or "block.yaml")
            path.write_text(block.code, encoding="utf-8")
            resolve(path)
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "toml":
            tomllib.loads(block.code)

    def run(self, line: str, place: str) -> None:
        """One command, in this process."""
        words, target = shlex.split(line, comments=True), ""
        if ">" in words:
            words, (_, target) = words[:-2], words[-2:]
        if words[0] == "priorkit":
            self.forget()
            done = CliRunner().invoke(app, words[1:], prog_name="priorkit")
            assert done.exit_code == 0, f"{place}: `{line}` ended with {done.exit_code}\n{done.output}\n{done.exception!r}"
            if target:
                Path(target).write_text(done.stdout, encoding="utf-8")
        elif words[:3] == ["pip", "install", "-e"] and Path(words[3], "pyproject.toml").exists():
            self.install(Path(words[3]))
        elif words[0] == "python" and words[1].startswith("benchmarks/"):
            self.parse(ROOT / words[1], words[2:])
        elif words[0] == "python" and Path(words[1]).exists():
            runpy.run_path(words[1], run_name="__main__")
        else:
            pytest.fail(f"{place}: `{line}` is no command that this test runs. Say why above: <!-- not run: REASON -->")

    def install(self, folder: Path) -> None:
        """What an editable installation does to the import path and to the entry points."""
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        source = (folder / "src").resolve()
        info = source / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
        points = "".join(f"{key} = {value}\n" for key, value in project["entry-points"]["priorkit"].items())
        (info / "entry_points.txt").write_text(f"[priorkit]\n{points}")
        self.patch.syspath_prepend(str(source))
        self.sources.append(source)

    def forget(self) -> None:
        """Each command is a new process to its reader: it sees the packages as they are now."""
        for source in self.sources:
            for name in [name for name in sys.modules if (source / name.partition(".")[0]).exists()]:
                del sys.modules[name]
        importlib.invalidate_caches()
        installed.cache_clear()

    def parse(self, script: Path, words: list[str]) -> None:
        """A benchmark's arguments, understood by its own parser; what it does then takes minutes to hours."""
        read = ArgumentParser.parse_args

        def stop(parser, *arguments, **options):
            raise Parsed(read(parser, *arguments, **options))

        if "parse_args" not in script.read_text(encoding="utf-8"):
            assert not words, f"{script.name} takes no arguments"
            return
        main = runpy.run_path(str(script))["main"]
        arguments = mock.patch.object(sys, "argv", [str(script), *words])
        with arguments, mock.patch.object(ArgumentParser, "parse_args", stop), pytest.raises(Parsed):
            main()
