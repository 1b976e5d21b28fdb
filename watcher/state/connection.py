"""The connection to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from watcher.state.retry import BoundedRetry

TIMEOUT: Final = 5.0
"""Seconds for one command: well within a lease's patience, so that a slow store costs no lease at once."""
MOST_CONNECTIONS: Final = 100
"""Commands under way at once. Thousands of scopes ask together when they start; the others then wait."""


def connect(url: str) -> Redis:
    """A client for a single server; ``url`` is ``redis://``, ``rediss://`` or ``unix://``.

    Nothing is sent yet. A broken connection is tried twice more within a second; after that the caller hears
    of it. Repeating is safe because every script that writes compares before it does.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        timeout=None,  # a command ends in time, so a connection becomes free
        protocol=2,
        decode_responses=False,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        health_check_interval=15,
        retry=BoundedRetry(),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        client_name="ocr-watcher",
    )
    pool.connection_class = _interruptible(pool.connection_class)
    return Redis.from_pool(pool)


def _interruptible(base: type[AbstractConnection]) -> type[AbstractConnection]:
    """A connection on which no cancellation is lost.

    redis-py sends under ``asyncio.wait_for``, which before Python 3.12 swallows a cancellation that comes just
    as it is done: whoever was told to stop would work on.
    """

    class Interruptible(base):  # type: ignore[misc, valid-type] # the class depends on the URL's scheme
        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], check_health: bool = True
        ) -> None:
            task = asyncio.current_task()
            before = task.cancelling() if task else 0
            await super().send_packed_command(command, check_health)
            if task is not None and task.cancelling() > before:
                await self.disconnect(nowait=True)  # nobody will read the answer
                raise asyncio.CancelledError

    return Interruptible
