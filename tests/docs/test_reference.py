"""The reference pages are those that the code would write now."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADVICE = "run `python scripts/make_reference.py`"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "scripts" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(name):
    return (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["commands.md", "configuration.md", "priors.md", "features.md"])
def test_a_page_is_what_the_code_says(maker, name):
    assert committed(name) == maker.PAGES[name](), ADVICE


def test_the_layers_of_every_preset_are_what_the_code_says(maker):
    page = committed("presets.md")
    missing = [name for name in maker.PRESETS if maker.preset_row(name) not in page]
    assert not missing, ADVICE
    assert page.count("\n| `") == len(maker.PRESETS), ADVICE


@pytest.mark.parametrize("name", ["digits", "small"])
def test_the_size_of_a_preset_is_what_the_code_says(maker, name):
    # The large presets take seconds each to build; their layers are checked above.
    assert f"{maker.preset_row(name)} {maker.parameter_count(name):,} |" in committed("presets.md"), ADVICE
