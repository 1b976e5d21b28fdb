"""A store that is too old: the daemon ends before it touches it, however late it answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.integration.conftest import Server
from tests.pump import pump
from watcher.app import App
from watcher.errors import StoreError
from watcher.ops.checks import Finding, run_checks
from watcher.settings import Settings
from watcher.state.connection import connect
from watcher.state.release import release

TOO_OLD = (
    r"^the store is (Redis|Valkey) \S+, which is too old; have WATCHER_REDIS__URL name a Redis 7\.0 or newer"
)
NOT_LONG = 1.5
"""Seconds in which a daemon has looked for its store more than once."""


async def age(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry answers, in which a Redis of whatever version says that it is a 6."""
    while some := await source.read(65_536):
        sink.write(re.sub(rb"redis_version:\d+", b"redis_version:6", some))
    sink.close()


@asynccontextmanager
async def aged(socket: Path, place: Path) -> AsyncIterator[None]:
    """The server, as old as that, at another socket."""

    async def serve(here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_unix_connection(socket)
        await asyncio.gather(pump(here, away), age(there, back))

    async with await asyncio.start_unix_server(serve, place):
        yield


@pytest.fixture
def place(redis_server: Server) -> Path:
    return redis_server.socket.with_name("aged")


@pytest.fixture
def settings(place: Path) -> Settings:
    return Settings.model_validate(
        {
            "monite": {"base_url": "http://127.0.0.1:9/v1", "token": "x"},
            "redis": {"url": f"unix://{place}"},
            "http": {"port": 0},
        }
    )


async def test_the_daemon_ends_before_it_touches_it(
    settings: Settings, redis: Redis, redis_server: Server, place: Path
) -> None:
    async with aged(redis_server.socket, place):
        with pytest.raises(StoreError, match=TOO_OLD):
            await asyncio.wait_for(App(settings).run(asyncio.Event()), 20)
    left: Any = await redis.keys()
    assert left == []


async def test_one_that_is_merely_away_is_waited_for(
    settings: Settings, redis: Redis, redis_server: Server, place: Path
) -> None:
    daemon = asyncio.create_task(App(settings).run(asyncio.Event()))
    done, _ = await asyncio.wait([daemon], timeout=NOT_LONG)
    assert not done
    async with aged(redis_server.socket, place):
        with pytest.raises(StoreError, match=TOO_OLD):
            await asyncio.wait_for(daemon, 20)


async def test_the_check_says_so(settings: Settings, redis: Redis, redis_server: Server, place: Path) -> None:
    async with aged(redis_server.socket, place):
        shown: list[Finding] = []
        await run_checks(settings, shown.append)
    (store,) = [finding for finding in shown if finding.name == "store"]
    assert not store.good
    assert re.match(TOO_OLD, store.text)


async def test_one_that_may_not_be_asked_is_not_refused(redis: Redis, redis_server: Server) -> None:
    admin: Any = redis
    await admin.execute_command("ACL", "SETUSER", "mute", "on", "nopass", "~*", "+@all", "-info")
    try:
        muted = connect(f"unix://mute:x@{redis_server.socket}")
        assert await release(muted) == "a server that does not tell its version"
        await muted.aclose()
    finally:
        await admin.execute_command("ACL", "DELUSER", "mute")
