"""The base of every configuration model: strict, immutable, each field documented by the string below it."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings"]


class Settings(BaseModel):
    """A component's options.  Unknown keys are errors; a field's description is its attribute docstring."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )
