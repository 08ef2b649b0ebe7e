"""What a configuration file says of backbone and data, where those of a trained run are taken instead."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from priorkit.config import RunConfig, absolute_source
from priorkit.config.layers import read_file
from priorkit.errors import UsageError

__all__ = ["see_file"]

log = logging.getLogger(__name__)


def see_file(file: Path, source: Path, config: RunConfig, overrides: Sequence[str] = ()) -> None:
    """Hold a configuration file against the run `source`, of that configuration, whose backbone and data are taken.

    Raises UsageError where the file names another backbone, and as `RunConfig.build` for options that cannot be.  A recipe
    may be put on a backbone that was trained with other options or on data of another name: that is told in the log.
    Sections of which `--set` has the last word in `overrides` are passed over.
    """
    if not file.is_file():  # a pipe can be read once, and what is not there is told where it is read
        return
    tree, origins = read_file(file)
    said = {text.partition("=")[0].strip().partition(".")[0] for text in overrides}
    given = {key: tree[key] for key in ("backbone", "data") if key not in said and isinstance(tree.get(key), Mapping)}
    asked = RunConfig.build(given, origins)
    if "backbone" in given and asked.backbone.name != config.backbone.name:
        raise UsageError(
            f"--from {source}: takes the backbone of that run, {config.backbone.name}, but {file} asks for the backbone "
            f"{asked.backbone.name}. Leave `backbone` out of that file, or train without --from."
        )
    different = [told for key, section in given.items() for told in _different(key, section, asked, config)]
    if different:
        log.warning(
            "--from %s: backbone and data are those of that run, and not as %s says: %s", source, file, ", ".join(different)
        )


def _different(key: str, section: Mapping[str, Any], asked: RunConfig, config: RunConfig) -> Iterator[str]:
    """The options that a section of the file names and the run has otherwise, in words."""
    for name in section:
        wanted, own = (_value(getattr(one, key), name) for one in (asked, config))
        if key == "data" and name in ("name", "heldout") and wanted is not None and own is not None:
            wanted, own = absolute_source(wanted), absolute_source(own)
        if wanted != own:
            yield f"{key}.{name} is {own!r:.60}"


def _value(section: Any, name: str) -> Any:
    return section.model_dump(mode="json").get(name)
