"""The API client against real sockets: what the transport makes of servers that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import pytest
import uvloop
from aiohttp import web
from httpx_aiohttp import AiohttpTransport

from watcher import __version__
from watcher.clock import SystemClock
from watcher.errors import StoreUnavailable
from watcher.metrics import Metrics
from watcher.model import EntityId, Micros, Scope, TaskId
from watcher.monite.auth import ClientCredentials, StaticToken
from watcher.monite.budget import Budget
from watcher.monite.circuit import Circuit
from watcher.monite.client import Auth, MoniteClient
from watcher.monite.errors import RateLimited, Unauthorized, Unavailable
from watcher.monite.exchange import Exchange
from watcher.monite.http import open_http, start_of_request
from watcher.monite.query import TaskQuery

ALL = Scope()
PAGE = b'{"data": [], "next_pagination_token": null}'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Rig:
    client: MoniteClient
    http: httpx.AsyncClient
    budget: Budget
    metrics: Metrics

    async def list(self, query: TaskQuery | None = None) -> int:
        return len((await self.client.list_tasks(ALL, query or TaskQuery())).tasks)

    def connector(self) -> aiohttp.BaseConnector:
        transport = self.http._transport
        assert isinstance(transport, AiohttpTransport)
        session = transport.client
        assert isinstance(session, aiohttp.ClientSession)
        assert session.connector is not None
        return session.connector

    def busy(self) -> int:
        """Connections that requests hold."""
        return len(self.connector()._acquired)

    def errors(self) -> dict[str, float]:
        (metric,) = self.metrics.upstream_errors.collect()
        return {
            sample.labels["reason"]: sample.value
            for sample in metric.samples
            if sample.name.endswith("_total")
        }


@asynccontextmanager
async def rig(
    url: str, auth: Callable[[Exchange], Auth] | None = None, *, connections: int = 4, **options: Any
) -> AsyncIterator[Rig]:
    clock, metrics = SystemClock(), Metrics()
    budget = Budget(100_000, clock)
    settings = {"api_version": "2024-05-25", "timeout_seconds": 5.0, "concurrency": connections, **options}
    async with open_http(url, settings["timeout_seconds"], max_connections=connections) as http:
        circuit = Circuit(clock, metrics, random.random)
        exchange = Exchange(http, budget, circuit, clock, metrics, **settings)
        client = MoniteClient(exchange, auth(exchange) if auth else StaticToken("t0ken"))
        yield Rig(client, http, budget, metrics)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server whose every path is answered by ``handler``; gives the API's base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(talk: Raw) -> AsyncIterator[str]:
    """A server that writes bytes as it likes, once it has read a request's head."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


def saying(answer: bytes) -> Raw:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return talk


def head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()


async def test_what_is_asked_arrives_as_it_was_meant() -> None:
    """Through httpx's and then yarl's own idea of quoting."""
    odd = "a+b/c==&x=1?#%41%2B é\u2028~"
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=PAGE, headers={"Set-Cookie": "sticky=1; Path=/"})

    query = TaskQuery(created_at_gte=Micros(0), id_in=(TaskId(odd), TaskId("b")), sort="id")
    # By name, as no cookie jar takes cookies from a bare address.
    async with serving(handle) as url, rig(url.replace("127.0.0.1", "localhost")) as api:
        await api.client.list_tasks(Scope(EntityId("e-1")), query)
        await api.client.list_tasks(ALL, query.page(odd))
    first, second = seen
    assert first.path == "/v1/ocr_tasks"
    assert list(first.query.items()) == query.params()
    assert list(second.query.items()) == [("pagination_token", odd)]
    assert first.headers.getall("x-monite-entity-id") == ["e-1"]
    assert first.headers.getall("authorization") == ["Bearer t0ken"]
    assert first.headers.getall("x-monite-version") == ["2024-05-25"]
    assert first.headers.getall("user-agent") == [f"ocr-watcher/{__version__}"]
    assert first.headers.getall("accept-encoding") == ["gzip"]
    assert not second.cookies
    assert first.transport is second.transport, "the connection is kept"


class Held:
    """A budget whose requests are confirmed or not, as the test says."""

    def __init__(self, busy: Callable[[], int]) -> None:
        self.busy = busy
        self.busy_when_confirmed: list[int] = []
        self.were_sent = 0
        self.failure: Exception | None = None

    async def acquire(self) -> Held:
        return self

    async def confirm(self) -> None:
        self.busy_when_confirmed.append(self.busy())
        if self.failure is not None:
            raise self.failure

    async def sent(self) -> None:
        self.were_sent += 1

    async def pause_until(self, _: float) -> None:
        raise AssertionError


async def test_a_request_is_confirmed_once_it_has_a_connection_and_before_it_is_sent() -> None:
    heads: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        heads.append(request.path)
        return web.Response(body=PAGE)

    async with serving(handle) as url, rig(url) as api:
        held = api.client._exchange._budget = Held(api.busy)
        for held.failure in (None, StoreUnavailable("the store: gone"), None):
            if held.failure is None:
                await api.list()
            else:
                with pytest.raises(StoreUnavailable):
                    await api.list()
        assert held.busy_when_confirmed == [1, 1, 1]
        assert len(heads) == 2, "what was not confirmed was not sent"
        assert held.were_sent == 2
        assert api.busy() == 0
        assert api.errors() == {}


class Looking:
    """A start that looks, when it is told that its request was sent, whether it has come over there."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.looks: list[bytes] = []

    async def confirm(self) -> None:
        self.looks.append(b"")

    async def sent(self) -> None:
        peer, _ = self.listening.accept()
        with peer:
            peer.setblocking(False)
            self.looks.append(peer.recv(4))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_request_that_is_said_to_be_sent_has_left_this_process(run: Callable[[Any], None]) -> None:
    async def send(start: Looking, port: int) -> None:
        async with open_http(f"http://127.0.0.1:{port}", 5.0) as http:
            token = start_of_request.set(start)
            with pytest.raises(httpx.HTTPError):  # nobody answers
                await http.get("/")
            start_of_request.reset(token)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        start = Looking(listening)
        run(send(start, listening.getsockname()[1]))
    assert start.looks == [b"", b"GET "]


async def test_a_task_id_stays_one_step_of_the_path() -> None:
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        return web.Response(status=404)

    async with serving(handle) as url, rig(url) as api:
        for task_id in ("a/b?c#d", "a%2Fb", "..%2f"):
            assert await api.client.get_task(ALL, TaskId(task_id)) is None
    assert paths == ["/v1/ocr_tasks/a%2Fb%3Fc%23d", "/v1/ocr_tasks/a%252Fb", "/v1/ocr_tasks/..%252f"]


async def test_a_packed_answer_is_unpacked() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(PAGE), headers={"Content-Encoding": "gzip"})

    async with serving(handle) as url, rig(url) as api:
        assert await api.list() == 0


async def test_a_packed_answer_is_bounded_by_what_it_unpacks_to() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"})

    async with serving(handle) as url, rig(url, max_body=1_000_000) as api:
        for _ in range(5):
            with pytest.raises(Unavailable) as caught:
                await api.list()
            assert caught.value.reason == "too_large"
        assert api.busy() == 0


CONTENT = f"Content-Length: {len(PAGE) + 10}"
BROKEN = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "a head too large": head("X-Large: " + "x" * 100_000, "Content-Length: 0"),
    "a control character in the head": head("X-Odd: \x00", "Content-Length: 0"),
    "two lengths": head("Content-Length: 1", "Content-Length: 2") + PAGE,
    "a length that is none": head("Content-Length: many") + PAGE,
    "a body cut short": head(CONTENT) + PAGE,
    "a chunk cut short": head("Transfer-Encoding: chunked") + b"ff\r\n" + PAGE,
    "a chunk of no size": head("Transfer-Encoding: chunked") + b"zz\r\n" + PAGE,
    "a gzip that is none": head("Content-Encoding: gzip", f"Content-Length: {len(PAGE)}") + PAGE,
    "a gzip cut short": head("Content-Encoding: gzip", "Connection: close") + gzip.compress(PAGE * 50)[:40],
    "HTML": head("Content-Type: text/html", "Content-Length: 6") + b"<html>",
    "an empty body": head("Content-Length: 0"),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_whatever_comes_back_broken_is_an_outage_and_holds_no_connection(answer: bytes) -> None:
    async with raw(saying(answer)) as url, rig(url) as api:
        for _ in range(5):
            with pytest.raises(Unavailable) as caught:
                await api.list()
            assert caught.value.reason in ("transport", "not_json")
            assert "t0ken" not in str(caught.value)
        assert api.busy() == 0
        assert sum(api.errors().values()) == 5


async def test_nobody_there(unused_tcp_port: int) -> None:
    async with rig(f"http://127.0.0.1:{unused_tcp_port}/v1") as api:
        with pytest.raises(Unavailable, match="ClientConnectorError Cannot connect") as caught:
            await api.list()
        assert caught.value.reason == "transport"


async def test_a_name_that_does_not_exist() -> None:
    async with rig("http://monite.invalid/v1") as api:
        with pytest.raises(Unavailable) as caught:
            await api.list()
        assert caught.value.reason == "transport"


async def test_a_server_without_tls() -> None:
    async with serving(stall) as url, rig(url.replace("http:", "https:")) as api:
        with pytest.raises(Unavailable) as caught:
            await api.list()
        assert caught.value.reason == "transport"


async def test_a_connection_that_the_server_gave_up_meanwhile_is_replaced() -> None:
    answer = head(f"Content-Length: {len(PAGE)}", "Connection: keep-alive") + PAGE
    async with raw(saying(answer)) as url, rig(url) as api:
        for _ in range(5):
            await api.list()
            kept = api.connector()._conns
            async with asyncio.timeout(5):
                while any(  # noqa: ASYNC110 - the pool has no event that tells of a closed connection
                    protocol.is_connected() for idle in kept.values() for protocol, _ in idle
                ):
                    await asyncio.sleep(0)


async def test_a_request_that_was_lost_is_not_sent_again_past_the_budget() -> None:
    served = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served % 2:  # on a new connection, or on one that has served before
            writer.write(head(f"Content-Length: {len(PAGE)}", "Connection: keep-alive") + PAGE)
            await reader.readuntil(b"\r\n\r\n")
            served += 1

    async with raw(talk) as url, rig(url) as api:
        for asked in range(1, 5):
            if asked % 2:
                await api.list()
            else:
                with pytest.raises(Unavailable, match="Server disconnected") as caught:
                    await api.list()
                assert caught.value.reason == "transport"
            assert served == asked
        served = 1
        with pytest.raises(Unavailable, match="Server disconnected"):
            await api.list()
        assert served == 2


async def stall(request: web.Request) -> web.StreamResponse:
    """Says what the query's ``limit`` is for: nothing, a head, or half a body; then nothing more."""
    stage = int(request.query["limit"])
    if stage > 1:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(PAGE[:20] if stage > 2 else b"")
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("stage", [1, 2, 3])
async def test_the_deadline_covers_the_whole_request(stage: int) -> None:
    async with serving(stall) as url, rig(url, timeout_seconds=0.1) as api:
        with pytest.raises(Unavailable, match="no complete answer") as caught:
            await api.list(TaskQuery(limit=stage))
        assert caught.value.reason == "timeout"
        assert api.busy() == 0


async def test_an_answer_that_drips_ends_at_the_deadline() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    async with serving(drip) as url, rig(url, timeout_seconds=0.2) as api:
        with pytest.raises(Unavailable, match="no complete answer"):
            await api.list()


async def test_redirects_are_not_followed() -> None:
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPMovedPermanently("https://user:pass@elsewhere.example/v1/ocr_tasks?token=1")

    async with serving(handle) as url, rig(url) as api:
        with pytest.raises(Unavailable, match=r"to https://elsewhere\.example: redirects") as caught:
            await api.list()
    assert paths == ["/v1/ocr_tasks"]
    assert caught.value.reason == "redirect"


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=PAGE)

    async with serving(handle) as url, rig(url) as api:
        assert await api.list() == 0


async def test_authorities_of_the_environment_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A company's own authority is named by ``SSL_CERT_FILE``; one that is not there is a clear error."""
    missing = tmp_path_factory.mktemp("tls") / "authority.pem"
    missing.write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(missing))
    with pytest.raises(ssl.SSLError):
        open_http("https://api.example/v1", 1)


class TokenApi:
    """Grants tokens and takes only the newest one."""

    def __init__(self, lifetime: float) -> None:
        self.lifetime = lifetime
        self.granted = 0
        self.asked = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.path.endswith("/auth/token"):
            assert (await request.json())["grant_type"] == "client_credentials"
            self.granted += 1
            return web.json_response({"access_token": f"t-{self.granted}", "expires_in": self.lifetime})
        self.asked += 1
        if request.headers.get("authorization") != f"Bearer t-{self.granted}":
            return web.json_response({"error": {"message": "The token has been expired."}}, status=400)
        return web.Response(body=PAGE)


def credentials(exchange: Exchange) -> Auth:
    return ClientCredentials(exchange, "id", "s3cr3t", SystemClock())


async def test_tokens_are_fetched_shared_and_renewed() -> None:
    tokens = TokenApi(lifetime=3600)
    async with serving(tokens.handle) as url, rig(url, credentials) as api:
        await asyncio.gather(*[api.list() for _ in range(20)])
        assert tokens.granted == 1
        tokens.granted += 1  # the first is withdrawn
        await asyncio.gather(*[api.list() for _ in range(20)])
        assert tokens.granted == 3


async def test_refused_credentials() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "Wrong client"}}, status=401)

    async with serving(handle) as url, rig(url, credentials) as api:
        with pytest.raises(Unauthorized, match="Wrong client"):
            await api.list()


async def test_a_rate_limit_stops_everybody() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(
            {"message": "API rate limit exceeded"}, status=429, headers={"Retry-After": "60"}
        )

    async with serving(handle) as url, rig(url) as api:
        with pytest.raises(RateLimited) as caught:
            await api.list()
        assert caught.value.retry_after == 60
        assert api.budget.remaining() == 0


async def test_the_server_s_time_comes_with_its_answers() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=PAGE, headers={"Date": "Mon, 23 Nov 2026 04:00:00 GMT"})

    async with serving(handle) as url, rig(url) as api:
        await api.list()
        now = api.client.server_clock.now()
    assert now is not None
    assert now // 60_000_000 == 1_795_406_400 // 60


@pytest.mark.timeout(400)  # four seconds of work, on a machine that may be busy with other tests
async def test_two_thousand_cancelled_requests_leave_no_connection_stuck() -> None:
    """At random moments: waiting for their turn, connecting, sending, reading the head, reading the body."""
    draw = random.Random(7)  # noqa: S311 - moments, not secrets
    reached = Counter[int]()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        for stage, part in enumerate((b"", PAGE[:10], PAGE[10:])):
            reached[stage] += 1
            await asyncio.sleep(draw.random() * 0.001)
            await (response.write(part) if response.prepared else response.prepare(request))
        return response

    async with serving(handle) as url, rig(url) as api:
        started = cancelled = 0

        async def ask_and_cancel() -> None:
            nonlocal started, cancelled
            while cancelled < 2000:
                started += 1
                task = asyncio.create_task(api.list())
                for _ in range(draw.randrange(60)):
                    await asyncio.sleep(0)
                await asyncio.sleep(draw.choice((0, draw.random() * 0.01)))
                cancelled += task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert task.cancelled() or task.exception() is None

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(ask_and_cancel())
        # Each of the moments was met: before the server saw anything, before the head, before the body.
        assert min(started - reached[0], reached[0] - reached[1], reached[1] - reached[2]) > 50
        assert api.busy() == 0
        assert await asyncio.gather(*[api.list() for _ in range(16)]) == [0] * 16
        assert api.busy() == 0
        assert api.errors() == {}
