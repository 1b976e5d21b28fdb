import json
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import Task, TaskId, from_datetime, to_iso
from watcher.monite.errors import InvalidPage, MoniteError, Unavailable
from watcher.monite.wire import (
    DEFAULT_LIFETIME,
    Entity,
    decode_entities,
    decode_task,
    decode_tasks,
    decode_token,
)

ROW = {
    "id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "created_at": "2026-11-23T04:00:00.000001Z",
    "updated_at": "2026-11-23T04:00:12Z",
    "status": "success",
    "document_type": "invoice",
    "recognized_data": {"total_amount": 12},
}


def page(*rows: object, **extra: object) -> bytes:
    return json.dumps({"data": rows, **extra}).encode()


def row(**changes: object) -> dict[str, object]:
    return {**ROW, **changes}


def test_reads_a_row() -> None:
    decoded = decode_tasks(page(ROW, next_pagination_token="n", prev_pagination_token="p"))
    (task,) = decoded.tasks
    assert task.id == ROW["id"]
    assert (task.status, task.document_type) == ("success", "invoice")
    assert to_iso(task.created_at) == "2026-11-23T04:00:00.000001Z"
    assert to_iso(task.updated_at) == "2026-11-23T04:00:12.000000Z"
    assert task.recognized_data == b'{"total_amount": 12}'
    assert decoded.next_token == "n"


@pytest.mark.parametrize("extra", [{}, {"next_pagination_token": None}])
def test_a_null_or_absent_next_token_ends_the_listing(extra: dict[str, Any]) -> None:
    assert decode_tasks(page(**extra)).next_token is None


def test_optional_fields_may_be_missing_and_unknown_ones_are_ignored() -> None:
    bare = {key: ROW[key] for key in ("id", "created_at", "updated_at", "status")}
    (task,) = decode_tasks(page({**bare, "entity_id": 5, "later": [{}]}, count=1)).tasks
    assert (task.document_type, task.recognized_data) == (None, None)


def test_null_is_no_recognized_data() -> None:
    (task,) = decode_tasks(page(row(recognized_data=None, document_type=None))).tasks
    assert (task.document_type, task.recognized_data) == (None, None)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"total_amount": 100.10, "tax": 1e2}',
        b"12345678901234567890.123456789012345678901234567890",
        b'{"a":1,"a":2}',
        b'"\\u00e9 \xc3\xa9"',
        b"[]",
        b'{"note": "null"}',
    ],
)
def test_recognized_data_is_the_bytes_that_came(raw: bytes) -> None:
    body = page(row(recognized_data="HERE")).replace(b'"HERE"', b"  " + raw + b" ")
    assert decode_tasks(body).tasks[0].recognized_data == raw


def test_tasks_do_not_keep_the_page() -> None:
    body = page(*[ROW] * 3)
    before = sys.getrefcount(body)
    decoded = decode_tasks(body)
    assert len(decoded.tasks) == 3
    assert sys.getrefcount(body) == before


@pytest.mark.parametrize(
    "status",
    [
        "processing",
        "error",
        "canceled",
        "needs_review_2",
        "on-hold",
        "Success",
        "zurück gestellt",
        'a"b|c',
        "x" * 64,
    ],
)
def test_any_printable_text_is_a_status(status: str) -> None:
    assert decode_tasks(page(row(status=status))).tasks[0].status == status


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-11-23T04:00:00Z", "2026-11-23T04:00:00.000000Z"),
        ("2026-11-23T04:00:00", "2026-11-23T04:00:00.000000Z"),
        ("2026-11-23T04:00:00.5", "2026-11-23T04:00:00.500000Z"),
        ("2026-11-23T04:00:00.123456+00:00", "2026-11-23T04:00:00.123456Z"),
        ("2026-11-23T04:00:00.123456+05:30", "2026-11-22T22:30:00.123456Z"),
        ("2026-11-23 04:00:00-01:00", "2026-11-23T05:00:00.000000Z"),
    ],
)
def test_time_stamps_with_and_without_zone_and_fraction(text: str, iso: str) -> None:
    assert to_iso(decode_tasks(page(row(updated_at=text))).tasks[0].updated_at) == iso


INVALID_ROWS: list[dict[str, object]] = [
    {"id": ""},
    {"id": None},
    {"id": 5},
    {"id": "a b"},
    {"id": "é"},
    {"id": "a\n"},
    {"id": "x" * 129},
    {"status": ""},
    {"status": None},
    {"status": 1},
    {"status": "\x7f"},
    {"status": "a\u2028b"},
    {"status": "a\n"},
    {"status": "x" * 65},
    {"created_at": None},
    {"created_at": 1732334400},
    {"created_at": "yesterday"},
    {"created_at": "2026-11-23"},
    {"updated_at": ""},
    {"updated_at": "2026-11-23T25:00:00Z"},
    {"updated_at": "1969-12-31T23:59:59Z"},
    {"updated_at": "9999-12-31T23:59:59Z"},
    {"document_type": 7},
    {"document_type": ["invoice"]},
]


@pytest.mark.parametrize("change", INVALID_ROWS)
def test_one_invalid_row_spoils_the_page(change: dict[str, object]) -> None:
    with pytest.raises(InvalidPage):
        decode_tasks(page(ROW, row(**change), ROW))


@pytest.mark.parametrize("field", ["id", "created_at", "updated_at", "status"])
def test_a_required_field_must_be_there(field: str) -> None:
    with pytest.raises(InvalidPage, match=field):
        decode_tasks(page({key: value for key, value in ROW.items() if key != field}))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b'{"data": null}',
        b'{"data": {}}',
        b'{"data": [null]}',
        b'{"data": [], "next_pagination_token": 5}',
        b'{"data": [], "next_pagination_token": ""}',
        b'{"data": [], "next_pagination_token": "' + b"x" * 4097 + b'"}',
    ],
)
def test_a_page_of_another_shape_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidPage):
        decode_tasks(body)


def test_a_page_that_names_itself_as_the_next_is_invalid() -> None:
    body = page(next_pagination_token="same")
    assert decode_tasks(body, "other").next_token == "same"
    with pytest.raises(InvalidPage):
        decode_tasks(body, "same")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>200 OK</body></html>",
        page(ROW)[:-1],
        page(ROW) + b"x",
        b'{"data": [NaN]}',
        page(row(recognized_data="HERE")).replace(b"HERE", b"\xff"),
        b'{"data": [], "later": "\xff"}',
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        page(row(recognized_data="HERE")).replace(b'"HERE"', b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_what_is_no_json_is_not_an_answer(body: bytes) -> None:
    # Types are looked at before nesting ends, so a deep page may be told as either.
    with pytest.raises((Unavailable, InvalidPage)) as caught:
        decode_tasks(body)
    assert caught.value.reason in ("not_json", "invalid_page")
    assert caught.value.reason == "not_json" or b"[[[" in body or b"NaN" in body


def test_a_single_task_must_be_the_one_asked_for() -> None:
    body = json.dumps(ROW).encode()
    assert decode_task(body, TaskId(str(ROW["id"]))).status == "success"
    with pytest.raises(InvalidPage):
        decode_task(body, TaskId("other"))


def test_entities() -> None:
    rows = [{"id": "e1", "status": "active", "type": "organization"}, {"id": "e2"}]
    decoded = decode_entities(page(*rows, next_pagination_token="n"))
    assert [(entity.id, entity.status) for entity in decoded.entities] == [("e1", "active"), ("e2", None)]
    assert isinstance(decoded.entities[0], Entity)
    assert decoded.next_token == "n"


@pytest.mark.parametrize(
    "bad", [{"id": ""}, {"id": "a\r\nx-evil: 1"}, {"status": "active"}, {"id": "e", "status": 1}]
)
def test_invalid_entities_spoil_the_page(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidPage):
        decode_entities(page({"id": "e1"}, bad))


def test_tokens() -> None:
    token = decode_token(b'{"access_token": "abc.def", "expires_in": 3600, "token_type": "Bearer"}')
    assert (token.value, token.lifetime_seconds) == ("abc.def", 3600)
    assert decode_token(b'{"access_token": "t"}').lifetime_seconds == DEFAULT_LIFETIME
    assert "abc" not in repr(token)


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "", "expires_in": 5},
        {"access_token": "a b", "expires_in": 5},
        {"access_token": "a\r\nx: y", "expires_in": 5},
        {"access_token": "ä", "expires_in": 5},
        {"access_token": None, "expires_in": 5},
        {"access_token": "t", "expires_in": 0},
        {"access_token": "t", "expires_in": -1},
        {"access_token": "t", "expires_in": "soon"},
        {"expires_in": 5},
    ],
)
def test_invalid_tokens(answer: dict[str, object]) -> None:
    with pytest.raises(InvalidPage):
        decode_token(json.dumps(answer).encode())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abé\n"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
naive = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1))
moments = naive | st.tuples(naive, zones).map(lambda pair: pair[0].replace(tzinfo=pair[1]))


@given(
    st.lists(
        st.tuples(
            st.text("".join(map(chr, range(33, 127))), min_size=1, max_size=128),
            st.text("abyz_059", min_size=1, max_size=64),
            moments,
            st.none() | st.text("invoice_é", max_size=8),
            json_values,
        )
    )
)
def test_every_documented_page_is_read_as_it_is(
    rows: list[tuple[str, str, datetime, str | None, object]],
) -> None:
    body = page(
        *(
            row(
                id=name,
                status=status,
                created_at=moment.isoformat(),
                updated_at=moment.isoformat(),
                document_type=kind,
                recognized_data=data,
            )
            for name, status, moment, kind, data in rows
        )
    )
    wanted = []
    for name, status, moment, kind, data in rows:
        instant = from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        raw = None if data is None else json.dumps(data).encode()
        wanted.append(Task(TaskId(name), status, instant, instant, kind, raw))
    assert decode_tasks(body).tasks == tuple(wanted)


SECRET = "DE89370400440532013000"


@given(st.sampled_from(["id", "status", "created_at", "updated_at", "document_type"]), json_values)
def test_messages_never_quote_a_value(field: str, value: object) -> None:
    body = page(row(**{field: [SECRET, value]}, recognized_data={"iban": SECRET}))
    with pytest.raises(InvalidPage) as caught:
        decode_tasks(body)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("change", [{"id": SECRET + " "}, {"status": SECRET * 3}, {"updated_at": SECRET}])
def test_messages_never_quote_a_text(change: dict[str, object]) -> None:
    with pytest.raises(InvalidPage) as caught:
        decode_tasks(page(row(**change)))
    assert SECRET not in str(caught.value)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_raises_anything_else(body: bytes) -> None:
    for decode in (decode_tasks, decode_entities, decode_token):
        with suppress(MoniteError):
            decode(body)
