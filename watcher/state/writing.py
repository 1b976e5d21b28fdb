"""Whether the store takes writes: one that answers every question may still keep nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from watcher.errors import StoreError
from watcher.state.keys import Keys
from watcher.state.store import store_errors

SECONDS: Final = 60
"""For which what is written on trial is kept."""

_MEMORY: Final = "its memory is full; raise maxmemory, or shorten WATCHER_EVENTS__RETENTION"
_REPLICA: Final = "it is a replica; point WATCHER_REDIS__URL at its master"
_RIGHTS: Final = "its user may not write {key}; give it the rights that deploy/redis/watcher.acl names"
_DISK: Final = "it cannot save what it has; make room on its disk, its log says what failed"
_REPLICAS: Final = "too few replicas follow it; start them, or lower its min-replicas-to-write"


async def try_write(redis: Redis, shards: Iterable[Keys]) -> None:
    """Write what harms nobody and expires, where each shard's state is.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreError: it refuses the write; says why, and how to mend it.
    """
    with store_errors():
        for keys in shards:
            try:
                await redis.set(keys.mark, 1, ex=SECONDS)
            except ResponseError as error:
                raise StoreError(f"takes no writes: {refusal(error, keys.mark)}") from error


def refusal(error: ResponseError, key: str) -> str:
    """Why the write of a key was refused, and how to mend it. Pure."""
    match error:
        case OutOfMemoryError():
            return _MEMORY
        case ReadOnlyError():
            return _REPLICA
        case NoPermissionError():
            return _RIGHTS.format(key=key)
    text = str(error)
    if text.startswith("MISCONF"):
        return _DISK
    return _REPLICAS if text.startswith("NOREPLICAS") else text
