"""Data sources declared by packages: NAME or NAME:PLACE, preceded by the distribution if a name is ambiguous."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from priorkit.core import DataSource, Progress, no_progress
from priorkit.core.data_source import as_source
from priorkit.data.dataset import Dataset
from priorkit.errors import PluginError, PriorkitError, said
from priorkit.registry import Entry, installed
from priorkit.runtime.memory import ran_out
from priorkit.runtime.user_path import user_path

__all__ = ["Named", "named", "opens_by_name", "schemes", "suggestion"]


@dataclass(frozen=True)
class Named:
    """The source that a name refers to."""

    name: str
    """As written by the user."""
    entry: Entry
    source: DataSource
    place: str
    """The text after the source's name and a colon."""

    def open(
        self,
        *,
        root: Path | None = None,
        cache: Path | None = None,
        progress: Progress = no_progress,
        download: bool = False,
    ) -> Dataset:
        """Return the data; raises as the source does, and PluginError naming a plugin that returns something else."""
        told = f"plugin {self.entry.key} of {self.entry.origin}"
        try:
            data = self.source(root, place=self.place, cache=cache, progress=progress, download=download)
        except PriorkitError:
            raise
        except Exception as error:  # third-party code may raise anything
            if self.entry.own or ran_out(error):
                raise
            raise PluginError(f"{told} failed with {said(error)}") from error
        if not isinstance(data, Dataset):
            raise PluginError(f"{told} returned {type(data).__name__}, not a priorkit.data.Dataset.")
        return data


def named(name: str) -> Named | None:
    """Return what NAME, NAME:PLACE, DISTRIBUTION:NAME or DISTRIBUTION:NAME:PLACE refers to, or None.

    Raises PluginError for a plugin that cannot be used, and for a name declared by several packages.
    """
    head, _, rest = name.partition(":")
    bare, _, place = rest.partition(":")
    for plugin, after in ((head, rest), (f"{head}:{bare}", place)):
        if installed().knows("data", plugin):
            entry = installed().resolve("data", plugin)
            source = as_source(installed().load_entry(entry))
            if source.takes(after):
                return Named(name, entry, source, after)
    return None


def opens_by_name(name: str) -> bool:
    """Return whether there is such a data set and its name is enough, without a path."""
    found = named(name)
    return found is not None and not found.source.of_paths


def schemes(last: str = "and") -> str:
    """Return the ways to name data by a path: 'zip:FILE, folder:DIR and stream:PLACE'."""
    *others, end = _spellings(of_paths=True)
    return f"{', '.join(others)} {last} {end}" if others else end


def suggestion(name: str) -> str:
    """Return the end of a message about an unknown data set."""
    if "://" in name:
        return "; an address is read as stream:URL, a store of images. Download an archive, and name it zip:FILE."
    path = user_path(name)
    if path.is_dir():
        return f"; for the folder write folder:{name}."
    if path.is_file():
        return f"; for the archive write zip:{name}."
    known = _spellings(of_paths=False)
    # The name of a variant alone, such as moons, refers to the spelling that ends in it.
    ends = {spelling.rpartition(":")[2]: spelling for spelling in reversed(known)}
    near = difflib.get_close_matches(name, [*known, *ends], n=1)
    nearest = f"; did you mean {ends.get(near[0], near[0])}?" if near else "."
    return f"{nearest} Known are {', '.join(known)}, {schemes()}."


def _spellings(*, of_paths: bool) -> list[str]:
    """Return the spellings of the built-in data, with a path or without; for third-party data only the names."""
    ours, theirs, own = [], [], installed().own_names("data")
    for name in installed().names("data"):
        if name in own:
            source = as_source(installed().load("data", name))
            ours += source.spellings(name) if source.of_paths is of_paths else []
        else:
            theirs.append(name)
    return ours if of_paths else [*ours, *theirs]
