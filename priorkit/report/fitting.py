"""Tables that lose nothing on a narrow terminal: where the columns do not fit, each row is a block of lines."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

__all__ = ["Fitting"]

PADDING = 2
"""Columns between two cells."""


@dataclass(frozen=True)
class Fitting:
    """A table; with too little room, one block per row: its name, below it 'heading cell' for each of the other columns."""

    table: Table
    heads: int = 1
    """Number of columns that name a row."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table if it fits with at most one column wrapped between words, else the blocks."""
        spans = [self._span(console, options, column) for column in self.table.columns]
        spare = [most - least for least, most in spans]
        widest = max(range(len(spans)), key=spare.__getitem__, default=0)
        if sum(most for _, most in spans) - spare[widest] <= options.max_width:
            for number, column in enumerate(self.table.columns):
                column.no_wrap = column.no_wrap or number != widest
            yield self.table
        else:
            yield from self._blocks(options.max_width)

    def _span(self, console: Console, options: ConsoleOptions, column: Column) -> tuple[int, int]:
        """Return the least and the largest useful width of a column, with its padding."""
        cells = [Measurement.get(console, options, _text(cell)) for cell in (column.header, *column.cells)]
        most = max(cell.maximum for cell in cells)
        least = most if column.no_wrap else max(cell.minimum for cell in cells)
        return least + PADDING, most + PADDING

    def _blocks(self, width: int) -> RenderResult:
        if self.table.title is not None:
            yield Text.assemble(_text(self.table.title), style="italic")
        columns = [(_text(column.header).plain.replace("\n", " "), list(column.cells)) for column in self.table.columns]
        for row in range(self.table.row_count):
            yield Text(" ").join(_text(cells[row]) for _, cells in columns[: self.heads])
            pairs = [(head, _text(cells[row])) for head, cells in columns[self.heads :]]
            told = [Text.assemble((f"{head} ", "dim"), cell) for head, cell in pairs if cell.plain]
            for line in _packed(told, width - 2):
                yield Padding(line, (0, 0, 0, 2), expand=False)


def _packed(parts: Iterable[Text], width: int) -> list[Text]:
    """Return the parts in as few lines of that width as hold them unbroken; a longer part has its own."""
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] = Text("   ").join([lines[-1], part])
        else:
            lines.append(part)
    return lines


def _text(cell: object) -> Text:
    return cell.copy() if isinstance(cell, Text) else Text(str(cell))
