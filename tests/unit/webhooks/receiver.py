"""A receiver on a real socket whose every answer is scripted, down to the bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived. ``connection`` numbers the connection it came on."""

    line: str
    head: str
    headers: dict[str, str]
    body: bytes
    connection: int


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Writes an answer; returning, it lets the next request on this connection come."""


def answer(status: int = 204, body: bytes = b"", **headers: str) -> Answer:
    """A plain answer. Underscores in the headers' names stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    if status not in (204, 304):
        lines.append(f"content-length: {len(body)}")
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def raw(text: bytes) -> Answer:
    """These very bytes."""

    async def write(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return write


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side goes."""
    await reader.read()


def dripping(head: bytes) -> Answer:
    """A head at once, then its body at a byte a turn, without end. The head's first line and headers are given."""

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"\r\ncontent-length: 1000000\r\n\r\n")
        gone = asyncio.create_task(reader.read())
        try:
            while not gone.done():
                writer.write(b".")
                await writer.drain()
                await asyncio.wait({gone}, timeout=0.01)
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)  # whatever it was, somebody has seen it

    return write


def cut_short(head: bytes) -> Answer:
    """A head, half of its body, and the end of the connection. The head's first line and headers are given."""

    async def write(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"\r\ncontent-length: 8\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    return write


async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ten megabytes."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"x" * 10_000)
        await writer.drain()


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection off instead of answering."""
    writer.transport.abort()


async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection properly instead of answering."""
    writer.close()


@dataclass
class Receiver:
    """Answers its requests in turn as scripted, then with the last for ever; ``answers`` has each request's."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    scheme: str = "http"
    script: Iterable[Answer] = ()

    def __post_init__(self) -> None:
        self._changed = asyncio.Condition()
        self._script = iter(self.script)
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    async def received(self, count: int) -> list[Request]:
        """Wait until so many requests have come; all of them."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open == 0)

    def stop(self) -> None:
        for handler in self._handlers:
            handler.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            while (request := await read_request(reader, number)) is not None:
                async with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                self.answers.append(next(self._script))
                await self.answers[-1](reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # the streams would report the last of them as an error of the server
        finally:
            writer.transport.abort()
            self._handlers.discard(task)
            self.open -= 1
            async with self._changed:
                self._changed.notify_all()


async def read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.strip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, head, headers, body, connection)


@asynccontextmanager
async def receiving(*script: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver with this script; without one it says 204 to everything."""
    steps = script or (answer(),)
    receiver = Receiver(script=chain(steps, repeat(steps[-1])), scheme="https" if tls else "http")
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.stop()
        await receiver.all_closed()
        await server.wait_closed()
