from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from multidict import MultiDict

from watcher.model import Micros, from_datetime
from watcher.sandbox import Query
from watcher.sandbox.answers import Refusal
from watcher.sandbox.parameters import task_query

ID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
NOON = from_datetime(datetime(2026, 3, 1, 12, tzinfo=UTC))


def read(*pairs: tuple[str, str]) -> Query:
    return task_query(MultiDict(pairs))


def refused(*pairs: tuple[str, str]) -> tuple[int, Any]:
    with pytest.raises(Refusal) as caught:
        read(*pairs)
    return caught.value.answer.status, msgspec.json.decode(caught.value.answer.body)


def test_nothing_asked_for_is_everything_in_order_of_creation() -> None:
    assert read() == Query(sort="created_at", descending=False, limit=100)


def test_every_parameter() -> None:
    assert read(
        ("order", "desc"),
        ("limit", "7"),
        ("sort", "id"),
        ("created_at__gte", "2026-03-01T12:00:00Z"),
        ("created_at__lt", "2026-03-01T12:00:01Z"),
        ("status", "error"),
        ("document_type", "receipt"),
        ("id__in", ID),
        ("id__in", ID.upper().replace("3", "4")),
        ("unheard_of", "ignored"),
    ) == Query(
        sort="id",
        descending=True,
        limit=7,
        created_from=NOON,
        created_before=Micros(NOON + 1_000_000),
        status="error",
        document_type="receipt",
        ids=(ID, ID.replace("3", "4")),  # type: ignore[arg-type] # ids as text
    )


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-01T12:00",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00.0",
        "2026-03-01T12:00:00.000000Z",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01T06:30:00.000-05:30",
    ],
)
def test_every_documented_way_to_write_an_instant(written: str) -> None:
    assert read(("created_at__gte", written)).created_from == NOON


@pytest.mark.parametrize(
    "written",
    [
        "",
        "yesterday",
        "2026-03-01",
        "20260301T120000Z",
        "2026-03-01 12:00:00",
        "2026-13-01T12:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T12:00:00 01:00",
        "2026-03-01T12:00:00.1234567Z",
        "1772366400",
    ],
)
def test_other_ways_are_refused(written: str) -> None:
    status, body = refused(("created_at__lt", written))
    assert status == 422
    assert body["detail"][0]["loc"] == ["query", "created_at__lt"]


@pytest.mark.parametrize(
    ("filters", "first", "before"),
    [
        ({"gt": 0}, 1, None),
        ({"gte": 0}, 0, None),
        ({"lt": 0}, None, 0),
        ({"lte": 0}, None, 1),
        ({"gt": 0, "gte": 0}, 1, None),
        ({"gt": 0, "gte": 5}, 5, None),
        ({"lt": 0, "lte": 0}, None, 0),
        ({"lt": 9, "lte": 3}, None, 4),
        ({"gte": 0, "lt": 0}, 0, 0),
    ],
)
def test_the_four_filters_make_one_range(
    filters: dict[str, int], first: int | None, before: int | None
) -> None:
    query = read(
        *((f"created_at__{name}", f"2026-03-01T12:00:00.{value:06}Z") for name, value in filters.items())
    )
    assert query.created_from == (None if first is None else NOON + first)
    assert query.created_before == (None if before is None else NOON + before)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1000000"])
def test_a_limit_out_of_range_is_416(limit: str) -> None:
    status, body = refused(("limit", limit))
    assert status == 416
    assert "limit" in body["error"]["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "many"),
        ("limit", "1.5"),
        ("order", "up"),
        ("sort", "updated_at"),
        ("status", "canceled"),
        ("document_type", "letter"),
        ("id__in", "17"),
        ("id__in", ""),
    ],
)
def test_bad_values_are_422_with_their_place(name: str, value: str) -> None:
    status, body = refused((name, value))
    assert status == 422
    (detail,) = body["detail"]
    assert detail["loc"] == ["query", name]
    assert detail["msg"]
    assert detail["type"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    _, body = refused(("order", "up"), ("id__in", "1"), ("id__in", "2"), ("status", "done"))
    assert len(body["detail"]) == 4
