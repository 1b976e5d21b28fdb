"""The token bucket that bounds how many deliveries an endpoint gets a second, over all replicas and shards."""

from __future__ import annotations

from typing import Final

import msgspec
from redis.asyncio import Redis

from watcher.state.keys import Keys
from watcher.state.lua import script

_BURST_SECONDS: Final = 0.1
"""So much of a second's allowance may be spent at once; else a high rate would need a wake-up for each."""


class Taken(msgspec.Struct, frozen=True):
    """How many tokens were taken, and when there will be one if there was none (unix seconds)."""

    tokens: int
    next_at: float | None


class Bucket:
    """An endpoint's bucket. Every method raises ``redis.RedisError`` when the store is in trouble."""

    def __init__(self, redis: Redis, keys: Keys, endpoint: str) -> None:
        self._key = keys.rate(endpoint)
        self._take = redis.register_script(script(__package__, "take"))

    async def take(self, most: int, *, rate: float, now: float) -> Taken:
        """Take up to ``most`` tokens, of which there come ``rate`` a second. ``now`` is in unix seconds."""
        tokens, next_at = await self._move(most, rate, now)
        return Taken(tokens, float(next_at) / 1000 if next_at else None)

    async def put_back(self, tokens: int, *, rate: float, now: float) -> None:
        """Put back what was taken and not used."""
        await self._move(-tokens, rate, now)

    async def _move(self, most: int, rate: float, now: float) -> tuple[int, bytes]:
        burst = max(1.0, rate * _BURST_SECONDS)
        tokens, next_at = await self._take(keys=[self._key], args=[int(now * 1000), rate, burst, most])
        return tokens, next_at
