"""Which stream entries people are told of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from watcher.alerts.grouping import Kind, Occurrence
from watcher.events.envelope import EventFormatError, from_fields, read_data
from watcher.model import DOCUMENTED, ERROR, EVENT_PREFIX, STALLED, VANISHED, Micros, from_datetime

_ERROR_TYPE: Final = EVENT_PREFIX + ERROR
_SILENT: Final = {EVENT_PREFIX + kind for kind in (*DOCUMENTED, STALLED, VANISHED)} - {_ERROR_TYPE}

_LONGEST: Final = 64
"""Characters kept of what the API wrote, enough for every id: space stays bounded whatever it sends."""


def occurrence_of(entry_id: str, fields: Mapping[bytes, bytes]) -> Occurrence | None:
    """What an entry gives people to know; None for most.

    Raises:
        EventFormatError: the entry is not one of the watcher's events.
    """
    event = from_fields(fields)
    if event.type in _SILENT:
        return None
    data = read_data(event)
    if event.type == _ERROR_TYPE:
        kind = Kind.ERROR
    elif data.unknown_status:
        kind = Kind.UNKNOWN_STATUS
    else:
        return None
    return Occurrence(
        kind=kind,
        entry_id=entry_id,
        task_id=_plain(data.task_id),
        document_type=None if data.document_type is None else _plain(data.document_type),
        entity_id=None if data.entity_id is None else _plain(data.entity_id),
        status=_plain(data.status),
        at=_instant(event.time),
    )


def _instant(text: str) -> Micros:
    try:
        return from_datetime(datetime.fromisoformat(text))
    except ValueError as error:
        raise EventFormatError("an event's time is not ISO 8601") from error


def _plain(text: str) -> str:
    """The text without what could break a message's lines, and not too long."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
