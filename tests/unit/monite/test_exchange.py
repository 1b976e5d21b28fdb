import asyncio
import zlib

import aiohttp
import httpx
import pytest
import structlog

from tests.fakes import settle
from tests.unit.monite.scripted import Answer, ScriptedApi, answer
from watcher.errors import StoreUnavailable
from watcher.model import EntityId, from_seconds
from watcher.monite.breaker import FIRST, THRESHOLD
from watcher.monite.budget import Started
from watcher.monite.errors import InvalidPage, MoniteError, RateLimited, Rejected, Unavailable
from watcher.monite.exchange import MAX_ERROR_BODY
from watcher.monite.verdict import Call
from watcher.monite.wire import TaskPage, decode_tasks

CALL = Call("tasks", "/ocr_tasks", token="t0ken")


async def ask(api: ScriptedApi, call: Call = CALL) -> TaskPage:
    return await api.exchange.ask(call, decode_tasks)


async def test_a_request_says_who_asks_for_what() -> None:
    api = ScriptedApi(answer(), answer())
    await ask(api, Call("tasks", "/ocr_tasks", params=[("id__in", "a"), ("id__in", "b")], token="t0ken"))
    await ask(api, Call("tasks", "/ocr_tasks", entity_id=EntityId("e-1"), token="t0ken"))
    plain, of_entity = api.requests
    assert str(plain.url) == "https://api.example/v1/ocr_tasks?id__in=a&id__in=b"
    assert plain.method == "GET"
    assert plain.headers["authorization"] == "Bearer t0ken"
    assert plain.headers["x-monite-version"] == "2024-05-25"
    assert "x-monite-entity-id" not in plain.headers
    assert of_entity.headers["x-monite-entity-id"] == "e-1"


async def test_a_request_for_a_token_carries_json_and_no_token() -> None:
    api = ScriptedApi(answer())
    await ask(api, Call("token", "/auth/token", content=b'{"a": 1}'))
    (request,) = api.requests
    assert (request.method, request.content) == ("POST", b'{"a": 1}')
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


FAULTS: list[tuple[Answer, str]] = [
    (httpx.ConnectError("refused"), "transport"),
    (httpx.ReadTimeout("late"), "transport"),  # told apart by its cause, see below
    (httpx.DecodingError("bad gzip"), "transport"),
    (httpx.InvalidURL("no"), "transport"),
    (aiohttp.ClientPayloadError("cut"), "transport"),
    (aiohttp.ServerDisconnectedError(), "transport"),
    (ValueError("header"), "transport"),
    (zlib.error("bad"), "transport"),
    (RuntimeError("Session is closed"), "transport"),
    (OSError(104, "reset"), "transport"),
    (TimeoutError(), "timeout"),
    (aiohttp.SocketTimeoutError(), "timeout"),
    (httpx.Response(500), "server_error"),
    (httpx.Response(302), "redirect"),
    (httpx.Response(200, text="<html>"), "not_json"),
    (httpx.Response(200), "not_json"),
    (httpx.Response(204), "not_json"),
    (httpx.Response(200, json={"data": 5}), "invalid_page"),
    (httpx.Response(429), "rate_limited"),
    (httpx.Response(400), "rejected"),
    (httpx.Response(401), "unauthorized"),
    (httpx.Response(403), "scope_rejected"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
async def test_every_failure_is_one_of_ours_and_counted_once(fault: Answer, reason: str) -> None:
    api = ScriptedApi(fault)
    with pytest.raises(MoniteError) as caught:
        await ask(api)
    assert caught.value.reason == reason
    assert api.errors() == {reason: 1}


@pytest.mark.parametrize(
    ("mapped", "cause", "reason"),
    [
        (httpx.ConnectTimeout(""), aiohttp.ServerDisconnectedError(), "transport"),
        (httpx.ReadTimeout(""), aiohttp.SocketTimeoutError(), "timeout"),
        (httpx.ConnectTimeout(""), aiohttp.ConnectionTimeoutError(), "timeout"),
    ],
)
async def test_a_lost_connection_is_told_from_a_time_out(
    mapped: Exception, cause: Exception, reason: str
) -> None:
    mapped.__cause__ = cause
    api = ScriptedApi(mapped)
    with pytest.raises(Unavailable) as caught:
        await ask(api)
    assert caught.value.reason == reason


async def test_the_transport_s_own_words_are_told_without_secrets() -> None:
    api = ScriptedApi(ValueError("bad header b'Bearer t0ken'"))
    with pytest.raises(Unavailable) as caught:
        await ask(api)
    assert str(caught.value) == "GET /ocr_tasks: ValueError bad header b'Bearer [hidden]'"
    assert caught.value.__suppress_context__


async def test_a_success_is_not_counted_and_a_missing_task_neither() -> None:
    api = ScriptedApi(answer(), answer(404))
    await ask(api)
    with pytest.raises(Rejected):
        await ask(api, Call("task", "/ocr_tasks/1", token="t0ken"))
    assert api.errors() == {}


async def test_a_failure_knows_what_support_asks_for() -> None:
    seen = {"x_request_id": "r-1", "x_process_time": "0.5"}
    api = ScriptedApi(answer(500, **seen), answer(200, {"data": 1}, **seen))
    for kind, status in ((Unavailable, 500), (InvalidPage, 200)):
        with pytest.raises(kind) as caught:
            await ask(api)
        assert caught.value.fields["request_id"] == "r-1"
        assert caught.value.fields["process_time"] == "0.5"
        assert caught.value.status == status


async def test_each_request_is_logged_for_debugging_without_its_secrets() -> None:
    api = ScriptedApi(answer(x_request_id="r-1", x_process_time="0.02"))
    with structlog.testing.capture_logs() as logs:
        await ask(
            api, Call("tasks", "/ocr_tasks", [("pagination_token", "p4ge")], token="t0ken", page_token="p4ge")
        )
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("monite.request", "debug")
    assert (line["status"], line["request_id"], line["process_time"]) == (200, "r-1", "0.02")
    assert "t0ken" not in str(line)
    assert "p4ge" not in str(line)


@pytest.mark.parametrize(
    ("refusal", "wait"),
    [
        (answer(429, retry_after="7"), 7.0),
        (answer(429, retry_after="0.25"), 0.25),
        (answer(429), 1.0),
        (answer(429, retry_after="Mon, 23 Nov 2026 04:00:09 GMT", date="Mon, 23 Nov 2026 04:00:00 GMT"), 9.0),
        (answer(503, retry_after="120"), 120.0),
        (answer(200, ratelimit_remaining="0"), 1.0),
        (answer(200, ratelimit_remaining="1", ratelimit_limit="16"), 0.5),
    ],
)
async def test_nothing_is_sent_before_the_api_wants_it_and_then_at_once(
    refusal: httpx.Response, wait: float
) -> None:
    api = ScriptedApi(refusal, *[answer() for _ in range(3)])
    api.clock.move(2.0)
    (await asyncio.gather(ask(api), return_exceptions=True))
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(ask(api))
        await api.clock.advance(wait - 0.001)
        assert len(api.requests) == 1
        await api.clock.advance(0.002)
    assert api.times == [2.0, *[pytest.approx(2.0 + wait)] * 3]
    assert all(at >= 2.0 + wait for at in api.times[1:])


async def test_a_rate_limit_is_obeyed_even_when_its_body_never_ends() -> None:
    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # the base class's own shape
            yield b'{"message": "slow down"}'
            await asyncio.Event().wait()

    api = ScriptedApi(
        httpx.Response(429, headers={"retry-after": "5"}, stream=Endless()), timeout_seconds=0.01
    )
    with pytest.raises(RateLimited, match="slow down") as caught:
        await ask(api)
    assert caught.value.retry_after == 5.0
    assert api.budget.remaining() == 0


class Away:
    """A budget whose store is away."""

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once

    async def acquire(self) -> Started:
        if self.at_once:
            raise StoreUnavailable("the store: gone")
        return Started()

    async def pause_until(self, _: float) -> None:
        raise StoreUnavailable("the store: gone")


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_budget_whose_store_is_away_is_no_failure_of_the_api(at_once: bool) -> None:
    api = ScriptedApi(*[answer(429)] * 6)
    api.exchange._budget = Away(at_once=at_once)
    for _ in range(6):
        with pytest.raises(StoreUnavailable):
            await ask(api)
    assert len(api.requests) == (0 if at_once else 6)
    assert api.errors() == {}


async def test_while_the_api_fails_requests_are_held_back_and_one_tries() -> None:
    api = ScriptedApi(*[answer(502)] * THRESHOLD, *[answer() for _ in range(3)])
    for _ in range(THRESHOLD):
        with pytest.raises(Unavailable):
            await ask(api)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(ask(api))
        await api.clock.advance(FIRST / 2 - 0.001)
        assert len(api.requests) == THRESHOLD
        await api.clock.advance(0.002)
    assert len(api.requests) == THRESHOLD + 3


async def test_one_failing_entity_does_not_hold_back_the_others() -> None:
    bad, good = (Call("tasks", "/ocr_tasks", entity_id=EntityId(name), token="t0ken") for name in "bg")
    api = ScriptedApi(answer(), *[answer(502)] * 3 * THRESHOLD, answer(), rate=100)
    await ask(api, good)
    for _ in range(3 * THRESHOLD):
        with pytest.raises(Unavailable):
            await ask(api, bad)
    await ask(api, good)
    assert api.clock.monotonic() == 0.0


async def test_a_slow_answer_ends_at_the_deadline() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    api = ScriptedApi(never, timeout_seconds=0.01)
    with pytest.raises(Unavailable, match=r"no complete answer within 0\.01 s") as caught:
        await ask(api)
    assert caught.value.reason == "timeout"


async def test_a_cancelled_request_stays_cancelled() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    api = ScriptedApi(never)
    task = asyncio.create_task(ask(api))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert api.errors() == {}


async def test_an_answer_too_large_is_refused() -> None:
    api = ScriptedApi(
        httpx.Response(200, content=b" " * 101), httpx.Response(200, content=b'{"data":[]}'), max_body=100
    )
    with pytest.raises(Unavailable) as caught:
        await ask(api)
    assert caught.value.reason == "too_large"
    assert (await ask(api)).tasks == ()


async def test_of_an_error_only_the_beginning_is_read() -> None:
    read = 0

    class Torrent(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # the base class's own shape
            nonlocal read
            while True:
                read += 1024
                yield b"x y " * 256

    api = ScriptedApi(httpx.Response(500, stream=Torrent()))
    with pytest.raises(Unavailable, match="500 x y x y"):
        await ask(api)
    assert read <= MAX_ERROR_BODY + 2048


async def test_only_a_valid_answer_tells_the_time() -> None:
    date = "Mon, 23 Nov 2026 04:00:00 GMT"
    api = ScriptedApi(answer(500, date=date), answer(200, {"no": "page"}, date=date), answer(date=date))
    for _ in range(2):
        with pytest.raises(MoniteError):
            await ask(api)
    assert api.exchange.server_clock.now() is None
    await ask(api)
    api.clock.move(3.0)
    assert api.exchange.server_clock.now() == from_seconds(1_795_406_403)


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    """Or those that the budget has counted would wait for a connection and then start in a crowd."""
    gate = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return answer()

    api = ScriptedApi(*[slow] * 30, rate=10, concurrency=4)
    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(ask(api))
        await api.clock.advance(60)
        assert len(api.requests) == 4
        gate.set()
        while len(api.requests) < 30:
            await settle(100)
            await api.clock.advance(0.1)
    for first in api.times:
        assert sum(1 for at in api.times if first <= at < first + 1) <= 10
