"""`priorkit push`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["push"]


def push(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="The repository on the Hugging Face Hub, OWNER/NAME.")],
    to_folder: Annotated[Path | None, typer.Option(help="Write there what would be pushed, and send nothing.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository that only its owner sees.")] = False,
    message: Annotated[str | None, typer.Option(help="What the commit says.")] = None,
) -> None:
    """Share a run: its weights, configuration, figures and a model card."""
    from priorkit.errors import UsageError
    from priorkit.workflows.sharing.share import push_run, share_run

    if to_folder is not None:
        given = [name for name, said in (("--private", private), ("--message", message is not None)) if said]
        if given:
            raise UsageError(f"push: with --to-folder nothing is sent, so {' and '.join(given)} cannot be given too.")
        share_run(run, repo, to_folder)
        typer.echo(f"wrote {to_folder}; nothing was sent")
        return
    typer.echo(f"pushed to {push_run(run, repo, private=private, message=message)}")
