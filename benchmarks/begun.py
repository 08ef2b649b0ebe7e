"""A benchmark's run as it stands: from which configuration it is trained, or gone on with."""

from pathlib import Path

from priorkit.config import RunConfig, resolve
from priorkit.workflows.training.train import from_run

__all__ = ["begun"]


def begun(out: Path, options: list[str], source: Path | None) -> tuple[RunConfig, bool, Path | None]:
    """The configuration, whether the run in `out` is gone on with, and the run whose backbone it takes; as `train` and
    `fit` take them.  A run that was begun keeps its options."""
    if (out / "config.yaml").exists():
        return RunConfig.read(out / "config.yaml"), True, None
    return resolve(None, from_run(source, options) if source else options), False, source
