"""`priorkit zoo list`."""

import json
from typing import Annotated

import typer

from priorkit.cli.plugins import print_table
from priorkit.cli.quick import QuickCommand, QuickGroup

__all__ = ["zoo"]

zoo = typer.Typer(
    cls=QuickGroup, no_args_is_help=True, rich_markup_mode=None, help="Small trained models that come with priorkit."
)


@zoo.command("list", cls=QuickCommand)
def list_models(as_json: Annotated[bool, typer.Option("--json", help="Print only one JSON object.")] = False) -> None:
    """List the models. `zoo:NAME` stands for the folder of a run in every command that reads one."""
    from priorkit.zoo import PREFIX, zoo_models

    models = zoo_models()
    if as_json:
        told = [
            {
                "run": PREFIX + m.name,
                "backbone": m.backbone,
                "prior": m.prior,
                "data": m.data,
                "shape": m.shape,
                "bytes": m.size,
            }
            for m in models
        ]
        typer.echo(json.dumps({"models": told}, indent=2))
        return
    print_table(
        ("run", "backbone", "prior", "data", "shape", "weights"),
        [
            (PREFIX + m.name, m.backbone, m.prior, m.data, "×".join(map(str, m.shape)), f"{m.size / 1e6:.1f} MB")
            for m in models
        ],
    )
