"""The connection to the store."""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

TIMEOUT: Final = 5.0
"""Seconds for one command: well within a lease's patience, so that a slow store costs no lease at once."""


def connect(url: str) -> Redis:
    """A client for a single server; ``url`` is ``redis://``, ``rediss://`` or ``unix://``.

    Nothing is sent yet. A broken connection is tried twice more within a second; after that the caller hears
    of it. Repeating is safe because every script that writes compares before it does.
    """
    return Redis.from_url(
        url,
        protocol=2,
        decode_responses=False,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        health_check_interval=15,
        retry=Retry(FullJitterBackoff(cap=0.5, base=0.05), retries=2),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        client_name="ocr-watcher",
    )
