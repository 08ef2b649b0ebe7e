"""priorkit: interchangeable priors for hierarchical latent-variable generators."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priorkit.workflows.comparing.notebook_view import compare
    from priorkit.workflows.run_model import RunModel
    from priorkit.workflows.training.register import register
    from priorkit.workflows.training.train_model import train_model as train
    from priorkit.wrapping import WrappedBackbone, wrap

__all__ = ["__version__", "compare", "from_pretrained", "load", "push", "register", "train", "wrap"]

__version__ = "0.1.0"

LAZY = {
    "compare": "priorkit.workflows.comparing.notebook_view:compare",
    "register": "priorkit.workflows.training.register:register",
    "train": "priorkit.workflows.training.train_model:train_model",
    "wrap": "priorkit.wrapping:wrap",
}
"""Imported at the first access, so that `import priorkit` and the command line's help do not import torch."""


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = LAZY[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})


def load(run: str | os.PathLike[str], *, backbone: "WrappedBackbone | None" = None) -> "RunModel":
    """Load a finished run as a model.

    Args:
        run: Folder of the run, or zoo:NAME.
        backbone: For a run on a VAE of your own code, the result of `priorkit.wrap`; its networks get the run's weights.

    Returns:
        The model: backbone, prior and sampler, ready to sample, infer and score.

    Raises:
        UsageError: If the folder is not a finished run or is damaged.
    """
    from priorkit.workflows.run_model import RunModel
    from priorkit.zoo import given_run

    return RunModel.read(given_run("run", run), wrapped=backbone)


def from_pretrained(
    name: str | os.PathLike[str],
    *,
    backbone: "WrappedBackbone | None" = None,
    revision: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    offline: bool = False,
) -> "RunModel":
    """Load a shared run as a model.

    Only safetensors and text are read; the plugins of the run must be installed.

    Args:
        name: OWNER/NAME on the Hugging Face Hub, a folder with the pushed files, or zoo:NAME.
        backbone: As in `load`.
        revision: A branch, tag or commit.
        cache: The folder for downloads.
        offline: Use only files that are already downloaded.

    Returns:
        The model.

    Raises:
        UsageError: If the run cannot be downloaded or read.
    """
    from priorkit.runtime.user_path import given_path
    from priorkit.workflows.run_model import RunModel
    from priorkit.workflows.sharing.share import fetch_run

    given_path("name", name)
    place = None if cache is None else given_path("cache", cache)
    folder = fetch_run(os.fspath(name), revision=revision, cache=place, offline=offline)
    return RunModel.read(folder, os.fspath(name), wrapped=backbone)


def push(
    run: "str | os.PathLike[str] | RunModel",
    repo: str,
    *,
    private: bool = False,
    message: str | None = None,
    half: bool = False,
) -> str:
    """Upload a finished run to the Hugging Face Hub.

    Args:
        run: A model or the folder of a run.
        repo: The repository, OWNER/NAME.
        private: If the repository is new, make it private.
        message: The commit message.
        half: Store the weights in half precision.

    Returns:
        The address of the repository.

    Raises:
        UsageError: If the run is unfinished or damaged, or the upload fails.
    """
    from priorkit.workflows.run_model import RunModel
    from priorkit.workflows.sharing.share import push_run
    from priorkit.zoo import given_run

    folder = run.folder if isinstance(run, RunModel) else given_run("run", run)
    return push_run(folder, repo, private=private, message=message, half=half)
