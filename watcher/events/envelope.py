"""A transition as a CloudEvents 1.0 event, and the event as stream fields or as a webhook's body.

The body is one JSON object, valid as a CloudEvent in structured mode and as a Standard Webhooks payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID, uuid5

import msgspec

from watcher.model import Event, EventId, Micros, Scope, TaskId, Transition, to_iso

SPECVERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/json"

_NAMESPACE: Final = UUID("6f0d9f0c-6c0e-5d0c-9a55-6d3f5b2f7a11")
"""Root of all event ids. Changing it changes every id: subscribers would take old events for new ones."""


class EventData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``data`` of an event holds.

    ``recognized_data`` is there only when it was switched on; ``truncated`` says that it was left out again,
    being too large for the endpoint.
    """

    task_id: str
    entity_id: str | None
    document_type: str | None
    status: str
    previous_status: str | None
    created_at: str
    updated_at: str
    detected_at: str
    revision: int
    unknown_status: bool = False
    truncated: bool = False
    recognized_data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Body(msgspec.Struct, frozen=True):
    """The event as one object; ``data`` goes out byte for byte."""

    specversion: str
    id: str
    type: str
    source: str
    subject: str
    time: str
    timestamp: str
    datacontenttype: str
    data: msgspec.Raw


class EventFormatError(ValueError):
    """A stream entry is not one of the watcher's events."""


def event_id(namespace: str, scope: Scope, transition: Transition) -> EventId:
    """The event's id: a UUIDv5 of namespace, scope, task id, type and revision.

    It depends on nothing else, so what is lost and derived again carries the same id.
    """
    name = [namespace, scope.key, transition.task.id, transition.type, transition.revision]
    return EventId(str(uuid5(_NAMESPACE, msgspec.json.encode(name).decode())))


def to_event(
    transition: Transition,
    *,
    scope: Scope,
    namespace: str,
    source: str,
    detected_at: Micros,
    recognized_data: bool,
) -> Event:
    """The event that tells of a transition. ``recognized_data`` asks for the row's recognised data in it."""
    task = transition.task
    raw = task.recognized_data if recognized_data else None
    data = EventData(
        task_id=task.id,
        entity_id=scope.entity_id,
        document_type=task.document_type,
        status=task.status,
        previous_status=transition.previous_status,
        created_at=to_iso(task.created_at),
        updated_at=to_iso(task.updated_at),
        detected_at=to_iso(detected_at),
        revision=transition.revision,
        unknown_status=transition.unknown_status,
        recognized_data=msgspec.UNSET if raw is None else msgspec.Raw(raw),
    )
    return Event(
        id=event_id(namespace, scope, transition),
        type=transition.type,
        source=source,
        subject=task.id,
        time=to_iso(task.updated_at),
        data=msgspec.json.encode(data),
    )


def to_fields(event: Event) -> dict[str, str | bytes]:
    """The event as the fields of a stream entry, one for each attribute."""
    return {
        "specversion": SPECVERSION,
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "timestamp": event.time,
        "datacontenttype": CONTENT_TYPE,
        "data": event.data,
    }


def from_fields(fields: Mapping[bytes, bytes]) -> Event:
    """The event that a stream entry holds.

    Raises:
        EventFormatError: an attribute is missing or not text.
    """
    try:
        return Event(
            id=EventId(fields[b"id"].decode()),
            type=fields[b"type"].decode(),
            source=fields[b"source"].decode(),
            subject=TaskId(fields[b"subject"].decode()),
            time=fields[b"time"].decode(),
            data=fields[b"data"],
        )
    except (KeyError, UnicodeDecodeError) as error:
        raise EventFormatError(f"not an event of the watcher: {error!r}") from error


def to_body(event: Event) -> bytes:
    """The event as one JSON object: the body of a webhook. ``data`` is passed through byte for byte."""
    return msgspec.json.encode(
        _Body(
            SPECVERSION,
            event.id,
            event.type,
            event.source,
            event.subject,
            event.time,
            event.time,
            CONTENT_TYPE,
            msgspec.Raw(event.data),
        )
    )


def thin(event: Event) -> Event:
    """The event without its recognised data, which whoever needs it can fetch by the task's id.

    Raises:
        EventFormatError: its data are not what the watcher writes.
    """
    data = msgspec.structs.replace(read_data(event), recognized_data=msgspec.UNSET, truncated=True)
    return msgspec.structs.replace(event, data=msgspec.json.encode(data))


def read_data(event: Event) -> EventData:
    """The event's ``data``, decoded.

    Raises:
        EventFormatError: it is not what the watcher writes.
    """
    try:
        return msgspec.json.decode(event.data, type=EventData)
    except msgspec.MsgspecError as error:
        raise EventFormatError("an event's data is not what the watcher writes") from error
