"""Commands that respond quickly, and whose usage errors have the terminal's width.

typer converts the value of an option with pydantic unless it is a flag that already holds a boolean.  Its own `--help`
holds None, so that every command would import pydantic, at more than the cost of typer itself.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperCommand, TyperGroup

from priorkit.cli.wrapping import wrapped

__all__ = ["QuickCommand", "QuickGroup"]

HEAD = "Error: "
"""The beginning of usage errors."""


class QuickCommand(TyperCommand):
    """A command whose `--help` holds False where it is not given."""

    def get_help_option(self, ctx: Any) -> Any:
        """The help option with a default."""
        return with_default(super().get_help_option(ctx))

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """The context of the command's arguments."""
        with folding():
            return super().make_context(*arguments, **options)


class QuickGroup(TyperGroup):
    """A group of commands whose `--help` holds False where it is not given."""

    def get_help_option(self, ctx: Any) -> Any:
        """The help option with a default."""
        return with_default(super().get_help_option(ctx))

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """The context of the group's arguments."""
        with folding():
            return super().make_context(*arguments, **options)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name."""
        with folding():
            return super().resolve_command(ctx, args)


@contextmanager
def folding() -> Iterator[None]:
    """Wrap the messages of usage errors raised inside at the terminal's width."""
    try:
        yield
    except Exception as error:  # click's own exceptions, whose module newer versions of typer keep to themselves
        tell = getattr(error, "format_message", None)
        if tell is not None and sys.stderr is not None and sys.stderr.isatty():
            told = wrapped(HEAD + tell(), shutil.get_terminal_size().columns).removeprefix(HEAD)
            error.format_message = lambda: told  # type: ignore[attr-defined]
        raise


def with_default(option: Any) -> Any:
    """The option, False unless given."""
    if option is not None and option.default is None:
        option.default = False
    return option
