"""A store of one's own, killed or standing still under load, again and again."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import HOST, binaries, free_port
from watcher.demo.daemon import Daemon
from watcher.model import TERMINAL
from watcher.sandbox import Sandbox
from watcher.state.connection import connect

from .harness import (
    Endpoint,
    eventually,
    listening,
    log_lines,
    new_secret,
    running,
    settings_for,
    until_ready,
    webhook,
)
from .truth import entries, until_all_published

pytestmark = pytest.mark.soak

BLOWS = 5
STILL_SECONDS = 30
LOADED = 20_000
"""Keys of somebody else's, which take so many seconds to load."""
LOADING_SECONDS = 20


class Server:
    """A server that keeps what it acknowledges in a file, as a person would run it."""

    def __init__(self, directory: Path, fsync: str) -> None:
        self._port = free_port()
        self._arguments = (
            *("--port", str(self._port), "--bind", HOST, "--dir", str(directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", fsync),
        )
        self.url = f"redis://{HOST}:{self._port}"
        self.process: Process | None = None

    async def begin(self, *more: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            str(binaries()[0]), *self._arguments, *more, stdout=asyncio.subprocess.DEVNULL
        )

    async def start(self) -> None:
        await self.begin()

        async def answers() -> bool:
            try:
                async with connect(self.url) as redis:
                    return bool(await redis.ping())
            except Exception:
                return False

        await eventually(answers, "the server does not start")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        await self.process.wait()


@dataclass(frozen=True)
class Work:
    """A daemon at work on a server, and where its webhooks go."""

    daemon: Daemon
    server: Server
    endpoint: Endpoint
    sandbox: Sandbox

    async def nothing_is_missing(self) -> None:
        """All that has ended by now stands on the stream once and has been delivered."""
        await until_all_published(self.sandbox, self.server.url)
        found = [entry.event for entry in await entries(self.server.url)]
        assert len({event.id for event in found}) == len(found)
        wanted = {event.id for event in found if event.type.removeprefix("ocr_task.") in TERMINAL}

        async def delivered() -> bool:
            return wanted <= set(self.endpoint.ids)

        await eventually(delivered, "something was never delivered")


@asynccontextmanager
async def working(directory: Path, sandbox: Sandbox, fsync: str) -> AsyncIterator[Work]:
    (directory / "store").mkdir()
    server = Server(directory / "store", fsync)
    await server.start()
    async with listening() as endpoint:
        settings = settings_for(
            sandbox.base_url,
            directory,
            WATCHER_REDIS__URL=server.url,
            WATCHER_WEBHOOKS=json.dumps([webhook("shop", endpoint.url, new_secret())]),
        )
        async with running(settings, directory) as daemon:
            yield Work(daemon, server, endpoint, sandbox)
    await server.kill()


@pytest.mark.parametrize("fsync", ["everysec", "always"])
async def test_killed_again_and_again(directory: Path, sandbox: Sandbox, fsync: str) -> None:
    """Its process ends, its machine does not: what it has written is kept, whatever ``appendfsync`` says."""
    async with working(directory, sandbox, fsync) as work:
        for _ in range(BLOWS):
            await until_ready(work.daemon)
            await work.nothing_is_missing()
            await work.server.kill()
            await work.server.start()
        await work.nothing_is_missing()


async def test_one_that_takes_long_to_load_is_waited_for(directory: Path, sandbox: Sandbox) -> None:
    """Meanwhile it refuses every command."""
    async with working(directory, sandbox, "everysec") as work:
        await until_ready(work.daemon)
        await work.nothing_is_missing()
        async with connect(work.server.url) as redis, redis.pipeline(transaction=False) as pipe:
            for number in range(LOADED):
                pipe.set(f"ballast-{number}", number)
            await pipe.execute()
        await work.server.kill()
        await work.server.begin("--key-load-delay", str(LOADING_SECONDS * 1_000_000 // LOADED))
        said_before = len(log_lines(work.daemon))

        async def refused() -> bool:
            return any("loading" in str(line.get("error")) for line in log_lines(work.daemon)[said_before:])

        await eventually(refused, "nothing was refused")
        await until_ready(work.daemon)
        await work.nothing_is_missing()


async def test_standing_still_for_longer_than_a_lease_lasts(directory: Path, sandbox: Sandbox) -> None:
    async with working(directory, sandbox, "everysec") as work:
        await until_ready(work.daemon)
        work.server.signal(signal.SIGSTOP)
        await asyncio.sleep(STILL_SECONDS)
        work.server.signal(signal.SIGCONT)
        await until_ready(work.daemon)
        await work.nothing_is_missing()
