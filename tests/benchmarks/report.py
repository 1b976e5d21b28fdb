"""What a benchmark found, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import Ratio

Cell = str | float | Ratio | None
"""None stands for what cannot be had on this machine."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, and how its numbers are written."""

    name: str
    form: str = ""

    def write(self, cell: Cell) -> str:
        """The cell as text."""
        if cell is None:
            return "not available here"
        return f"{cell:{self.form}}" if isinstance(cell, int | float) else str(cell)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that was promised, and whether it was kept in this run."""

    text: str
    met: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A table, one line that says what to read in it, and the targets; none where nothing was promised."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    reading: str
    targets: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: a row has more or fewer cells than there are columns")


def show(report: Report, console: Console) -> None:
    """Print a report."""
    table = Table(
        title=report.title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    for number, column in enumerate(report.columns):
        longest = max((len(column.write(row[number])) for row in report.rows), default=0)
        # Only a heading may be broken.
        table.add_column(
            column.name, justify="right" if number else "left", min_width=longest, overflow="fold"
        )
    for row in report.rows:
        table.add_row(*(column.write(cell) for column, cell in zip(report.columns, row, strict=True)))
    console.print(table)
    console.print(f"reading: {report.reading}", highlight=False, soft_wrap=True)
    for target in report.targets:
        verdict, style = ("met", "bold green") if target.met else ("MISSED", "bold red")
        console.print(f"target: {target.text} — [{style}]{verdict}[/]", highlight=False, soft_wrap=True)
    if not report.targets:
        console.print("target: none was set", highlight=False)
    console.print()
