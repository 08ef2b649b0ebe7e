"""Options in words."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from priorkit.core import Settings
from priorkit.registry.options import in_words, options


class Inner(Settings):
    """Inner."""

    rate: float = Field(default=1e-3, gt=0)
    """The rate."""
    pair: tuple[float, float] = (0.9, 0.999)


class Outer(Settings):
    """Outer."""

    needed: int = Field(ge=1)
    """Must be
    given."""
    kind: Literal["a", "b"] = "a"
    inner: Inner = Inner(rate=2.0)
    maybe: Inner | None = None


class Preset(Settings):
    """Fields that a validator fills."""

    size: int = 1

    @model_validator(mode="before")
    @classmethod
    def fill(cls, given):
        return {"size": 7, **given}


def test_nested_options_are_flattened_with_the_outer_models_defaults():
    found = {option.path: option for option in options(Outer)}
    assert list(found) == ["needed", "kind", "inner.rate", "inner.pair", "maybe", "maybe.rate", "maybe.pair"]
    assert (found["needed"].required, found["needed"].type) == (True, "integer >= 1")
    assert found["needed"].meaning == "Must be given."
    assert (found["inner.rate"].default, found["inner.rate"].type) == (2.0, "number > 0")
    assert (found["inner.pair"].default, found["inner.pair"].type) == ([0.9, 0.999], "[number, number]")
    assert (found["maybe"].default, found["maybe"].required) == (None, False)
    assert found["maybe.rate"].default == 1e-3


def test_defaults_are_those_that_result_when_nothing_is_set():
    assert [option.default for option in options(Preset)] == [7]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int | None, "integer | none"),
        (bool, "true | false"),
        (Path, "path"),
        (list[int], "list of integer"),
        (tuple[str, ...], "list of text"),
        (dict[str, float], "mapping of number"),
        (Annotated[int, Field(ge=1, le=8)] | None, "integer >= 1 and <= 8 | none"),
        (Literal["x", 3], "x | 3"),
        (Inner, "section"),
    ],
)
def test_types_in_words(annotation, words):
    assert in_words(annotation) == words
