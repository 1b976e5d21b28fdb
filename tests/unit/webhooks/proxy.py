"""A small forward proxy on a real socket: absolute URLs for plain HTTP, CONNECT for the rest."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from yarl import URL

from tests.pump import pump
from tests.unit.webhooks.receiver import Request, read_request


@dataclass
class Proxy:
    """Where it listens, and the requests that it was asked to pass on. ``answer`` is said to all instead."""

    scheme: str
    answer: bytes | None
    port: int = 0
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await read_request(reader, connection=1)) is not None:
                self.requests.append(request)
                method, target, _ = request.line.split(" ")
                if self.answer is not None:
                    writer.write(self.answer)
                elif method == "CONNECT":
                    await _connect(target, reader, writer)
                    return
                else:
                    writer.write(await _pass_on(URL(target), request))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # the streams would report the last of them as an error of the server
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _connect(target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = target.rpartition(":")
    there, back = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    ways = [asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        back.transport.abort()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(url: URL, request: Request) -> bytes:
    """The answer of the one meant, to its end, since it is asked to close the connection."""
    there, back = await asyncio.open_connection(url.host, url.port)
    method, _, version = request.line.split(" ")
    own = {name: value for name, value in request.headers.items() if not name.startswith("proxy-")}
    lines = [f"{method} {url.raw_path_qs} {version}", *(f"{name}: {value}" for name, value in own.items())]
    back.write("\r\n".join([*lines, "", ""]).encode() + request.body)
    head = await there.readuntil(b"\r\n\r\n")
    back.transport.abort()
    return head


@asynccontextmanager
async def proxying(*, answer: bytes | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy that passes on whatever it is asked to, or says one thing to all. Answers' bodies it leaves out."""
    proxy = Proxy("https" if tls else "http", answer)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()
