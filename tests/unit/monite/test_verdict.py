import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import EntityId
from watcher.monite.errors import (
    InvalidPage,
    MoniteError,
    PageTokenRejected,
    RateLimited,
    Reason,
    Rejected,
    ScopeRejected,
    Unauthorized,
    Unavailable,
)
from watcher.monite.headers import Head
from watcher.monite.verdict import Call, Kind, judge, wait_after

EXPIRED = b'{"error": {"message": "The token has been expired."}}'

tasks = Call("tasks", "/ocr_tasks", token="t0ken")
of_entity = Call("tasks", "/ocr_tasks", token="t0ken", entity_id=EntityId("e"))
paged = Call("tasks", "/ocr_tasks", token="t0ken", entity_id=EntityId("e"), page_token="p4ge")
single = Call("task", "/ocr_tasks/1", token="t0ken")
entities = Call("entities", "/entities", token="t0ken")
token = Call("token", "/auth/token", content=b"{}")


@pytest.mark.parametrize(
    ("call", "status", "body", "error"),
    [
        (tasks, 301, b"", Unavailable),
        (tasks, 304, b"", Unavailable),
        (tasks, 400, b"", Rejected),
        (tasks, 400, EXPIRED, Unauthorized),
        (tasks, 401, b"", Unauthorized),
        (tasks, 403, b"", ScopeRejected),
        (tasks, 404, b"", Rejected),
        (tasks, 408, b"", Unavailable),
        (tasks, 416, b"", Rejected),
        (tasks, 422, EXPIRED, Rejected),
        (tasks, 425, b"", Unavailable),
        (tasks, 429, b"", RateLimited),
        (tasks, 500, b"", Unavailable),
        (tasks, 503, EXPIRED, Unavailable),
        (of_entity, 400, b"", Rejected),
        (of_entity, 401, b"", Unauthorized),
        (of_entity, 403, b"", ScopeRejected),
        (of_entity, 404, b"", ScopeRejected),
        (of_entity, 410, b"", Rejected),
        (paged, 400, b"", PageTokenRejected),
        (paged, 400, EXPIRED, Unauthorized),
        (paged, 401, b"", Unauthorized),
        (paged, 403, b"", ScopeRejected),
        (paged, 404, b"", PageTokenRejected),
        (paged, 422, b"", PageTokenRejected),
        (paged, 429, b"", RateLimited),
        (paged, 502, b"", Unavailable),
        (single, 403, b"", ScopeRejected),
        (single, 404, b"", Rejected),
        (entities, 401, b"", Unauthorized),
        (entities, 403, b"", Rejected),
        (entities, 404, b"", Rejected),
        (token, 400, b"", Unauthorized),
        (token, 401, b"", Unauthorized),
        (token, 403, b"", Unauthorized),
        (token, 404, b"", Rejected),
        (token, 422, b"", Unauthorized),
        (token, 429, b"", RateLimited),
        (token, 500, b"", Unavailable),
    ],
)
def test_what_a_status_means(call: Call, status: int, body: bytes, error: type[MoniteError]) -> None:
    verdict = judge(call, Head(status, request_id="r", process_time="0.1"), body)
    assert type(verdict) is error
    assert (verdict.status, verdict.request_id, verdict.process_time) == (status, "r", "0.1")


def test_the_type_answers_whether_to_ask_again() -> None:
    assert {kind: kind.retryable for kind in MoniteError.__subclasses__()} == {
        Unavailable: True,
        RateLimited: True,
        InvalidPage: True,
        PageTokenRejected: False,
        Unauthorized: False,
        ScopeRejected: False,
        Rejected: False,
    }


@given(
    st.sampled_from(get_args(Kind)),
    st.integers(300, 599),
    st.binary(max_size=50) | st.just(EXPIRED),
    st.none() | st.just("p4ge"),
)
def test_every_label_is_of_the_closed_set(kind: Kind, status: int, body: bytes, page: str | None) -> None:
    verdict = judge(Call(kind, "/x", page_token=page), Head(status), body)
    assert verdict.reason in get_args(Reason)


def test_the_message_names_the_request_and_repeats_the_api_without_secrets() -> None:
    body = json.dumps({"message": "t0ken p4ge cl1ent wrong"}).encode()
    call = Call("tasks", "/ocr_tasks", token="t0ken", page_token="p4ge", secrets=("cl1ent",))
    error = judge(call, Head(400, request_id="r-1"), body)
    assert str(error) == "GET /ocr_tasks: 400 [hidden] [hidden] [hidden] wrong"
    assert error.fields == {
        "reason": "page_token",
        "error": str(error),
        "status": 400,
        "request_id": "r-1",
    }
    for secret in ("t0ken", "p4ge", "cl1ent"):
        assert secret not in repr(call)


def test_a_redirect_names_where_it_leads() -> None:
    error = judge(tasks, Head(308, moved_to="https://elsewhere.example"), b"")
    assert error.reason == "redirect"
    assert "https://elsewhere.example" in str(error)


@pytest.mark.parametrize(
    ("head", "wait"),
    [
        (Head(200), None),
        (Head(200, remaining=0), 1.0),
        (Head(200, remaining=0, limit=1000), 1.0),
        (Head(200, remaining=3), 0.2),
        (Head(200, remaining=4), None),
        (Head(200, remaining=3, limit=30), 0.2),
        (Head(200, remaining=4, limit=30), None),
        (Head(200, remaining=6, limit=30), None),
        (Head(200, remaining=1, limit=16), 0.5),
        (Head(200, remaining=2, limit=16), None),
        (Head(200, remaining=1, limit=5), None),
        (Head(200, remaining=3, limit=0), 0.2),
        (Head(200, retry_after=5.0), None),
        (Head(500), None),
        (Head(500, remaining=0), 1.0),
        (Head(503, retry_after=5.0), 5.0),
        (Head(503, retry_after=5.0, remaining=0), 5.0),
        (Head(429), 1.0),
        (Head(429, remaining=0), 1.0),
        (Head(429, retry_after=0.0, remaining=0), 0.0),
        (Head(429, retry_after=0.5), 0.5),
        (Head(429, retry_after=7200.0), 7200.0),
    ],
)
def test_for_how_long_nothing_is_sent(head: Head, wait: float | None) -> None:
    assert wait_after(head) == (None if wait is None else pytest.approx(wait))


@pytest.mark.parametrize(
    ("call", "scope"),
    [(tasks, "-"), (of_entity, "e"), (paged, "e"), (single, "-"), (entities, None), (token, None)],
)
def test_which_scope_a_request_concerns(call: Call, scope: str | None) -> None:
    assert call.scope == scope


@given(st.integers(0, 2000), st.integers(0, 1000))
def test_the_less_remains_the_longer_is_the_pause(limit: int, remaining: int) -> None:
    waits = [wait_after(Head(200, remaining=left, limit=limit)) or 0.0 for left in (remaining, remaining + 1)]
    assert 0.0 <= waits[1] <= waits[0] <= 1.0


@pytest.mark.parametrize(("stated", "told"), [(None, 1.0), (0.0, 0.0), (90.0, 90.0)])
def test_a_rate_limit_tells_when_to_come_back(stated: float | None, told: float) -> None:
    error = judge(tasks, Head(429, retry_after=stated), b"")
    assert isinstance(error, RateLimited)
    assert error.retry_after == told


def test_an_outage_tells_when_to_come_back() -> None:
    error = judge(tasks, Head(503, retry_after=30.0), b"")
    assert isinstance(error, Unavailable)
    assert error.retry_after == 30.0
