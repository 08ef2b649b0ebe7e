"""Components with options of every sort, so that the configuration is tested on no real one."""

import pytest

from priorkit.config.sections import DEFAULTS
from priorkit.registry import Registry
from priorkit.registry.entry import Entry

SOURCE = """
from pathlib import Path
from typing import Annotated, Literal
from pydantic import Field, field_validator
from priorkit.core import Settings
from priorkit.errors import UsageError

Infinite = Annotated[float, Field(allow_inf_nan=True)]

class Rates(Settings):
    lr: Infinite = Field(default=1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    clip: Infinite | None = None

class Options(Settings):
    stages: int = Field(default=3, ge=1)
    rates: Rates = Rates(schedule="cosine", clip=10.0)
    widths: list[int] = [8, 8]
    label: str = ""
    folder: Path | None = None
    pair: tuple[Infinite, Infinite] = (0.9, 0.999)
    flip: bool = False
    preset: str = "none"

    @field_validator("label")
    @classmethod
    def short(cls, value):
        if value == "long":
            raise ValueError("a label must be short")
        return value

    @field_validator("preset")
    @classmethod
    def known(cls, value):
        if value == "lost":
            raise UsageError("there is no preset 'lost'")
        return value

class Plain:
    Config = Settings

class Rich:
    Config = Options
"""


@pytest.fixture(autouse=True)
def registry(tmp_path_factory, monkeypatch):
    """Two components of each kind: `plain` without options, `rich` with them; the defaults' names are plain ones."""
    folder = tmp_path_factory.mktemp("components")
    (folder / "config_components.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("priorkit.registry.loading.misfit", lambda kind, component: "")
    entries = [
        Entry(kind, name, "priorkit", "0.1", f"config_components:{target}")
        for kind, default in DEFAULTS.items()
        for name, target in [(default, "Rich"), ("plain", "Plain")]
    ]
    made = Registry(entries)
    for module in ("run_config", "added_options"):
        monkeypatch.setattr(f"priorkit.config.{module}.installed", lambda: made)
    return made
