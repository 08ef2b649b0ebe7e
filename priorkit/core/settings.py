"""The base of every configuration model: strict, immutable, each field documented by the string below it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from priorkit.core.kinds import other_kind

__all__ = ["Settings"]


class Settings(BaseModel):
    """A component's options.  Unknown keys are errors; a field's description is its attribute docstring.

    A boolean is no number and a text is neither: pydantic would take `true` for 1 and `no` for false.  Infinity and NaN are
    refused too, but for a field that is declared with `Field(allow_inf_nan=True)`.
    """

    earlier: ClassVar[Mapping[str, Any]] = {}
    """By option that was added later: what runs without it were made with, where that is not the default.  A run's own
    configuration names every option of its time, so that one which it lacks was not there yet."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a value of another kind than the field's."""
        field = cls.model_fields.get(info.field_name or "")
        place = None if field is None else other_kind(value, field.annotation)
        if place is not None:
            item = value
            for key in place:
                item = item[key]
            wrong = InitErrorDetails(type=PydanticCustomError("kind_type", "a value of another kind"), loc=place, input=item)
            raise ValidationError.from_exception_data(cls.__name__, [wrong])
        return value
