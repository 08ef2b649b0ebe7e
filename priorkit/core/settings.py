"""The base of every configuration model: strict, immutable, each field documented by the string below it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings"]


class Settings(BaseModel):
    """A component's options.  Unknown keys are errors; a field's description is its attribute docstring."""

    earlier: ClassVar[Mapping[str, Any]] = {}
    """By option that was added later: what runs without it were made with, where that is not the default.  A run's own
    configuration names every option of its time, so that one which it lacks was not there yet."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )
