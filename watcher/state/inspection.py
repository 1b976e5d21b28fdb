"""Asks the store's servers how they are set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.state.cluster import Cluster
from watcher.state.durability import CONFIG, Reading, weaknesses
from watcher.state.store import store_errors

RETRY: Final = 1.0
"""Seconds between two attempts while the store is away."""

log = structlog.get_logger()


async def warn(redis: Redis, clock: Clock, *, failover: bool, wait_replicas: int) -> None:
    """Say once what the store's own settings put at risk, as soon as it answers."""
    while True:
        try:
            readings = await inspect(redis)
            break
        except StoreUnavailable:
            await clock.sleep(RETRY)
    for each in weaknesses(readings, failover=failover, wait_replicas=wait_replicas):
        servers = [server for server in each.servers if server]
        log.warning("store.weak", setting=each.setting, value=each.value, risk=each.risk, servers=servers)


async def inspect(redis: Redis) -> list[Reading]:
    """What each server says that takes writes. Raises ``StoreUnavailable`` when one does not answer."""
    with store_errors():
        return [await _reading(redis, server, target) for server, target in await writers(redis)]


async def writers(redis: Redis) -> list[tuple[str, Mapping[str, Any]]]:
    """The servers that take writes: of each its name, where there are several, and how to ask that one.

    Raises:
        redis.RedisError: no server of a cluster answers.
    """
    if not isinstance(redis, Cluster):
        return [("", {})]
    await redis.initialize()
    return [(node.name, {"target_nodes": node}) for node in redis.get_primaries()]


async def _reading(redis: Redis | Cluster, server: str, target: Mapping[str, Any]) -> Reading:
    try:
        said: Any = await redis.info("replication", **target)
        followed: int | None = int(said["connected_slaves"])
    except ResponseError:
        said, followed = {}, None
    try:
        config: Any = await redis.config_get(*CONFIG, **target)
    except ResponseError:
        config = None
    return Reading(server, said.get("role") != "slave", followed, config)
