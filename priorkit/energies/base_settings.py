"""Options of priors that learn their ratio to another prior."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator

from priorkit.core import LatentSpace, Prior, Settings, on_its_layers
from priorkit.errors import UsageError
from priorkit.registry import installed

__all__ = ["GAUSSIAN", "RatioSettings", "build_base_prior"]

GAUSSIAN = "gaussian"


class RatioSettings(Settings):
    """Options shared by priors that are a ratio to a base."""

    base_prior: str = GAUSSIAN
    """The base b in p(u) ∝ b(u) r(u): a prior with a normalised density and exact samples, by name, such as `mixture`. It is
    trained in the first stages and then fixed; the ratio is learnt against it, and chains start at its samples. gaussian:
    N(0, I)."""
    base_options: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    """Options of the base, such as `base_options.components`; those that are not given have that prior's defaults."""

    @field_validator("base_prior")
    @classmethod
    def _is_a_base(cls, value: str) -> str:
        """Refuse the name of a prior that cannot be a base."""
        try:
            if value != GAUSSIAN:
                _plugin(value)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("base_options")
    @classmethod
    def _complete(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Fill in the default of every option of the base."""
        name = info.data.get("base_prior")
        if name is None:  # it was refused
            return value
        if name == GAUSSIAN:
            if value:
                raise ValueError("the base gaussian has no options; name another in prior.base_prior")
            return value
        options: dict[str, Any] = _settings(name, value).model_dump(mode="json")
        return options


def build_base_prior(settings: RatioSettings, space: LatentSpace) -> Prior | None:
    """Return the base, None for N(0, I). Raises UsageError for a prior that is not normalised."""
    if settings.base_prior == GAUSSIAN:
        return None
    options = _settings(settings.base_prior, settings.base_options)
    return on_its_layers(_plugin(settings.base_prior), options, space)


def _plugin(name: str) -> type[Prior]:
    found = installed().load("prior", name)
    if not found.normalised:
        raise UsageError(
            f"the density of {name} is not normalised, so that it cannot be a base, whose samples are exact; use --set "
            "prior.base_prior=mixture, or another prior that is `normalised`"
        )
    return found


def _settings(name: str, given: Mapping[str, Any]) -> Settings:
    """Return the base's options, all of them. Raises ValueError."""
    model = _plugin(name).Config
    try:
        return model.model_validate(_over_defaults(model, given))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        known = ", ".join(model.model_fields) or "none"
        raise ValueError(f"{wrong} (the options of {name} are {known})") from error


def _over_defaults(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, each nested mapping over the values that its field has in the model."""
    complete = dict(given)
    for name, field in model.model_fields.items():
        default, own = field.get_default(), given.get(name)
        if isinstance(default, BaseModel) and isinstance(own, Mapping):
            complete[name] = {**default.model_dump(), **_over_defaults(type(default), own)}
    return complete
