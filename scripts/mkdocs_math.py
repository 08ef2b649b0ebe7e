"""A hook of MkDocs that sets formulas as MathML while the site is built: a page needs no script and no network for them.

`pymdownx.arithmatex` marks what stands between dollars or in a block `math`; the library latex2mathml turns it to MathML.
What browsers or the library leave out is made up for: variants of letters, the space after a function, the sign of a
negative number, accents.
"""

import html
import re

from latex2mathml.converter import convert

__all__ = ["on_page_content"]

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)
LETTER = re.compile(r'<mi mathvariant="(script|double-struck)">([A-Z])</mi>')
FUNCTION = re.compile(r"(<mi>(?:log|det|exp|tanh|cos|sin|tan|min|max)</mi>)(?!<mo|</)")
SIGN = re.compile(r"(<mo[^>]*>(?:&#x00028;|&#x0005B;|&#x0003D;|\(|\[|=|,)</mo>)<mo>(&#x02212;)</mo>")
SIGNS = {
    "<mi>;</mi>": "<mo>;</mo>",
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    "<mo>&#x0005E;</mo></mover>": '<mo stretchy="false">&#x002C6;</mo></mover>',
    '<mo stretchy="false">&#x0007C;</mo>': '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>',
    '<mo stretchy="false">&#x0007E;</mo></mover>': '<mo stretchy="false">&#x002DC;</mo></mover>',
}
"""Signs of ASCII and those of mathematics: a separator, "is distributed as", hat, the bar of a norm, tilde."""
FIRST = {"script": 0x1D49C, "double-struck": 0x1D538}
"""The code point of A in each alphabet."""
OLD = {"scriptE": "\u2130", "scriptL": "\u2112", "double-struckN": "\u2115", "double-struckR": "\u211d"}
"""Letters that are older than their alphabet, and stand elsewhere."""


def on_page_content(content: str, **_: object) -> str:
    """Return the HTML of a page with its formulas as MathML; raises what latex2mathml raises, with the formula."""
    return FORMULA.sub(_typeset, content)


def _typeset(match: re.Match[str]) -> str:
    tag, formula = match[1], html.unescape(match[2]).strip()
    try:
        mathml = convert(formula, display="block" if tag == "div" else "inline")
    except Exception as error:
        error.add_note(f"formula: {formula}")
        raise
    mathml = LETTER.sub(lambda letter: f"<mi>{_variant(letter[1], letter[2])}</mi>", mathml)
    mathml = FUNCTION.sub(r'\1<mspace width="0.167em"/>', mathml)
    mathml = SIGN.sub(r'\1<mo form="prefix">\2</mo>', mathml)
    for ascii_sign, sign in SIGNS.items():
        mathml = mathml.replace(ascii_sign, sign)
    return f'<div class="formula">{mathml}</div>' if tag == "div" else mathml


def _variant(alphabet: str, letter: str) -> str:
    return OLD.get(alphabet + letter) or chr(FIRST[alphabet] + ord(letter) - ord("A"))
