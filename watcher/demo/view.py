"""What a person sees of the demo: on a terminal a live view, otherwise a line per transition."""

from __future__ import annotations

from collections import deque
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from watcher.demo.truth import Summary
from watcher.demo.world import Stage
from watcher.events.lines import as_line
from watcher.events.stream import Entry

RECENT: Final = 12
"""Transitions that the live view shows."""


class LiveView:
    """Counts and the last transitions; rich asks for it again and again while the demo plays."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._recent: deque[Text] = deque(maxlen=RECENT)

    def show(self, entry: Entry) -> None:
        """Take in one transition."""
        self._recent.append(as_line(entry.event))

    def __rich__(self) -> RenderableType:
        tasks = self._stage.world.truth(self._stage.now)
        ended = sum(task.ended_by(self._stage.now) for task in tasks)
        counts = Table.grid(padding=(0, 3))
        counts.add_row("tasks", "ended", "on the stream", "delivered", "requests")
        counts.add_row(
            *(
                Text(str(number), style="bold")
                for number in (
                    len(tasks),
                    ended,
                    len(self._stage.arrived.published),
                    len(self._stage.arrived.delivered_at),
                    self._stage.sandbox.requests_served.total,
                )
            )
        )
        return Group(counts, Text(), *self._recent)


def print_summary(console: Console, stage: Stage, summary: Summary) -> None:
    """The truth table. The lines ``missing: N`` and ``duplicates: N`` are for scripts, too."""
    served = stage.sandbox.requests_served
    rows = [
        ("tasks ended at the API", str(summary.ended)),
        ("on the stream", str(summary.published)),
        ("delivered and verified", str(summary.delivered)),
        ("delivered more than once", f"{summary.delivered_again} (the same webhook-id)"),
        ("refused by the receiver", f"{summary.refused} (then delivered)"),
        ("bad signatures", str(summary.bad_signatures)),
        ("ended → detected", _delays(summary.detection)),
        ("ended → delivered", _delays(summary.delivery)),
        ("requests spent", f"{served.total}, at most {served.most_in(1.0)} in a second"),
        ("answers spoilt by faults", str(sum(served.by_fault.values()))),
        ("daemon killed and restarted", str(stage.kills)),
    ]
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, value)
    console.print()
    console.print(table)
    console.print(f"missing: {summary.missing}", style="bold red" if summary.missing else "bold green")
    console.print(
        f"duplicates: {summary.duplicates}", style="bold red" if summary.duplicates else "bold green"
    )


def _delays(delays: tuple[float, float] | None) -> str:
    return "-" if delays is None else f"p50 {delays[0]:.2f} s, p95 {delays[1]:.2f} s"
