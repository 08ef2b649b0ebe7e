"""`priorkit plugins list`, `show NAME`, `check NAME` and `new NAME`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from priorkit.cli.quick import QuickCommand, QuickGroup
from priorkit.cli.wrapping import echo

if TYPE_CHECKING:
    from priorkit.registry.entry import Entry
    from priorkit.registry.options import Option
    from priorkit.testing import Result

__all__ = ["plugins"]

plugins = typer.Typer(
    cls=QuickGroup, no_args_is_help=True, rich_markup_mode=None, help="The installed plugins and their options."
)

Json = Annotated[bool, typer.Option("--json", help="Print only one JSON object.")]


@plugins.command("list", cls=QuickCommand)
def list_plugins(as_json: Json = False) -> None:
    """List all plugins, with their origin and whether they load."""
    from priorkit.registry import CONTRACT, installed

    registry = installed()
    rows = [(entry, registry.health(entry)) for entry in registry.entries]
    if as_json:
        listed = [{**origin(entry), "health": health.state, "problem": health.problem} for entry, health in rows]
        typer.echo(json.dumps({"contract": CONTRACT, "plugins": listed, "notes": registry.notes()}, indent=2))
        return
    print_table(
        ("kind", "name", "distribution", "version", "origin", "health"),
        [(e.kind, e.name, e.distribution, e.version, e.target, health.state) for e, health in rows],
        heads=2,
    )
    for entry, health in rows:
        if health.problem:
            echo(f"{entry.key} of {entry.origin}: {health.problem}")
    for note in registry.notes():
        echo(note)


@plugins.command("show", cls=QuickCommand)
def show_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="NAME, KIND.NAME or DISTRIBUTION:NAME.")],
    as_json: Json = False,
) -> None:
    """Show the description, origin and options of a plugin."""
    from priorkit.registry import installed
    from priorkit.registry.isolation import silenced
    from priorkit.runs.plugin_errors import blamed

    entry = installed().find(name)
    component = installed().load_entry(entry)
    with silenced(), blamed(component, "what it says of itself"):
        summary, choices = described(component)
    if as_json:
        shown = {**origin(entry), "summary": summary, "options": [vars(option) for option in choices]}
        typer.echo(json.dumps(shown, indent=2))
        return
    echo(f"{entry.key}: {summary}\n{entry.target} of {entry.origin}")
    if choices:
        print_table(("option", "type", "default", "meaning"), [row(option) for option in choices])


@plugins.command("check", cls=QuickCommand)
def check_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="NAME, KIND.NAME or DISTRIBUTION:NAME.")],
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KIND.KEY=VALUE", help="An option of the plugin, as in `priorkit train`.")
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Run the conformance checks on a plugin; the exit code is 1 if one fails."""
    from priorkit.cli.conformance import print_results, results_as_json
    from priorkit.config.layers import lay_over, override
    from priorkit.errors import UsageError
    from priorkit.registry import installed
    from priorkit.registry.isolation import silenced
    from priorkit.testing import run_checks

    entry = installed().find(name)
    given: dict[str, Any] = {}
    lay_over(given, {}, (item for argument in set_ for item in override(argument)))
    if others := [key for key in given if key != entry.kind]:
        raise UsageError(f"--set: {entry.key} accepts only options {entry.kind}.KEY, not {', '.join(others)}.")
    results: Iterable[Result] = run_checks(entry.kind, installed().load_entry(entry), given.get(entry.kind))
    if as_json:
        with silenced():
            results = list(results)
    failed = results_as_json(entry, results) if as_json else print_results(entry, results)
    raise typer.Exit(1 if failed else 0)


@plugins.command("new", cls=QuickCommand)
def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the plugin: lower-case letters, digits, hyphens.")],
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="Kind of plugin: prior, backbone, sampler, trainer, data or metric.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the package [./priorkit-NAME].")] = None,
) -> None:
    """Create a package with a small working plugin, ready to install and to change."""
    from priorkit.registry.scaffold import scaffold

    folder = scaffold(name, kind, out)
    typer.echo(f"wrote {folder}\npip install -e {folder}\npriorkit plugins check {kind}.{name}")


def described(component: Any) -> tuple[str, "list[Option]"]:
    """The first line of a component's docstring, and its options."""
    from pydantic import BaseModel

    from priorkit.registry.options import options

    summary = next(iter(str(component.__doc__ or "").strip().splitlines()), "")
    model = getattr(component, "Config", None)
    return summary, list(options(model)) if isinstance(model, type) and issubclass(model, BaseModel) else []


def origin(entry: "Entry") -> dict[str, Any]:
    """The origin of a plugin, as JSON."""
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


def print_table(head: tuple[str, ...], rows: list[tuple[str, ...]], *, heads: int = 1) -> None:
    """Print a table as wide as the terminal, or as wide as its text if there is no terminal; `heads` columns name a row."""
    from rich.table import Table
    from rich.text import Text

    from priorkit.report.console import plain_console
    from priorkit.report.fitting import Fitting

    console = plain_console()
    if not console.is_terminal:
        console = plain_console(width=10_000)
    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    console.print(Fitting(table, heads=heads))
