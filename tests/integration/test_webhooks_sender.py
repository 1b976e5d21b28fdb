"""One attempt over real sockets: what every kind of endpoint makes of it."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from tests.unit.webhooks.builders import endpoint
from tests.unit.webhooks.receiver import (
    Answer,
    answer,
    close,
    cut_short,
    dripping,
    flood,
    hang,
    raw,
    receiving,
    reset,
)
from watcher import __version__
from watcher.clock import SystemClock
from watcher.webhooks.outcome import Attempt, Reason
from watcher.webhooks.sender import HttpSender

BODY = b'{"id":"1"}'
SHORT = 0.2
"""Seconds of a timeout that is meant to run out; the clock of sockets cannot be owned by a test."""


@asynccontextmanager
async def sending(url: str, **changes: Any) -> AsyncIterator[HttpSender]:
    sender = HttpSender(endpoint(url=url, **changes), SystemClock())
    try:
        yield sender
    finally:
        await sender.close()


async def attempt(url: str, body: bytes = BODY, **changes: Any) -> Attempt:
    async with sending(url, **changes) as sender:
        return await sender.send(body, {"webhook-id": "1"})


async def test_what_arrives_is_a_post_with_the_endpoints_headers() -> None:
    async with receiving() as receiver:
        async with sending(
            receiver.url + "/a%2Fb?key=1%202",
            headers={"x-tenant": SecretStr("blue"), "authorization": SecretStr("Bearer t")},
            content_type="application/cloudevents+json",
        ) as sender:
            result = await sender.send(BODY, {"webhook-id": "m1", "webhook-timestamp": "5"})
        [request] = await receiver.received(1)
    assert (result.reason, result.status) == (Reason.SUCCESS, 204)
    assert request.line == "POST /hook/a%2Fb?key=1%202 HTTP/1.1"
    assert request.body == BODY
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/cloudevents+json",
        "content-length": str(len(BODY)),
        "user-agent": f"ocr-watcher/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "x-tenant": "blue",
        "authorization": "Bearer t",
        "webhook-id": "m1",
        "webhook-timestamp": "5",
    }


@pytest.mark.parametrize(
    ("script", "reason", "status"),
    [
        (answer(200, b"ok"), Reason.SUCCESS, 200),
        (answer(202), Reason.SUCCESS, 202),
        (answer(204), Reason.SUCCESS, 204),
        (answer(301, location="/other"), Reason.HTTP_3XX, 301),
        (answer(400), Reason.HTTP_4XX, 400),
        (answer(410), Reason.HTTP_410, 410),
        (answer(503), Reason.HTTP_5XX, 503),
        (reset, Reason.READ, None),
        (close, Reason.READ, None),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Reason.PROTOCOL, None),
        (raw(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"), Reason.PROTOCOL, None),
        (raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"), Reason.PROTOCOL, None),
        (
            raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            Reason.SUCCESS,
            200,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_reasons(script: Answer, reason: Reason, status: int | None) -> None:
    async with receiving(script) as receiver:
        result = await attempt(receiver.url)
    assert (result.reason, result.status) == (reason, status)
    assert result.seconds > 0


async def test_a_connection_that_breaks_before_all_is_sent() -> None:
    async def take_a_little(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(take_a_little, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await attempt(f"http://127.0.0.1:{port}/", body=bytes(2**25))
    assert (result.reason, result.status) == (Reason.WRITE, None)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 200 OK", Reason.SUCCESS),
        (b"HTTP/1.1 302 Found", Reason.HTTP_3XX),
        (b"HTTP/1.1 410 Gone", Reason.HTTP_410),
        (b"HTTP/1.1 503 Busy\r\nretry-after: 17", Reason.HTTP_5XX),
    ],
)
@pytest.mark.parametrize("breaking", [dripping, cut_short])
async def test_a_status_holds_whatever_becomes_of_the_body(
    breaking: Callable[[bytes], Answer], head: bytes, reason: Reason
) -> None:
    async with receiving(breaking(head)) as receiver:
        result = await attempt(receiver.url, timeout=SHORT)
        await receiver.all_closed()
    assert (result.reason, str(result.status)) == (reason, head.split()[1].decode())
    assert result.retry_after == ("17" if b"17" in head else None)
    assert result.answer.startswith((b"..", b"half"))


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{} and more",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk",
    ],
)
async def test_a_success_with_more_or_other_than_it_announced_is_one(text: bytes) -> None:
    async with receiving(raw(text)) as receiver, sending(receiver.url) as sender:
        results = [await sender.send(BODY, {}) for _ in range(3)]
    assert {result.reason for result in results} == {Reason.SUCCESS}
    assert max(result.seconds for result in results) < 5, "it is not waited for a body that cannot come"
    assert [request.connection for request in receiver.requests] == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
async def test_a_head_that_comes_in_pieces_holds_whatever_comes_behind_it(cut: int) -> None:
    head = b"HTTP/1.1 410 Gone\r\ntransfer-encoding: chunked\r\n\r\n"

    async def in_pieces(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" + head[:-cut])
        await _turns(10)  # the first piece is read by itself
        writer.write(head[-cut:] + b"no chunk")

    async with receiving(in_pieces) as receiver:
        assert (await attempt(receiver.url)).reason is Reason.HTTP_410


@pytest.mark.parametrize("piece", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"\r\n\r\n"])
async def test_what_announces_answers_without_end_is_none(piece: bytes) -> None:
    """It would keep the whole process busy until the time is over."""
    answered = raw(piece * 50 + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    async with receiving(answered, raw(piece * 1000)) as receiver, sending(receiver.url) as sender:
        assert (await sender.send(BODY, {})).reason is Reason.SUCCESS
        assert (await sender.send(BODY, {})).reason is Reason.PROTOCOL
        await receiver.all_closed()


async def test_a_body_that_comes_late_to_a_204_is_not_taken_for_the_next_answer() -> None:
    async def late(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n")
        await writer.drain()

    async with receiving(late) as receiver, sending(receiver.url) as sender:
        for _ in range(2):
            assert (await sender.send(BODY, {})).reason is Reason.SUCCESS
    assert [request.connection for request in receiver.requests] == [1, 2]


@pytest.mark.parametrize(
    "late", [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 2", b"\r\n", b"rubbish"]
)
async def test_what_comes_when_nothing_was_asked_is_not_taken_for_the_next_answer(late: bytes) -> None:
    idle, said = asyncio.Event(), asyncio.Event()

    async def answer_twice(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await idle.wait()
        writer.write(late)
        said.set()

    async with receiving(answer_twice, answer(500)) as receiver, sending(receiver.url) as sender:
        assert (await sender.send(BODY, {})).reason is Reason.SUCCESS
        idle.set()
        await said.wait()
        await _turns(10)  # it is there, and is read
        assert (await sender.send(BODY, {})).reason is Reason.HTTP_5XX
    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_a_connection_on_which_another_protocol_is_spoken_is_not_used_again() -> None:
    switched = raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    async with receiving(switched) as receiver, sending(receiver.url) as sender:
        for _ in range(2):
            assert (await sender.send(BODY, {})).reason is Reason.HTTP_OTHER
    assert [request.connection for request in receiver.requests] == [1, 2]


@pytest.mark.parametrize(
    ("said", "expected", "timeout"),
    [
        (b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n", (Reason.HTTP_4XX, 413), 15.0),
        (b"", (Reason.TIMEOUT, None), SHORT),
    ],
)
async def test_what_the_endpoint_does_not_read_keeps_no_connection(
    said: bytes, expected: tuple[Reason, int | None], timeout: float
) -> None:
    """A status that comes before all is sent holds; the rest is not sent any more."""
    body, over = bytes(32_000_000), asyncio.Event()
    arrived: asyncio.Queue[int] = asyncio.Queue()

    async def read_the_head_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await over.wait()
        arrived.put_nowait(len(await reader.read()))
        writer.close()

    async with await asyncio.start_server(read_the_head_only, "127.0.0.1", limit=4096) as server:
        port = server.sockets[0].getsockname()[1]
        async with sending(f"http://127.0.0.1:{port}/", timeout=timeout) as sender:
            for _ in range(2):
                result = await sender.send(body, {})
                assert (result.reason, result.status) == expected
            over.set()
            async with asyncio.timeout(10):
                assert await arrived.get() < len(body)
                assert await arrived.get() < len(body)


async def test_a_header_cannot_begin_another_one() -> None:
    async with receiving() as receiver, sending(receiver.url) as sender:
        result = await sender.send(BODY, {"webhook-id": "1\r\nx-tenant: red"})
        assert result.reason is Reason.INTERNAL
        assert (await sender.send(BODY, {})).reason is Reason.SUCCESS
        assert len(receiver.requests) == 1


async def test_retry_after_and_the_beginning_of_the_answer_are_kept() -> None:
    async with receiving(answer(429, b"slow down " * 1000, retry_after="17")) as receiver:
        result = await attempt(receiver.url)
    assert (result.reason, result.retry_after) == (Reason.HTTP_429, "17")
    assert result.answer == (b"slow down " * 1000)[:1024]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with receiving() as target, receiving(answer(status, location=target.url)) as receiver:
        result = await attempt(receiver.url)
        assert (result.reason, result.status) == (Reason.HTTP_3XX, status)
        assert len(receiver.requests) == 1
        assert target.connections == 0


async def test_the_timeout_covers_the_answer() -> None:
    async with receiving(hang) as receiver:
        result = await attempt(receiver.url, timeout=SHORT)
        assert result.reason is Reason.TIMEOUT
        assert result.seconds >= SHORT
        await receiver.all_closed()


async def test_the_timeout_covers_a_connection_that_is_never_taken() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        result = await attempt(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=SHORT)
        for filler in fillers:
            filler.close()
    assert result.reason is Reason.TIMEOUT


async def test_the_timeout_covers_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    called = asyncio.Event()
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def lookup(*_: Any, **__: Any) -> Any:
        loop.call_soon_threadsafe(called.set)
        asyncio.run_coroutine_threadsafe(_wait_for(ended), loop).result()
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    async with sending("http://name.example/", timeout=SHORT) as sender, receiving() as receiver:
        result = await sender.send(BODY, {})
        assert called.is_set()
        assert result.reason is Reason.TIMEOUT
        # That lookup still runs, and holds nobody else up.
        assert (await attempt(receiver.url)).reason is Reason.SUCCESS
        ended.set_result(None)


async def _wait_for(future: asyncio.Future[None]) -> None:
    await future


async def test_a_name_that_does_not_resolve() -> None:
    assert (await attempt("http://does-not-exist.invalid/")).reason is Reason.DNS


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await attempt(f"http://127.0.0.1:{port}/")).reason is Reason.CONNECT


async def test_ten_megabytes_are_not_read() -> None:
    async with receiving(flood, answer()) as receiver, sending(receiver.url) as sender:
        result = await sender.send(BODY, {})
        assert (result.reason, result.answer) == (Reason.SUCCESS, b"x" * 1024)
        assert (await sender.send(BODY, {})).reason is Reason.SUCCESS
        assert [request.connection for request in receiver.requests] == [1, 2]


async def test_an_answer_beyond_the_bound_costs_the_connection() -> None:
    async with receiving(answer(200, b"x" * 200_000)) as receiver, sending(receiver.url) as sender:
        for _ in range(2):
            assert (await sender.send(BODY, {})).reason is Reason.SUCCESS
    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_a_packed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(bytes(50_000_000))
    bomb = answer(200, packed, content_encoding="gzip")
    async with receiving(bomb) as receiver, sending(receiver.url) as sender:
        for _ in range(2):
            assert (await sender.send(BODY, {})).answer == packed[:1024]
    assert [request.connection for request in receiver.requests] == [1, 1], "as small as it came"


async def test_an_answer_within_the_bound_keeps_the_connection() -> None:
    async with receiving(answer(200, b"x" * 60_000)) as receiver, sending(receiver.url) as sender:
        for _ in range(3):
            assert (await sender.send(BODY, {})).reason is Reason.SUCCESS
    assert receiver.connections == 1


async def test_an_endpoints_header_takes_the_place_of_a_usual_one() -> None:
    async with receiving() as receiver:
        await attempt(receiver.url, headers={"Accept": SecretStr("application/json")})
        [request] = receiver.requests
    assert request.headers["accept"] == "application/json"
    assert request.head.lower().count("\naccept:") == 1


async def test_no_cookie_is_kept() -> None:
    # By name, since no library keeps the cookies of a bare address.
    async with (
        receiving(answer(200, set_cookie="session=1")) as receiver,
        sending(receiver.url.replace("127.0.0.1", "localhost")) as sender,
    ):
        await sender.send(BODY, {})
        await sender.send(BODY, {})
    assert len(receiver.requests) == 2
    assert all("cookie" not in request.headers for request in receiver.requests)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert (await attempt(receiver.url)).reason is Reason.SUCCESS
        assert (len(receiver.requests), proxy.connections) == (1, 0)


async def test_no_more_connections_than_attempts_at_once() -> None:
    async with receiving() as receiver, sending(receiver.url, concurrency=3) as sender:
        results = await asyncio.gather(*(sender.send(BODY, {}) for _ in range(30)))
        assert {result.reason for result in results} == {Reason.SUCCESS}
        assert receiver.connections <= 3


async def test_a_question_that_is_not_answered_holds_no_attempt_up() -> None:
    async def answer_posts_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (hang if receiver.requests[-1].line.startswith("OPTIONS") else answer())(reader, writer)

    async with (
        receiving(answer_posts_only) as receiver,
        sending(receiver.url, concurrency=1, origin="events.example.com") as sender,
    ):
        asking = asyncio.create_task(sender.ask({}))
        await receiver.received(1)
        assert (await sender.send(BODY, {})).seconds < 5
        assert not asking.done()
        asking.cancel()
        await asyncio.wait({asking})


# --- addresses ----------------------------------------------------------------------------------------------


@contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> Iterator[None]:
    """Any name stands for these addresses."""

    def lookup(_host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lookup)
        yield


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("http://127.0.0.1:{port}/", "public"),
        ("http://[::1]:{port}/", "public"),
        ("http://[::ffff:127.0.0.1]:{port}/", "public"),
        ("http://169.254.169.254/", "any"),
        ("http://[fe80::1]/", "any"),
        ("http://[::ffff:169.254.169.254]/", "any"),
    ],
)
async def test_an_address_in_the_url_is_checked(url: str, network: str) -> None:
    async with receiving() as receiver:
        result = await attempt(url.format(port=receiver.port), network=network)
        assert result.reason is Reason.ADDRESS_REFUSED
        assert receiver.connections == 0


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("10.0.0.1", "127.0.0.1", "::1")])
async def test_the_address_of_a_name_is_checked(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    async with receiving() as receiver:
        with resolving(monkeypatch, *addresses):
            result = await attempt(f"http://name.example:{receiver.port}/", network="public")
        assert result.reason is Reason.ADDRESS_REFUSED
        assert receiver.connections == 0


async def test_a_refused_address_among_others_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver:
        with resolving(monkeypatch, "169.254.169.254", "127.0.0.1"):
            result = await attempt(f"http://name.example:{receiver.port}/")
        assert result.reason is Reason.SUCCESS


async def test_the_odd_ways_to_write_an_address_lead_nowhere() -> None:
    async with receiving() as receiver:
        for host in ("2130706433", "127.1", "0x7f000001", "0177.0.0.1"):
            result = await attempt(f"http://{host}:{receiver.port}/", network="public")
            assert result.reason is not Reason.SUCCESS
        assert receiver.connections == 0


# --- soak ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_two_thousand_cancelled_attempts_leave_no_connection_stuck() -> None:
    """Cancelled at any moment: connecting, writing, waiting, reading."""
    chance = random.Random(5)  # noqa: S311 - repeatable chance is what a soak wants
    async with (
        receiving(answer(200, b"x" * 5_000)) as receiver,
        sending(receiver.url, concurrency=8) as sender,
    ):
        cancelled = 0
        while cancelled < 2000:
            tasks = [asyncio.create_task(sender.send(BODY, {})) for _ in range(16)]
            for task in tasks:
                await _turns(chance.randrange(12))
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            cancelled += sum(isinstance(result, asyncio.CancelledError) for result in results)
            assert all(isinstance(result, asyncio.CancelledError | Attempt) for result in results)
        # A stuck connection would take a place for good: with all eight taken, nothing could be sent.
        after = await asyncio.gather(*(sender.send(BODY, {}) for _ in range(64)))
        assert {result.reason for result in after} == {Reason.SUCCESS}
        target: Any = sender._target
        assert target._connector._acquired == set()
    await receiver.all_closed()


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
