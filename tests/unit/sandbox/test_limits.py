from __future__ import annotations

from typing import Any

import msgspec
import pytest

from watcher.sandbox import tokens
from watcher.sandbox.answers import Refusal
from watcher.sandbox.limiter import RateLimiter
from watcher.sandbox.served import RequestsServed, Served


def test_so_many_requests_a_second_for_each_client() -> None:
    limiter = RateLimiter(3)
    assert [limiter.take("a", 10.0 + n / 10).remaining for n in range(3)] == [2, 1, 0]
    refused = limiter.take("a", 10.9)
    assert (refused.granted, refused.remaining, refused.limit, refused.reset_seconds) == (False, 0, 3, 1)
    assert limiter.take("b", 10.95).granted
    assert limiter.take("a", 11.0).granted


def test_no_limit() -> None:
    limiter = RateLimiter(0)
    assert all(limiter.take("a", 1.0).granted for _ in range(1000))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, ""),
        ("", ""),
        ("Bearer", ""),
        ("Bearer ", ""),
        ("Basic abc", ""),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
    ],
)
def test_the_token_in_a_header(header: str | None, token: str) -> None:
    assert tokens.bearer(header) == token


def refusal(token: str, now: float = 0.0) -> tuple[int, Any]:
    with pytest.raises(Refusal) as caught:
        tokens.check(token, now)
    return caught.value.answer.status, msgspec.json.decode(caught.value.answer.body)["error"]["message"]


@pytest.mark.parametrize("token", ["", "invalid"])
def test_tokens_that_are_never_taken(token: str) -> None:
    assert refusal(token)[0] == 401


def test_a_given_token_is_taken_until_it_ends() -> None:
    token = tokens.give(1, 0, "me", ends_at=100.0)
    tokens.check(token, 99.9)
    assert refusal(token, 100.0) == (401, "The token has been expired.")
    tokens.check("any other text", 100.0)


def test_all_tokens_of_a_client_are_one_client_and_say_nothing_else_of_it() -> None:
    first, second = tokens.give(1, 0, "me", 100.0), tokens.give(1, 1, "me", 200.0)
    assert first != second
    assert (
        tokens.client_of(first) == tokens.client_of(second) != tokens.client_of(tokens.give(1, 2, "you", 1.0))
    )
    assert tokens.client_of("static") == "static"
    assert "me" not in tokens.client_of(first)


@pytest.mark.parametrize(("id_", "secret"), [("", "s"), ("i", ""), ("invalid", "s"), ("i", "invalid")])
def test_credentials_that_are_not_taken(id_: str, secret: str) -> None:
    with pytest.raises(Refusal):
        tokens.check_credentials(id_, secret)


def test_what_was_served_is_counted() -> None:
    served = RequestsServed()
    for at in (1.0, 1.2, 1.9, 2.1, 2.19, 5.0):
        served.arrived("list", at)
    served.arrived("get", 7.0)
    served.answered(Served(7.0, "get", "GET", "/v1/ocr_tasks/x", 200, 1, ("stale",)))
    assert served.total == 7
    assert served.by_kind == {"list": 6, "get": 1}
    assert served.per_second == {1: 3, 2: 2, 5: 1, 7: 1}
    assert (served.rows, served.by_status, served.by_fault) == (1, {200: 1}, {"stale": 1})
    assert served.most_in(1.0) == 4
    assert served.most_in(0.15) == 2
    assert RequestsServed().most_in(1.0) == 0
