"""No test of this folder sees the user's caches; files are read from an archive and from a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from packing import foldered, zipped


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's caches or data."""
    monkeypatch.setenv("PRIORKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PRIORKIT_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture(params=["zip", "folder"])
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Writes files as an archive or a folder and gives the name that `load` takes."""

    def write(files: dict[str, bytes], name: str = "set") -> str:
        return (zipped if request.param == "zip" else foldered)(files, tmp_path / name)

    return write
