"""Commands that respond quickly.

typer converts the value of an option with pydantic unless it is a flag that already holds a boolean.  Its own `--help`
holds None, so that every command would import pydantic, at more than the cost of typer itself.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["QuickCommand", "QuickGroup"]


class QuickCommand(TyperCommand):
    """A command whose `--help` holds False where it is not given."""

    def get_help_option(self, ctx: Any) -> Any:
        """The help option with a default."""
        return with_default(super().get_help_option(ctx))


class QuickGroup(TyperGroup):
    """A group of commands whose `--help` holds False where it is not given."""

    def get_help_option(self, ctx: Any) -> Any:
        """The help option with a default."""
        return with_default(super().get_help_option(ctx))


def with_default(option: Any) -> Any:
    """The option, False unless given."""
    if option is not None and option.default is None:
        option.default = False
    return option
