"""One reader of the stream and one endpoint's queue, each step of theirs at hand, on a real server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from tests.unit.webhooks.builders import KEYS, NOW, any_entry, endpoint, place
from watcher.webhooks.delivery import Claim, Settlement
from watcher.webhooks.group import GROUP, Accepted, EventGroup
from watcher.webhooks.queue import DeliveryQueue, Settled
from watcher.webhooks.routing import Routed

ENDPOINTS = (endpoint("one"), endpoint("two"))
BOTH = (0, 1)


class Stage:
    """One reader of the stream and one endpoint's queue."""

    def __init__(self, redis: Redis, consumer: str = "me") -> None:
        self.redis = redis
        self.group = EventGroup(redis, KEYS, consumer)
        self.queue = DeliveryQueue(redis, KEYS, "one", wanted=any_entry)

    async def read(self, count: int = 100) -> list[str]:
        return [entry_id for entry_id, _ in await self.group.read(count=count, block_ms=1)]

    async def accept(self, *ids: str, to: tuple[int, ...] = BOTH, now: float = NOW) -> Accepted:
        return await self.group.accept(
            [Routed(entry_id, to) for entry_id in ids], self.group.places(ENDPOINTS), now=now
        )

    async def waiting(self, name: str = "one") -> list[str]:
        found: Any = await self.redis.zrange(KEYS.waiting(name), 0, -1)
        return sorted((entry_id.decode() for entry_id in found), key=place)

    async def due(self, name: str = "one") -> dict[str, float]:
        found: Any = await self.redis.zrange(KEYS.due(name), 0, -1, withscores=True)
        return {entry_id.decode(): score for entry_id, score in found}

    async def cursor(self) -> str | None:
        found: Any = await self.redis.get(KEYS.cursor(GROUP))
        return found.decode() if found else None

    async def claim(self, now: float = NOW, seconds: float = 30.0, most: int = 100) -> list[Claim]:
        return (await self.queue.claim(now=now, seconds=seconds, most=most)).claims

    async def settle(self, settlements: Sequence[Settlement], now: float = NOW) -> Settled:
        return await self.queue.settle(settlements, now=now)

    async def claimed(self) -> dict[str, float]:
        """Until when claims last, in unix seconds."""
        found: Any = await self.redis.zrange(KEYS.claimed("one"), 0, -1, withscores=True)
        return {entry_id.decode(): score / 1000 for entry_id, score in found}

    async def dead(self) -> list[dict[str, str]]:
        found: Any = await self.redis.xrange(KEYS.dead("one"))
        return [{name.decode(): value.decode() for name, value in letter.items()} for _, letter in found]
