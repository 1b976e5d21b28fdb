"""Which endpoints an event is for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from watcher.events.envelope import EventFormatError, from_fields, read_data
from watcher.model import SECOND, Event, from_datetime
from watcher.settings import Endpoint


@dataclass(frozen=True, slots=True)
class Routed:
    """A stream entry and the positions of the endpoints it is for, among those configured."""

    entry_id: str
    endpoints: tuple[int, ...]


def route(entry_id: str, event: Event, endpoints: Sequence[Endpoint]) -> Routed:
    """The endpoints that want this event.

    Raises:
        EventFormatError: its data are not what the watcher writes.
    """
    data = read_data(event)
    return Routed(
        entry_id,
        tuple(
            position
            for position, endpoint in enumerate(endpoints)
            if endpoint.matches(event.type, data.entity_id, data.document_type)
        ),
    )


def parse(fields: Mapping[bytes, bytes]) -> tuple[Event, float]:
    """The event of a stream entry and its time in unix seconds.

    Raises:
        EventFormatError: the entry is not one of the watcher's events.
    """
    event = from_fields(fields)
    try:
        return event, from_datetime(datetime.fromisoformat(event.time)) / SECOND
    except ValueError as error:
        raise EventFormatError("an event's time is not ISO 8601") from error
