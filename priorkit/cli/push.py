"""`priorkit push`."""

from pathlib import Path
from typing import Annotated

import typer

from priorkit.cli.runs import Run
from priorkit.cli.wrapping import echo

__all__ = ["push"]


def push(
    run: Run,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="Repository on the Hugging Face Hub, OWNER/NAME.")],
    to_folder: Annotated[Path | None, typer.Option(help="Write the files to this folder and send nothing.")] = None,
    private: Annotated[bool, typer.Option("--private", help="If the repository is new, make it private.")] = False,
    message: Annotated[str | None, typer.Option(help="Commit message.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in half precision, at half the size.")] = False,
) -> None:
    """Upload a run to the Hugging Face Hub: weights, configuration, metrics and a model card."""
    from priorkit.errors import UsageError
    from priorkit.workflows.sharing.share import push_run, share_run

    if to_folder is not None:
        given = [name for name, said in (("--private", private), ("--message", message is not None)) if said]
        if given:
            raise UsageError(f"push: --to-folder sends nothing; leave out {' and '.join(given)}.")
        share_run(run, repo, to_folder, half=half)
        echo(f"wrote {to_folder}; nothing was sent")
        return
    echo(f"pushed to {push_run(run, repo, private=private, message=message, half=half)}")
