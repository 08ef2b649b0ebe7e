"""Where diffusers is missing."""

import sys

import pytest
from priorkit_diffusers import AutoencoderKL, AutoencoderKLSettings

from priorkit.core import DataSpec
from priorkit.errors import UsageError


def test_it_costs_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    settings = AutoencoderKLSettings(architecture={"in_channels": 1})
    with pytest.raises(UsageError, match=r"needs the library diffusers: pip install 'priorkit\[diffusers\]'") as caught:
        AutoencoderKL(settings, DataSpec("pictures", (1, 8, 8), 17))
    assert "\n" not in str(caught.value)
