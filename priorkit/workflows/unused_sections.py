"""Sections of a configuration file that `train --from` ignores, since backbone and data are those of the trained run."""

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
    """Compare a configuration file with the run `source`, of configuration `config`, whose backbone and data are used.

    Raises UsageError if the file names another backbone, and what `RunConfig.build` raises for invalid options.  A recipe
    may be used with a backbone that was trained with other options or on data of another name: the log then warns.  Sections
    that `overrides`, the arguments of `--set`, name are skipped.
    """
    if not file.is_file():  # a pipe can be read only once; a missing file is an error where the options are read
        return
    tree, origins = read_file(file)
    said = {text.partition("=")[0].strip().partition(".")[0] for text in overrides}
    given = {key: tree[key] for key in ("backbone", "data") if key not in said and isinstance(tree.get(key), Mapping)}
    asked = RunConfig.build(given, origins)
    if "backbone" in given and asked.backbone.name != config.backbone.name:
        raise UsageError(
            f"--from {source}: uses the backbone of that run, {config.backbone.name}, but {file} has the "
            f"backbone {asked.backbone.name}. Remove `backbone` from that file, or train without --from."
        )
    different = [text for key, section in given.items() for text in _different(key, section, asked, config)]
    if different:
        log.warning(
            "--from %s: backbone and data are those of that run; these options of %s have no effect: %s",
            source,
            file,
            ", ".join(different),
        )


def _different(key: str, section: Mapping[str, Any], asked: RunConfig, config: RunConfig) -> Iterator[str]:
    """Yield a text for each option of a section whose value differs in the run."""
    for name in section:
        wanted, own = (_value(getattr(one, key), name) for one in (asked, config))
        if key == "data" and name in ("name", "heldout") and wanted is not None and own is not None:
            wanted, own = absolute_source(wanted), absolute_source(own)
        if wanted != own:
            yield f"{key}.{name} is {own!r:.60}"


def _value(section: Any, name: str) -> Any:
    return section.model_dump(mode="json").get(name)
