"""The event as the contract writes it: its JSON, its id, its fields on the stream."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from watcher.events.envelope import (
    EventFormatError,
    event_id,
    from_fields,
    read_data,
    to_body,
    to_event,
    to_fields,
)
from watcher.model import EntityId, Event, EventId, Micros, Scope, Task, TaskId, Transition, from_datetime
from watcher.model import from_seconds as instant

TASK = Task(
    id=TaskId("3fa85f64-5717-4562-b3fc-2c963f66afa6"),
    status="success",
    created_at=instant(1_795_406_400),
    updated_at=instant(1_795_406_412.345678),
    document_type="invoice",
    recognized_data=b'{"total_amount": 1234567890.10, "sender":{"name":"Zo\\u00eb"}, "line_items":[ ]}',
)
SUCCESS = Transition(TASK, "success", "processing", 0)
ENTITY = Scope(EntityId("9d2b4c8f-0000-4000-8000-000000000001"))
SOURCE = "https://api.sandbox.monite.com/v1/ocr_tasks"


def event(transition: Transition = SUCCESS, scope: Scope = Scope(), *, recognized: bool = False) -> Event:  # noqa: B008 - frozen
    return to_event(
        transition,
        scope=scope,
        namespace="watcher",
        source=SOURCE,
        detected_at=instant(1_795_406_413),
        recognized_data=recognized,
    )


GOLDEN = """{
  "specversion": "1.0",
  "id": "ID",
  "type": "ocr_task.success",
  "source": "https://api.sandbox.monite.com/v1/ocr_tasks",
  "subject": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
  "time": "2026-11-23T04:00:12.345678Z",
  "timestamp": "2026-11-23T04:00:12.345678Z",
  "datacontenttype": "application/json",
  "data": {
    "task_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "entity_id": null,
    "document_type": "invoice",
    "status": "success",
    "previous_status": "processing",
    "created_at": "2026-11-23T04:00:00.000000Z",
    "updated_at": "2026-11-23T04:00:12.345678Z",
    "detected_at": "2026-11-23T04:00:13.000000Z",
    "revision": 0
  }
}"""


def test_the_body_is_the_contracts() -> None:
    body = to_body(event())
    assert json.dumps(json.loads(body), indent=2) == GOLDEN.replace("ID", event().id)


def test_the_id_is_the_same_for_ever() -> None:
    """Subscribers remember ids for as long as they like; a new recipe would make old events new ones."""
    assert event().id == "78ddbb79-f1be-5e34-92ad-11261522bd2b"
    assert event(scope=ENTITY).id == "469ee2ca-6eb5-50aa-a07d-49c2d264821b"
    assert UUID(event().id).version == 5


def test_the_id_changes_with_each_of_its_ingredients() -> None:
    ids = [
        event_id("watcher", Scope(), SUCCESS),
        event_id("billing", Scope(), SUCCESS),
        event_id("watcher", ENTITY, SUCCESS),
        event_id("watcher", Scope(), replace(SUCCESS, task=replace(TASK, id=TaskId("another")))),
        event_id("watcher", Scope(), replace(SUCCESS, kind="error")),
        event_id("watcher", Scope(), replace(SUCCESS, revision=1)),
    ]
    assert len(set(ids)) == len(ids)


def test_the_id_depends_on_nothing_else() -> None:
    other_row = replace(TASK, status="error", updated_at=Micros(5), created_at=Micros(4), document_type=None)
    again = replace(SUCCESS, task=replace(other_row, recognized_data=None), previous_status=None)
    assert event_id("watcher", Scope(), again) == event_id("watcher", Scope(), SUCCESS)


@given(
    *[
        st.tuples(
            st.text(max_size=4), st.text(min_size=1, max_size=4), st.text(max_size=4), st.integers(0, 12)
        )
        for _ in range(2)
    ]
)
def test_ingredients_that_run_together_make_different_ids(
    one: tuple[str, str, str, int], other: tuple[str, str, str, int]
) -> None:
    def made(parts: tuple[str, str, str, int]) -> EventId:
        namespace, entity, task_id, revision = parts
        row = replace(TASK, id=TaskId(task_id))
        return event_id(namespace, Scope(EntityId(entity)), replace(SUCCESS, task=row, revision=revision))

    assert (made(one) == made(other)) == (one == other)


def test_an_entitys_event_names_it() -> None:
    assert read_data(event(scope=ENTITY)).entity_id == ENTITY.entity_id


def test_a_task_first_seen_at_its_end_has_no_previous_status() -> None:
    first = event(replace(SUCCESS, previous_status=None))
    assert json.loads(first.data)["previous_status"] is None
    assert first.id == event().id


def test_an_undocumented_status_is_flagged_and_others_are_not() -> None:
    canceled = Transition(replace(TASK, status="canceled"), "canceled", None, 0)
    assert json.loads(event(canceled).data)["unknown_status"] is True
    for kind in ("processing", "success", "error", "stalled", "vanished"):
        assert "unknown_status" not in json.loads(event(replace(SUCCESS, kind=kind)).data)


def test_recognised_data_is_left_out_unless_asked_for() -> None:
    assert b"recognized_data" not in event().data
    assert b"total_amount" not in to_body(event())


def test_recognised_data_passes_byte_for_byte() -> None:
    assert TASK.recognized_data is not None
    asked = event(recognized=True)
    assert b'"recognized_data":' + TASK.recognized_data + b"}" in asked.data
    assert b'"recognized_data":' + TASK.recognized_data + b"}" in to_body(asked)
    assert bytes(read_data(asked).recognized_data) == TASK.recognized_data  # type: ignore[arg-type] # it is set


def test_a_task_without_recognised_data_has_none_in_its_event() -> None:
    bare = replace(SUCCESS, task=replace(TASK, recognized_data=None, document_type=None))
    asked = event(bare, recognized=True)
    assert asked.data == event(bare).data
    assert json.loads(asked.data)["document_type"] is None


def test_a_stream_entry_has_one_field_for_each_attribute() -> None:
    fields = to_fields(event())
    assert list(fields) == [*json.loads(GOLDEN)]
    assert fields["specversion"] == "1.0"
    assert fields["datacontenttype"] == "application/json"
    assert fields["time"] == fields["timestamp"] == "2026-11-23T04:00:12.345678Z"
    assert json.loads(fields["data"]) == json.loads(GOLDEN)["data"]


def on_the_wire(fields: dict[str, str | bytes]) -> dict[bytes, bytes]:
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in fields.items()
    }


@pytest.mark.parametrize("recognized", [False, True])
def test_a_stream_entry_is_read_back_as_it_was_written(recognized: bool) -> None:
    written = event(scope=ENTITY, recognized=recognized)
    assert from_fields(on_the_wire(to_fields(written))) == written


@pytest.mark.parametrize("name", [b"id", b"type", b"source", b"subject", b"time", b"data"])
def test_an_entry_that_lacks_an_attribute_is_refused(name: bytes) -> None:
    fields = on_the_wire(to_fields(event()))
    del fields[name]
    with pytest.raises(EventFormatError, match="not an event"):
        from_fields(fields)


def test_an_entry_that_is_not_text_is_refused_without_showing_it() -> None:
    with pytest.raises(EventFormatError, match="not an event"):
        from_fields({**on_the_wire(to_fields(event())), b"type": b"\xff"})


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"task_id": 5}', b'"IBAN DE89"'])
def test_data_that_the_watcher_did_not_write_is_refused_without_showing_it(data: bytes) -> None:
    with pytest.raises(EventFormatError, match="not what the watcher writes") as caught:
        read_data(msgspec.structs.replace(event(), data=data))
    assert "DE89" not in str(caught.value)


@pytest.mark.parametrize("recognized", [False, True])
def test_the_official_sdk_reads_the_body(recognized: bool) -> None:
    body = to_body(event(scope=ENTITY, recognized=recognized))
    message = HTTPMessage({"content-type": "application/cloudevents+json; charset=utf-8"}, body)
    parsed = from_structured(message, JSONFormat(), CloudEvent)
    written = event(scope=ENTITY, recognized=recognized)
    assert parsed.get_specversion() == "1.0"
    assert parsed.get_id() == written.id
    assert parsed.get_type() == "ocr_task.success"
    assert parsed.get_source() == SOURCE
    assert parsed.get_subject() == TASK.id
    assert parsed.get_datacontenttype() == "application/json"
    moment = parsed.get_time()
    assert moment is not None
    assert from_datetime(moment) == TASK.updated_at
    assert parsed.get_extension("timestamp") == written.time
    assert parsed.get_data() == json.loads(written.data)
    assert from_http_event(message).get_attributes() == parsed.get_attributes()
