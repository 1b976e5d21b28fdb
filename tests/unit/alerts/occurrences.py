"""Occurrences for tests."""

from __future__ import annotations

from watcher.alerts.grouping import Kind, Occurrence
from watcher.model import SECOND, Micros

NOON = Micros(1_800_014_400 * SECOND)
"""2027-01-15 12:00:00 UTC."""


def occurrence(
    number: int = 1,
    kind: Kind = Kind.ERROR,
    *,
    document_type: str | None = "invoice",
    entity_id: str | None = None,
    status: str = "error",
) -> Occurrence:
    """The n-th of a series: a task of its own, one second after another."""
    return Occurrence(
        kind=kind,
        entry_id=f"1000-{number}",
        task_id=f"task-{number}",
        document_type=document_type,
        entity_id=entity_id,
        status=status,
        at=Micros(NOON + number * SECOND),
    )
