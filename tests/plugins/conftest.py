"""Distributions that exist only in a test's folder."""

import textwrap

import pytest


@pytest.fixture
def distribute(tmp_path, monkeypatch):
    """Install a distribution: `distribute(name, {entry: target}, {module: source}, version="1.0")`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("PRIORKIT_PLUGINS", raising=False)
    monkeypatch.delenv("PRIORKIT_DISABLE_PLUGINS", raising=False)

    def install(name, entries, modules=None, version="1.0"):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = entries if isinstance(entries, str) else "\n".join(f"{key} = {value}" for key, value in entries.items())
        (info / "entry_points.txt").write_text(f"[priorkit]\n{lines}\n")
        for module, source in (modules or {}).items():
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))

    return install


LOGGER = """
from priorkit.core import Logger
class Mine(Logger):
    '''Mine.'''
"""


@pytest.fixture
def logger_source():
    """A module with the smallest of all plugins, `Mine`."""
    return LOGGER
