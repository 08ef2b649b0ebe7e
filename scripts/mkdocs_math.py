"""A hook of MkDocs that sets formulas as MathML while the site is built: a page needs no script and no network for them.

`pymdownx.arithmatex` marks what stands between dollars or in a block `math`; the library latex2mathml turns it to MathML.
"""

import html
import re

from latex2mathml.converter import convert

__all__ = ["on_page_content"]

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)


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
    return f'<div class="formula">{mathml}</div>' if tag == "div" else mathml
