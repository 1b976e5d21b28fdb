"""The values that flow through the watcher. All are frozen; every instant is in microseconds.

An instant (``Micros``) counts microseconds since 1970-01-01 UTC: the API's own resolution, exact both as a
Python int and as the double that Redis uses for scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NewType
from uuid import UUID

import msgspec

TaskId = NewType("TaskId", str)
EntityId = NewType("EntityId", str)
EventId = NewType("EventId", str)
Micros = NewType("Micros", int)

SECOND: Final = 1_000_000
"""One second in microseconds."""

PROCESSING: Final = "processing"
SUCCESS: Final = "success"
ERROR: Final = "error"
TERMINAL: Final = frozenset({SUCCESS, ERROR})
"""Statuses after which, as far as the API documents it, a task does not change again."""
DOCUMENTED: Final = TERMINAL | {PROCESSING}

DOCUMENT_TYPES: Final = ("invoice", "credit_note", "receipt")

EVENT_PREFIX: Final = "ocr_task."
STALLED: Final = "stalled"
VANISHED: Final = "vanished"

_IN_KIND: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one listing of the API sees: the tasks of one entity, or (``None``) those that belong to none."""

    entity_id: EntityId | None = None

    @property
    def key(self) -> str:
        """The scope's name in keys, events' ids and logs: the entity's id, or ``-``."""
        return self.entity_id or "-"


@dataclass(frozen=True, slots=True)
class Weight:
    """What a number of scopes weighs, by its traffic, in the sharing of the request budget."""

    traffic: float = 0.0
    scopes: int = 0


HintSource = Literal["http", "monite", "stream"]
"""Who gave a hint: ``POST /hints``, Monite's own webhook, or somebody who wrote to the stream."""


class Pause(StrEnum):
    """Why nothing is sent to an endpoint until somebody resumes it: as it stands in the store."""

    GONE = "http_410"
    FAILING = "failing"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Hint:
    """Word that a task is worth a look now. It is never the truth: losing one costs only time."""

    task_id: TaskId
    scope: Scope = Scope()
    source: HintSource = "stream"

    @classmethod
    def of(cls, task_id: str, entity_id: str | None, source: HintSource) -> Hint:
        """A hint from ids as somebody wrote them; no entity, or an empty one, is the scope of none.

        Raises:
            ValueError: one is not a UUID, which all ids of the API are. One that is not would make the API refuse
                the request that asks for it, and with it the tasks asked for beside it.
        """
        entity = EntityId(_uuid("entity_id", entity_id)) if entity_id else None
        return cls(TaskId(_uuid("task_id", task_id)), Scope(entity), source)


@dataclass(frozen=True, slots=True)
class Task:
    """A task as one row of the API said it was.

    ``status`` may be one that the API has not documented. ``recognized_data`` is the JSON text exactly as it
    came, or None where the row had none.
    """

    id: TaskId
    status: str
    created_at: Micros
    updated_at: Micros
    document_type: str | None = None
    recognized_data: bytes | None = None


def kind_of(status: str) -> str:
    """The kind of event that tells of a status: the status itself, as far as it can stand in a type's name.

    What is no lower-case letter, digit or ``_`` becomes ``_``. An undocumented status never passes for one of the
    kinds that mean something else: ``Success`` is told as ``success_``. Of two that come to the same kind only one
    is told in a revision.
    """
    if status in DOCUMENTED:
        return status
    kind = "".join(letter if letter in _IN_KIND else "_" for letter in status.lower())
    return f"{kind}_" if kind in DOCUMENTED or kind in (STALLED, VANISHED) else kind


@dataclass(frozen=True, slots=True)
class Transition:
    """Something that happened to a task and that is told as one event.

    ``kind`` is the event type without its prefix: that of a status, ``stalled`` or ``vanished``. ``revision`` counts
    how often the task had left a terminal status. ``previous_status`` is None when the task was first seen in
    this status.
    """

    task: Task
    kind: str
    previous_status: str | None
    revision: int

    @property
    def type(self) -> str:
        """The event type, such as ``ocr_task.success``."""
        return EVENT_PREFIX + self.kind

    @property
    def unknown_status(self) -> bool:
        """Whether this tells of a status that the API has not documented."""
        return self.kind not in DOCUMENTED and self.kind not in (STALLED, VANISHED)


class Event(msgspec.Struct, frozen=True):
    """A CloudEvents 1.0 event as it stands on the stream. Instants are ISO 8601 text in UTC.

    ``data`` is JSON text. The same attributes make the body of a webhook. It is made anew for every delivery, and a
    struct is made in an eighth of a dataclass's time.
    """

    id: EventId
    type: str
    source: str
    subject: TaskId
    time: str
    data: bytes


def _uuid(name: str, text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"{name} is not a UUID") from None


def to_iso(instant: Micros) -> str:
    """The instant as ISO 8601 in UTC with microseconds, such as ``2026-11-23T04:00:00.000000Z``."""
    return (_EPOCH + timedelta(microseconds=instant)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_datetime(moment: datetime) -> Micros:
    """The instant of a datetime. One without an offset is taken as UTC, as the API documents its stamps."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # In whole numbers, so exact, and four times as fast as dividing by a timedelta: every row has two of these.
    since = moment - _EPOCH
    return Micros((since.days * 86_400 + since.seconds) * SECOND + since.microseconds)


def from_seconds(seconds: float) -> Micros:
    """The instant that lies so many seconds after 1970-01-01 UTC."""
    return Micros(round(seconds * SECOND))
