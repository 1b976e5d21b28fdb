"""A receiver as fast as Python gets, in a process of its own: it counts POSTs and answers each at once.

Run as a program it prints its port, and ends when its standard input does: with whoever started it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from tests.benchmarks.machine import Cores

_ROOT = Path(__file__).parents[2]
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_DONE = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"


class _Counter:
    """How many POSTs have come, over all connections."""

    def __init__(self) -> None:
        self.posts = 0


class _Connection(asyncio.Protocol):
    """As much of HTTP/1.1 as the clients here speak: bodies with a length, and kept connections."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is one without saying so

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, head_end)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            if self._buffer.startswith(b"POST"):
                self._counter.posts += 1
                self._transport.write(_DONE)
            else:
                text = b"%d" % self._counter.posts
                self._transport.write(_DONE.replace(b": 0", b": %d" % len(text)) + text)
            self._buffer = self._buffer[end:]


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running receiver."""

    port: int

    @property
    def url(self) -> str:
        """Where to POST."""
        return f"http://127.0.0.1:{self.port}/ocr"

    async def posts(self) -> int:
        """How many have come so far."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: receiver\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None
        text = await reader.readexactly(int(length[1]))
        writer.close()
        await writer.wait_closed()
        return int(text)


@asynccontextmanager
async def running_receiver(cores: Cores) -> AsyncIterator[Receiver]:
    """A receiver on the serving cores."""
    with cores.starting_servers():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, cwd=_ROOT, stdin=PIPE, stdout=PIPE
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Receiver(int(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    counter = _Counter()
    server = await loop.create_server(lambda: _Connection(counter), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
