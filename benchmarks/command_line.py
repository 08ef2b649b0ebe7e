"""A benchmark's command line: its options, the command that its report names, and where the report goes."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from priorkit.runtime.atomic_files import write_bytes

__all__ = ["benchmark_parser", "given_command", "publish", "save", "typed_command"]

RESULTS = ("out", "write")
"""Options that say where results go; a report's command goes without them."""


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows the script's docstring as it is, with `--write`, which `publish` and `save` take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="also write the report to this file")
    return parser


def publish(text: str, path: Path | None) -> None:
    """Print a report, and write it to the file of `--write`, if one is given."""
    print(text)
    save(text, path)


def save(text: str, path: Path | None) -> None:
    """Write a report that is printed already to the file of `--write`, if one is given."""
    if path is not None:
        write_bytes(path, text.encode())


def given_command(
    script: str, parser: argparse.ArgumentParser, arguments: argparse.Namespace, short: Callable[[Any], str] = str
) -> str:
    """The command with the options that are not at their defaults, each value as `short` writes it."""
    words = ["python", script]
    for name, value in vars(arguments).items():
        if name not in RESULTS and value != parser.get_default(name):
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(short, values)]
    return shlex.join(words)


def typed_command(short: Callable[[str], str] = str) -> str:
    """The command as it was typed, each word as `short` writes it."""
    words = iter(sys.argv)
    options = [f"--{name}" for name in RESULTS]
    return f"python {shlex.join([short(word) for word in words if word not in options or not next(words)])}"
