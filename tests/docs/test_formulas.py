"""The formulas of the pages are set as MathML while the site is built."""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree

import pytest
from doc_pages import PAGES, ROOT, blocks

pytest.importorskip("latex2mathml", reason="the extra docs is not installed")

INLINE = re.compile(r"(?<![\\$`])\$(?!\s)([^$`]+?)(?<!\s)\$(?!\d)")
SYMBOLS = set("∝∇ΣΠ∫ℓ")
"""What only a formula has; figures of `planning.md` are counted in plain text."""
PLAIN = {"docs/howto/planning.md"}
SPACE = "{http://www.w3.org/1998/Math/MathML}"


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("mkdocs_math", ROOT / "scripts" / "mkdocs_math.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marked(tex, tag):
    """What `pymdownx.arithmatex` makes of a formula."""
    left, right = {"div": (r"\[", r"\]"), "span": (r"\(", r"\)")}[tag]
    escaped = tex.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<{tag} class="arithmatex">{left}{escaped}{right}</{tag}>'


def formulas():
    for page in PAGES:
        found = blocks(page)
        yield from ((block.place, block.code, "div") for block in found if block.language == "math")
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        yield from ((page.name, tex, "span") for tex in INLINE.findall(prose))


def test_every_formula_becomes_mathml_without_an_unknown_command(hook):
    found = list(formulas())
    assert len(found) > 100
    for place, tex, tag in found:
        html = hook.on_page_content(marked(tex, tag))
        tree = ElementTree.fromstring(html)
        assert tree.tag == SPACE + "math" or tree[0].tag == SPACE + "math", f"{place}: {tex}"
        assert "\\" not in "".join(tree.itertext()), f"{place}: {tex}"


def typeset(hook, tex):
    return ElementTree.fromstring(hook.on_page_content(marked(tex, "span")))


def test_a_formula_keeps_its_meaning(hook):
    tree = typeset(hook, r"\frac{a}{b} < c_{<i}")
    assert ["".join(part.itertext()) for one in tree.iter(SPACE + "mfrac") for part in one] == ["a", "b"]
    assert ["".join(part.itertext()) for one in tree.iter(SPACE + "msub") for part in one] == ["c", "<i"]


def test_letters_and_signs_are_those_of_mathematics(hook):
    assert "".join(typeset(hook, r"u \sim \mathcal N").itertext()) == "u\u223c\U0001d4a9"
    assert "".join(typeset(hook, r"\mathbb E \hat x").itertext()) == "\U0001d53cx\u02c6"
    minus = [one for one in typeset(hook, "x = -y - z").iter(SPACE + "mo") if one.text == "\u2212"]
    assert [one.get("form") for one in minus] == ["prefix", None]


def test_a_function_has_a_space_before_its_argument_but_not_before_a_bracket(hook):
    assert [len(list(typeset(hook, tex).iter(SPACE + "mspace"))) for tex in (r"\log p", r"\exp(p)")] == [1, 0]


def test_what_is_no_formula_stays(hook):
    html = '<p>5 $ and <code>"$OUT"</code></p>'
    assert hook.on_page_content(html) == html


def test_no_formula_is_left_as_plain_text():
    plain = [
        block.place
        for page in PAGES
        for block in blocks(page)
        if block.language == "text" and SYMBOLS & set(block.code) and block.page not in PLAIN
    ]
    assert not plain, f"write these as a block `math`: {', '.join(plain)}"
