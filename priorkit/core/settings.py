"""The base of every configuration model: strict, immutable, each field documented by the string below it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from priorkit.core.data_spec import DataSpec
from priorkit.core.kinds import other_kind
from priorkit.core.planned import Planned

__all__ = ["Settings"]


class Settings(BaseModel):
    """A component's options.  Unknown keys are errors; a field's description is its attribute docstring.

    Booleans, numbers and text are not converted to each other: pydantic would read `true` as 1 and `no` as false.
    Infinity and NaN are errors too, except in a field declared with `Field(allow_inf_nan=True)`.
    """

    earlier: ClassVar[Mapping[str, Any]] = {}
    """For options added later: the value that runs before them used, if it is not the default. A run's configuration
    names all options of its version, so an option that it lacks did not exist yet."""

    planned: ClassVar[Planned] = Planned()
    """The options that a run's length depends on."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    def for_data(self, spec: DataSpec) -> Self:
        """Returns the options with what depends on the data filled in; a run records these.  A backbone's options only."""
        return self

    def for_examples(self, examples: int) -> Self:
        """Returns the options with what depends on the number of training examples filled in.  A trainer's options only."""
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject a value of another type than the field's."""
        field = cls.model_fields.get(info.field_name or "")
        place = None if field is None else other_kind(value, field.annotation)
        if place is not None:
            item = value
            for key in place:
                item = item[key]
            wrong = InitErrorDetails(type=PydanticCustomError("kind_type", "a value of another kind"), loc=place, input=item)
            raise ValidationError.from_exception_data(cls.__name__, [wrong])
        return value
