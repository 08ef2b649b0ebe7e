"""priorkit: interchangeable priors for hierarchical latent-variable generators."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from priorkit.runs.model import Model

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def load(run: str | Path) -> "Model":
    """A finished run as a model: backbone, prior and sampler, ready to sample, infer and score."""
    # Imported here, so that `import priorkit` and the command line's help do not import torch.
    from priorkit.workflows.session import open_run

    return open_run(Path(run)).model
