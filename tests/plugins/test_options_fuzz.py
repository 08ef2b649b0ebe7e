"""Any value for any option of any of priorkit's own plugins is taken or refused; nothing else is ever raised."""

import random

import pytest

from priorkit.config import resolve
from priorkit.config.sections import DEFAULTS, DataSettings, EngineSettings, FidelitySettings
from priorkit.errors import UsageError
from priorkit.registry import installed
from priorkit.registry.options import options

VALUES = [
    *(
        "",
        "~",
        "true",
        "no",
        "0",
        "-1",
        "3.5",
        "1e309",
        "-.inf",
        ".nan",
        "99999999999999999999",
        "1" * 5000,
        "text",
        "é",
        "\ud800",
    ),
    *(
        "[]",
        "{}",
        "[1]",
        "[[1],[2]]",
        "[1, two]",
        "[true]",
        "[null]",
        "[1e400]",
        "{a: 1}",
        "{a: {b: []}}",
        "{1: 2}",
        "{<<: {a: 1}}",
    ),
    *(
        "!!bool maybe",
        "!!timestamp x",
        "!!binary x",
        "[!!bool maybe]",
        "{a: !!timestamp x}",
        "{a: &b 1}",
        "[*a]",
        "{=: 1}",
        "\x00",
    ),
    *(
        "a: b",
        "zip:/x/set #1.zip",
        "'",
        '"',
        "[",
        "{",
        "@",
        "<<",
        "{name: 3}",
        "{name: {}}",
        "{name: gaussian}",
        "{preset: {}}",
    ),
    *("os:system", "2024-01-01", "1:30", "0x1f", "torch.nn:Linear", "../..", "\n", "a\nb: c", "{lr: nan}", "[" * 3000),
]


def keys() -> dict[str, list[str]]:
    """The keys of every plugin of ours, and of every part above one, by the argument that chooses the plugin."""
    sections = {"data": DataSettings, "engine": EngineSettings, "fidelity": FidelitySettings}
    found = {
        "seed=0": ["seed", "versions", *(f"{name}.{key}" for name, of in sections.items() for key in ["", *of.model_fields])]
    }
    for entry in installed().entries:
        if entry.own and entry.kind in DEFAULTS:
            paths = [option.path.split(".") for option in options(installed().load_entry(entry).Config)]
            parts = {".".join([entry.kind, *path[:end]]) for path in paths for end in range(len(path) + 1)}
            found[f"{entry.kind}={entry.name}"] = sorted(parts | {f"{entry.kind}.name"})
    return found


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_any_value_of_any_option_is_taken_or_refused(value):
    choose = random.Random(VALUES.index(value))
    for plugin, paths in keys().items():
        key = choose.choice(paths).rstrip(".")
        try:
            resolve(None, [plugin, f"{key}={value}"])
        except UsageError as error:
            assert len(str(error).splitlines()) <= 6, (plugin, key)


def test_a_preset_that_is_no_word_is_refused():
    for argument in ("backbone.preset={}", "backbone={preset: []}", "backbone.preset=[digits]"):
        with pytest.raises(UsageError, match="nvae: no preset"):
            resolve(None, [argument])
