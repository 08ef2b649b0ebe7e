"""`priorkit plugins list` and `priorkit plugins show NAME`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from priorkit.cli.quick import QuickCommand, QuickGroup

if TYPE_CHECKING:
    from priorkit.plugins.entry import Entry
    from priorkit.plugins.options import Option

__all__ = ["plugins"]

plugins = typer.Typer(
    cls=QuickGroup, no_args_is_help=True, rich_markup_mode=None, help="The installed plugins and their options."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@plugins.command("list", cls=QuickCommand)
def list_plugins(as_json: Json = False) -> None:
    """List every plugin with its origin and whether it can be used."""
    from priorkit.plugins import CONTRACT, installed

    registry = installed()
    rows = [(entry, registry.health(entry)) for entry in registry.entries]
    if as_json:
        listed = [{**origin(entry), "health": health.state, "problem": health.problem} for entry, health in rows]
        typer.echo(json.dumps({"contract": CONTRACT, "plugins": listed, "notes": registry.notes()}, indent=2))
        return
    print_table(
        ("kind", "name", "distribution", "version", "origin", "health"),
        [(e.kind, e.name, e.distribution, e.version, e.target, health.state) for e, health in rows],
    )
    for entry, health in rows:
        if health.problem:
            typer.echo(f"{entry.key} of {entry.origin}: {health.problem}")
    for note in registry.notes():
        typer.echo(note)


@plugins.command("show", cls=QuickCommand)
def show_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="NAME, KIND.NAME or DISTRIBUTION:NAME.")],
    as_json: Json = False,
) -> None:
    """Show what a plugin is, where it comes from, and its options."""
    from priorkit.plugins import installed
    from priorkit.plugins.options import options

    entry = installed().find(name)
    component = installed().load_entry(entry)
    summary = next(iter((component.__doc__ or "").strip().splitlines()), "")
    model = getattr(component, "Config", None)
    choices = list(options(model)) if model else []
    if as_json:
        described = {**origin(entry), "summary": summary, "options": [vars(option) for option in choices]}
        typer.echo(json.dumps(described, indent=2))
        return
    typer.echo(f"{entry.key}: {summary}\n{entry.target} of {entry.origin}")
    if choices:
        print_table(("option", "type", "default", "meaning"), [row(option) for option in choices])


def origin(entry: "Entry") -> dict[str, Any]:
    """Who declares a plugin, as JSON."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "origin": entry.target,
    }


def row(option: "Option") -> tuple[str, str, str, str]:
    """An option as a line of the table, its default as the configuration file would write it."""
    default = "(required)" if option.required else json.dumps(option.default, ensure_ascii=False)
    return option.path, option.type, default, option.meaning


def print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table as wide as the terminal; where there is none, as wide as its text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
