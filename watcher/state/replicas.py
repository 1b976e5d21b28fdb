"""Waiting for replicas: what they have acknowledged outlives the master."""

from __future__ import annotations

from typing import Final

import structlog
from redis.asyncio import Redis

from watcher.state.cluster import Cluster
from watcher.state.keys import Keys

PATIENCE: Final = 1.0
"""Seconds that the server waits for replicas at a time: less than the connection's own time-out."""

log = structlog.get_logger()


class Replicas:
    """Of the server that holds a shard, ``wanted`` replicas; none at all by 0."""

    def __init__(self, redis: Redis, keys: Keys, wanted: int) -> None:
        self._redis = redis
        self._keys = keys
        self._wanted = wanted

    async def caught_up(self) -> None:
        """Return once they have everything that was written before, however long that takes.

        It is said once that it takes long, and once that it is over.

        Raises:
            redis.RedisError: the store is in trouble.
        """
        if not self._wanted:
            return
        missing = False
        while (have := await self.acknowledged(PATIENCE)) < self._wanted:
            if not missing:
                log.warning(
                    "webhooks.replicas_missing", shard=self._keys.shard, wanted=self._wanted, have=have
                )
            missing = True
        if missing:
            log.info("webhooks.replicas_back", shard=self._keys.shard)

    async def acknowledged(self, seconds: float) -> int:
        """How many replicas have everything that was written before, after so many seconds at most.

        ``WAIT`` speaks of what its own connection did, so a write goes before it on the same one.

        Raises:
            redis.RedisError: the store is in trouble.
        """
        milliseconds = max(1, round(seconds * 1000))
        if isinstance(self._redis, Cluster):
            return await self._redis.write_and_wait(self._keys.mark, self._wanted, milliseconds)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(self._keys.mark, 1, ex=60)
            pipe.execute_command("WAIT", self._wanted, milliseconds)
            _, have = await pipe.execute()
        return int(have)
