"""The tables of the benchmarks' reports."""

from collections.abc import Iterable, Sequence

__all__ = ["markdown_table"]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A Markdown table, a line per row; without a head only the rows.

    With `numbers` all columns but the first are aligned to the right.
    """
    rule = "|---" + ("|---:" if numbers else "|---") * (len(head) - 1) + "|"
    lines = [_line(head), rule] if head else []
    return "\n".join([*lines, *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
