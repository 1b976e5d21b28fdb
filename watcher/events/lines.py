"""An event as one line for people."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rich.text import Text

from watcher.events.envelope import read_data
from watcher.model import EVENT_PREFIX, SECOND, TERMINAL, Event, from_datetime

COLOURS: Final = {"success": "green", "error": "red", "stalled": "yellow", "vanished": "magenta"}


def as_line(event: Event) -> Text:
    """When it was detected, what happened to which document, and how long after the fact.

    Raises:
        EventFormatError: its data is not what the watcher writes.
    """
    data = read_data(event)
    kind = event.type.removeprefix(EVENT_PREFIX)
    text = Text(data.detected_at[11:23] + "Z  ")
    text.append(f"{kind:<10}", style=COLOURS.get(kind, "cyan"))
    text.append(f"  {data.task_id}  {data.document_type or '-':<11}")
    if data.entity_id:
        text.append(f"  entity {data.entity_id}")
    if kind in TERMINAL:
        delay = from_datetime(datetime.fromisoformat(data.detected_at)) - from_datetime(
            datetime.fromisoformat(data.updated_at)
        )
        text.append(f"  {delay / SECOND:6.2f} s after it ended", style="dim")
    return text
