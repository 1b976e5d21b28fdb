"""The daemon's own store, run and used as the daemon does: embedded, with its append-only file."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from tests.benchmarks.daemon_logs import logging_as_the_daemon
from tests.benchmarks.machine import Cores
from watcher.clock import SystemClock
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.lease import RENEWAL, Lease


@asynccontextmanager
async def running_store(cores: Cores, secrets: Sequence[str] = ()) -> AsyncIterator[Redis]:
    """The embedded server on the serving cores, and a client of it as the daemon makes one.

    Meanwhile this process logs as the daemon does, ``secrets`` masked.
    """
    with (
        tempfile.TemporaryDirectory(prefix="watcher-") as name,
        logging_as_the_daemon(Path(name) / "log", secrets),
    ):
        server = EmbeddedServer(Path(name))
        with cores.starting_servers():
            await server.start()
        try:
            async with connect(server.url) as redis:
                yield redis
        finally:
            await server.stop()


@asynccontextmanager
async def leading(redis: Redis, keys: Keys) -> AsyncIterator[str]:
    """Hold the lease, renewed as the daemon renews it; gives its nonce.

    Raises:
        RuntimeError: somebody else holds it.
    """
    lease = Lease(redis, keys, SystemClock())
    if not await lease.acquire():
        raise RuntimeError("the lease is held by somebody else")

    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEWAL)
            await lease.renew()

    renewing = asyncio.create_task(renew(), name="renew")
    try:
        yield lease.nonce
    finally:
        renewing.cancel()
        await lease.release()


async def erase(redis: Redis) -> None:
    """Empty the store, between measurements."""
    await redis.flushdb(asynchronous=False)


async def cpu_seconds(redis: Redis) -> float:
    """CPU seconds of the server so far."""
    info = await redis.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def used_memory(redis: Redis) -> int:
    """Bytes that the server has allocated."""
    return int((await redis.info("memory"))["used_memory"])
