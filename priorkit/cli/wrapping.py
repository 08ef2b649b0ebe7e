"""Messages on a terminal: lines end between words, and a command stays whole or can be copied from several lines."""

import re
import shutil
import sys
from collections.abc import Iterator

import typer

__all__ = ["echo", "wrapped"]

PIECE = re.compile(r"\S*`[^`\n]+`\S*|(?<=: )priorkit(?: (?:[a-z]+|-)\S*)(?: \S+)*$|\S+")
"""A command in backticks or at the end of a message, or a word."""


def echo(text: str, *, err: bool = False) -> None:
    """Print a message: on a terminal in lines of its width, elsewhere as it is."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None and stream.isatty():
        text = wrapped(text, shutil.get_terminal_size().columns)
    typer.echo(text, err=err)


def wrapped(text: str, width: int) -> str:
    """Return the text in lines of at most `width` characters, broken between words.

    A command that fits into a line is not broken; in a longer one every line but the last ends with a backslash, with which
    a shell reads on. A longer word, such as a path, has its own line.
    """
    return "\n".join(line for paragraph in text.split("\n") for line in _lines(paragraph, max(width, 1)))


def _lines(paragraph: str, width: int) -> Iterator[str]:
    if len(paragraph) <= width:
        yield paragraph
        return
    line = paragraph[: len(paragraph) - len(paragraph.lstrip())]
    for piece in PIECE.findall(paragraph):
        joined = f"{line} {piece}" if line.strip() else line + piece
        if len(joined) <= width:
            line = joined
            continue
        if line.strip():
            yield line
        line = piece
        if len(piece) > width and " " in piece:
            *broken, line = _command(piece, width)
            yield from broken
    yield line


def _command(piece: str, width: int) -> list[str]:
    """Return a command in lines that a shell joins."""
    lines = [""]
    for word in piece.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and len(joined) + 2 > width:
            lines.append(word)
        else:
            lines[-1] = joined
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]
