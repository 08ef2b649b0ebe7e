"""The tables at a glance, in the README and on top of the results' page, have figures of docs/results and no others; the
citations have the version of the package."""

import re

import pytest
from doc_pages import ROOT

from priorkit import __version__

NUMBER = r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
PAIR = re.compile(rf"({NUMBER}) ± ({NUMBER})")
SECTIONS = {"README.md": ("## Which prior", "## Measured"), "docs/results.md": ("## Summary",)}


def number(text):
    return float(text.replace(",", ""))


def measured():
    """All pairs of value and spread in the tables that benchmarks wrote."""
    pages = (ROOT / "docs" / "results").glob("*.md")
    return [(number(a), number(b)) for page in pages for a, b in PAIR.findall(page.read_text(encoding="utf-8"))]


def rounds(exact, shown):
    """Whether a number is written with fewer digits; half a last digit, and a rounding of the table itself."""
    digits = len(shown.partition(".")[2])
    return abs(exact - number(shown)) <= 0.5001 * 10**-digits


def shown():
    for name, sections in SECTIONS.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for section in sections:
            part = text.split(f"{section}\n", 1)[1].split("\n## ", 1)[0]
            yield from ((name, value, spread) for value, spread in PAIR.findall(part))


@pytest.mark.parametrize(("page", "value", "spread"), sorted(set(shown())))
def test_a_figure_stands_in_the_results(page, value, spread):
    assert any(rounds(a, value) and rounds(b, spread) for a, b in measured()), f"{page}: {value} ± {spread}"


def test_there_are_figures_and_a_wrong_one_would_be_noticed():
    assert len(list(shown())) > 30
    assert not any(rounds(a, "7.59") and rounds(b, "1.54") for a, b in measured())


@pytest.mark.parametrize("page", ["README.md", "docs/cite.md"])
def test_the_citation_has_this_version(page):
    assert f"note   = {{Version {__version__}}}" in (ROOT / page).read_text(encoding="utf-8")
