"""Checks of a plugin's options, for all kinds."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from priorkit.core import Settings
from priorkit.errors import PriorkitError
from priorkit.registry.options import options
from priorkit.testing.body import Body

__all__ = ["CHECKS", "settings_of"]


def settings_of(plugin: Any, given: Mapping[str, Any]) -> Settings:
    """Return the plugin's settings: its defaults except for the given values."""
    model: type[Settings] = plugin.Config
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
        raise AssertionError(f"{model.__name__} cannot be constructed: {wrong} (every option needs a default)") from error


def every_option_has_a_default(plugin: Any, given: Mapping[str, Any]) -> None:
    """Every option has a default, so that the name alone is enough for a run."""
    required = [option.path for option in options(plugin.Config) if option.required]
    assert not required, f"options without a default: {', '.join(required)}"


def every_option_is_documented(plugin: Any, given: Mapping[str, Any]) -> None:
    """Every option has a docstring, which `plugins show` and error messages print."""
    bare = [option.path for option in options(plugin.Config) if not option.meaning]
    assert not bare, f"options without a docstring below them: {', '.join(bare)}"


def unknown_options_are_refused(plugin: Any, given: Mapping[str, Any]) -> None:
    """An unknown option is rejected, not ignored."""
    try:
        plugin.Config.model_validate({**given, "no_such_option": 1})
    except (ValidationError, PriorkitError):
        return
    raise AssertionError(f"{plugin.Config.__name__} accepts the unknown option no_such_option; leave extra='forbid'")


def nonsense_is_refused(plugin: Any, given: Mapping[str, Any]) -> None:
    """A value of the wrong type is rejected for every option."""
    taken = []
    for name, field in plugin.Config.model_fields.items():
        try:
            plugin.Config.model_validate({**given, name: _Nonsense()})
        except (ValidationError, PriorkitError):
            continue
        taken.append(f"{name} ({field.annotation})")
    assert not taken, f"options that take any value at all: {', '.join(taken)}; give them a type"


def options_survive_a_file(plugin: Any, given: Mapping[str, Any]) -> None:
    """Options written to a run's configuration and read back are the same."""
    settings = settings_of(plugin, given)
    again = plugin.Config.model_validate(settings.model_dump(mode="json"))
    assert again == settings, f"{settings!r} comes back from JSON as {again!r}"


class _Nonsense:
    """A value that is valid for no option."""


CHECKS: list[Body] = [
    every_option_has_a_default,
    every_option_is_documented,
    unknown_options_are_refused,
    nonsense_is_refused,
    options_survive_a_file,
]
