"""One configuration from a file, a command's flags and its `--set` arguments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from priorkit.config.added_options import completed
from priorkit.config.document import KeyPath
from priorkit.config.layers import flag, lay_over, override, read_file
from priorkit.config.run_config import RunConfig

__all__ = ["resolve"]


def resolve(file: Path | None = None, overrides: Sequence[str] = (), **flags: Any) -> RunConfig:
    """Return the merged configuration; `--set` overrides flags, flags override the file, the file overrides the defaults.

    A flag is `backbone`, `prior`, `sampler`, `trainer` or `data` (a name), `seed`, `minutes`, `metrics`, `samples`, `root`,
    `holdout`, `heldout` or a field of `EngineSettings`; None means not given.  If a flag or `--set` names another component
    than the file, the file's options for that component are dropped.  Raises UsageError naming the file and line, or the
    argument.
    """
    origins: dict[KeyPath, str] = {}
    tree: dict[str, Any] = {}
    if file is not None:
        found, origins = read_file(file)
        tree = completed(found)
    given = [flag(name, value) for name, value in flags.items() if value is not None]
    given += [assignment for argument in overrides for assignment in override(argument)]
    lay_over(tree, origins, given)
    return RunConfig.build(tree, origins)
