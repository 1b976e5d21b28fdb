"""The connection to the store: one server, the master that sentinels name, or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from watcher.settings.store_url import StoreUrl, parse_store_url
from watcher.state.cluster import Cluster
from watcher.state.retry import BoundedRetry

TIMEOUT: Final = 5.0
"""Seconds for one command: well within a lease's patience, so that a slow store costs no lease at once."""
MOST_CONNECTIONS: Final = 100
"""Commands under way at once. Thousands of scopes ask together when they start; the others then wait."""
_CLOSED: Final = "the connection was closed meanwhile"
_pack: Final = HiredisRespSerializer().pack

C = TypeVar("C", bound=AbstractConnection)


def connect(url: str, readers: int = 0) -> Redis:
    """A client for the store at a URL; its forms stand in ``watcher.settings.store_url``.

    Nothing is sent yet. A broken connection is tried twice more within a second; after that the caller hears
    of it. Repeating is safe because every script that writes compares before it does. ``readers`` are the
    commands that wait for news most of their time, and so must not take the place of others.
    """
    wanted = parse_store_url(url)
    most = MOST_CONNECTIONS + readers
    if wanted.cluster:
        return _to_cluster(wanted)
    if wanted.service:
        return _to_master(wanted, most)
    base: type[AbstractConnection] = SSLConnection if wanted.tls else Connection
    place: dict[str, Any] = {}
    if wanted.socket:
        base, place = UnixDomainSocketConnection, {"path": wanted.socket}
    else:
        place["host"], place["port"] = wanted.nodes[0]
    pool = BlockingConnectionPool(most, None, careful(base), db=wanted.db, **place, **_manners(wanted))
    return Redis.from_pool(pool)


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master. A command waits for one to become free, as it does at a single server."""

    async def get_master_address(self) -> Any:
        try:
            return await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:  # its text is of every client's innards
            raise RedisConnectionError(
                f"no sentinel answers and names a master {self.service_name!r}"
            ) from error

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def _to_master(wanted: StoreUrl, most: int) -> Redis:
    manners = _manners(wanted)
    asked = {
        name: manners[name]
        for name in ("socket_timeout", "socket_connect_timeout", "client_name", "driver_info")
    }
    asked["retry"] = Retry(NoBackoff(), 0)  # the next one is asked instead
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        wanted.nodes,
        sentinel_kwargs={"ssl": wanted.tls, **asked, **wanted.sentinel_options},
        db=wanted.db,
        **manners,
    )
    base = SentinelManagedSSLConnection if wanted.tls else SentinelManagedConnection
    pool = _MasterPool(  # type: ignore[no-untyped-call]
        wanted.service,
        sentinel,
        max_connections=most,
        timeout=None,
        connection_class=careful(base),
        **sentinel.connection_kwargs,
    )
    return Redis.from_pool(pool)


def _to_cluster(wanted: StoreUrl) -> Redis:
    cluster = Cluster(wanted.nodes, MOST_CONNECTIONS, careful, ssl=wanted.tls, **_manners(wanted))
    # It has the commands that the watcher uses, by the same names, though not the same class.
    return cast("Redis", cluster)


def _manners(wanted: StoreUrl) -> dict[str, Any]:
    """How every connection behaves, and what its user has asked for."""
    return {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "health_check_interval": 15,
        "retry": BoundedRetry(),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
        "client_name": "ocr-watcher",
        "driver_info": None,  # it would be told by a command that Redis 7.0 does not know
        **wanted.options,
    }


def careful(base: type[C]) -> type[C]:
    """A connection on which no cancellation is lost, and that says so when it is closed under a command.

    redis-py sends under ``asyncio.wait_for``, which before Python 3.12 swallows a cancellation that comes just
    as it is done: whoever was told to stop would work on. And where a failover makes one command close the
    connections to a server, another that has just taken one of them would stumble over what is no longer there.
    """

    class Careful(base):  # type: ignore[misc, valid-type] # the class depends on the URL's scheme
        def pack_command(self, *args: Any) -> list[bytes]:
            # As the synchronous client does: Python's own takes longer for a script's arguments than the script.
            packed: list[bytes] = _pack(*args)
            return packed

        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], check_health: bool = True
        ) -> None:
            task = asyncio.current_task()
            before = task.cancelling() if task else 0
            try:
                await super().send_packed_command(command, check_health)
            except (AttributeError, RuntimeError) as error:
                raise RedisConnectionError(_CLOSED) from error
            if task is not None and task.cancelling() > before:
                await self.disconnect(nowait=True)  # nobody will read the answer
                raise asyncio.CancelledError

        async def read_response(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return await super().read_response(*args, **kwargs)
            except (AttributeError, RuntimeError) as error:
                raise RedisConnectionError(_CLOSED) from error

    return Careful
