"""Tables for a person, whatever the width of their terminal: nothing is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP: Final = 3
"""Columns between two columns of a table."""


class Rows:
    """Rows under the names of their ``columns``."""

    def __init__(self, *columns: str) -> None:
        self._columns = columns
        self._rows: list[Sequence[str]] = []

    def add(self, *values: str) -> None:
        """Another row: a value for each column, without line breaks."""
        if len(values) != len(self._columns):
            raise ValueError("a row has a value for each column")
        self._rows.append(values)

    def show(self, out: Console) -> None:
        """A line a row where that fits; else a block a row, a line a value, of which a long one is folded.

        What is no terminal has room for any line: programs that read it find the same form always.
        """
        widths = [max(map(cell_len, column)) for column in zip(self._columns, *self._rows, strict=True)]
        needed = sum(widths) + GAP * (len(widths) - 1)
        if needed <= out.width or not out.is_terminal:
            for row, style in [(self._columns, "bold"), *((row, "") for row in self._rows)]:
                out.print(Text(_line(row, widths), style), soft_wrap=True)
            return
        for row in self._rows:
            out.print(self._block(row), soft_wrap=False)
            out.print()

    def _block(self, row: Sequence[str]) -> Table:
        made = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
        made.add_column(no_wrap=True, style="bold")
        made.add_column(overflow="fold")
        for column, value in zip(self._columns, row, strict=True):
            made.add_row(column, Text(value))
        return made


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [value + " " * (width - cell_len(value)) for value, width in zip(row, widths, strict=True)]
    return (" " * GAP).join(cells).rstrip()
