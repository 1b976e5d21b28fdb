"""That the store's servers are new enough for what the watcher asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from watcher.errors import StoreError
from watcher.state.inspection import writers
from watcher.state.store import store_errors

OLDEST: Final = 7
"""Major version of the oldest Redis that works."""


async def release(redis: Redis) -> str:
    """Name and version of the store; of a cluster's servers, of the first that tells.

    Where ``INFO`` is forbidden nobody can tell, and nobody is refused.

    Raises:
        StoreUnavailable: a server does not answer.
        StoreError: one is too old.
    """
    found = []
    with store_errors():
        for _, target in await writers(redis):
            try:
                said: Any = await redis.info("server", **target)
            except ResponseError:
                continue
            found.append(supported(said))
    return found[0] if found else "a server that does not tell its version"


def supported(info: Mapping[str, object]) -> str:
    """Name and version of a server that says this of itself; Valkey calls itself a Redis 7.2 besides.

    Raises:
        StoreError: it is older than what the store's scripts need.
    """
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    version = f"{name} {info.get('valkey_version') or info.get('redis_version')}"
    major = str(info.get("redis_version")).partition(".")[0]
    if major.isdigit() and int(major) < OLDEST:
        raise StoreError(
            f"the store is {version}, which is too old; "
            f"have WATCHER_REDIS__URL name a Redis {OLDEST}.0 or newer, or a Valkey"
        )
    return version
