"""Messages about unknown words."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean"]


def did_you_mean(word: str, known: Iterable[str], *, plural: str) -> str:
    """Return the end of a message: the nearest known word if there is one, and the list of all; `plural` is their name."""
    words = sorted(set(known))
    if not words:
        return f"there are no {plural}"
    near = get_close_matches(word, words, n=1)
    listed = f"{plural}: {', '.join(words)}"
    return f"did you mean {near[0]!r}? ({listed})" if near else listed
