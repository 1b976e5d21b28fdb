from __future__ import annotations

from dataclasses import replace

import pytest

from watcher.alerts.grouping import Kind, Occurrence
from watcher.alerts.reading import occurrence_of
from watcher.events.envelope import EventFormatError, to_event, to_fields
from watcher.model import SECOND, EntityId, Event, Micros, Scope, Task, TaskId, Transition

ENDED = Micros(1_800_000_015 * SECOND)


def event(kind: str, *, task_id: str = "task", document_type: str | None = "invoice") -> Event:
    task = Task(
        TaskId(task_id),
        status="error",
        created_at=Micros(1_800_000_000 * SECOND),
        updated_at=ENDED,
        document_type=document_type,
        recognized_data=b'{"sender": "SECRET"}',
    )
    return to_event(
        Transition(replace(task, status=kind), kind, "processing", 0),
        scope=Scope(EntityId("entity")),
        namespace="watcher",
        source="https://api.example.com/v1/ocr_tasks",
        detected_at=ENDED,
        recognized_data=True,
    )


def fields(one: Event) -> dict[bytes, bytes]:
    return {
        name.encode(): value.encode() if isinstance(value, str) else value
        for name, value in to_fields(one).items()
    }


def test_an_error() -> None:
    assert occurrence_of("7-1", fields(event("error"))) == Occurrence(
        kind=Kind.ERROR,
        entry_id="7-1",
        task_id="task",
        document_type="invoice",
        entity_id="entity",
        status="error",
        at=ENDED,
    )


def test_a_status_that_the_api_has_not_documented() -> None:
    one = occurrence_of("7-1", fields(event("canceled", document_type=None)))

    assert one is not None
    assert (one.kind, one.status, one.document_type) == (Kind.UNKNOWN_STATUS, "canceled", None)


@pytest.mark.parametrize("kind", ["success", "processing", "stalled", "vanished"])
def test_of_the_rest_people_are_not_told(kind: str) -> None:
    assert occurrence_of("7-1", fields(event(kind))) is None


def test_nothing_recognised_is_kept() -> None:
    assert b"SECRET" in event("error").data

    assert "SECRET" not in repr(occurrence_of("7-1", fields(event("error"))))


def test_text_from_outside_can_neither_break_lines_nor_grow() -> None:
    one = occurrence_of("7-1", fields(event("error", task_id="a\nb" * 1000, document_type="x\r\u202ey")))

    assert one is not None
    assert one.task_id == ("a?b" * 1000)[:64]
    assert one.document_type == "x??y"


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {b"type": b"ocr_task.error"},
        {**fields(event("error")), b"data": b"{"},
        {**fields(event("error")), b"time": b"yesterday"},
        {**fields(event("error")), b"type": b"\xff"},
    ],
)
def test_an_entry_that_is_no_event_is_refused(broken: dict[bytes, bytes]) -> None:
    with pytest.raises(EventFormatError):
        occurrence_of("7-1", broken)
