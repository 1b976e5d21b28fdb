"""Webhooks as a process runs them, on a real store and with a clock that the test owns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.fakes import FakeClock
from tests.unit.webhooks.builders import KEYS, NOW, place, publish
from tests.unit.webhooks.receiver import Receiver
from watcher.clock import Clock
from watcher.fleet.slots import Slots
from watcher.metrics import Metrics
from watcher.model import Event
from watcher.settings import Endpoint
from watcher.state.keys import Keys
from watcher.webhooks.group import GROUP
from watcher.webhooks.service import Webhooks
from watcher.webhooks.stats import lane_stats


class World:
    """The store and the clock that all replicas share. Half of each delay is waited."""

    def __init__(
        self, redis: Redis, clock: Clock | None = None, keys: Keys = KEYS, shards: Sequence[Keys] = ()
    ) -> None:
        self.redis = redis
        self.keys = keys
        self.shards = shards
        self.clock = FakeClock(NOW)
        self._clock: Clock = clock or self.clock
        self.metrics = Metrics()

    def replica(
        self,
        *endpoints: Endpoint,
        consumer: str = "me",
        take_over_after: float = 10.0,
        wait_replicas: int = 0,
        slots: Slots | None = None,
    ) -> Webhooks:
        """One more; ``slots`` are those of every endpoint, its concurrency unless given."""
        return Webhooks(
            self.redis,
            self.keys,
            endpoints,
            clock=self._clock,
            metrics=self.metrics,
            jitter=lambda: 0.5,
            consumer=consumer,
            take_over_after=take_over_after,
            wait_replicas=wait_replicas,
            slots=lambda endpoint: slots or Slots(endpoint.concurrency),
            shards=lambda: self.shards,
        )

    @asynccontextmanager
    async def running(self, *endpoints: Endpoint, **options: Any) -> AsyncIterator[Webhooks]:
        """A replica that runs, and is stopped at the end: then everything it did is settled."""
        webhooks = self.replica(*endpoints, **options)
        task = asyncio.create_task(webhooks.run())
        await asyncio.sleep(0)  # so that it runs, and can be stopped
        try:
            yield webhooks
        finally:
            await webhooks.stop(30)
            await task

    async def waiting(self, name: str = "one") -> list[str]:
        found: Any = await self.redis.zrange(self.keys.waiting(name), 0, -1)
        return sorted((entry_id.decode() for entry_id in found), key=place)

    async def due(self, name: str = "one") -> dict[str, float]:
        """When what waits is due, in unix seconds."""
        found: Any = await self.redis.zrange(self.keys.due(name), 0, -1, withscores=True)
        return {entry_id.decode(): score / 1000 for entry_id, score in found}

    async def claimed(self, name: str = "one") -> list[str]:
        found: Any = await self.redis.zrange(self.keys.claimed(name), 0, -1)
        return [entry_id.decode() for entry_id in found]

    async def dead(self, name: str = "one") -> list[dict[str, str]]:
        found: Any = await self.redis.xrange(self.keys.dead(name))
        return [{key.decode(): value.decode() for key, value in letter.items()} for _, letter in found]

    async def attempted(self, count: int, name: str = "one") -> None:
        """Wait until so many attempts at a delivery have been written down as failed."""

        async def enough() -> bool:
            records: Any = await self.redis.hvals(self.keys.attempts(name))
            return any(f'"count":{count},'.encode() in record for record in records)

        await until(enough)

    async def all_accepted(self) -> None:
        """Wait until nothing of the stream is left to be accepted."""
        await until(self._is_all_accepted)

    async def settled(self, name: str = "one") -> None:
        """Wait until nothing of the stream is left to be accepted and nothing waits for this endpoint."""

        async def nothing() -> bool:
            return await self._is_all_accepted() and not (await lane_stats(self.redis, self.keys, name)).depth

        await until(nothing)

    async def _is_all_accepted(self) -> bool:
        if not await self.redis.exists(self.keys.events):
            return False
        groups: Any = await self.redis.xinfo_groups(self.keys.events)
        [group] = [one for one in groups if one["name"] == GROUP.encode()] or [None]
        return group is not None and not group["lag"] and not group["pending"]

    async def let_pass(self, seconds: float, over: Awaitable[object]) -> None:
        """Move the clock by so many seconds, then by moments, until it is over."""
        task = asyncio.ensure_future(over)
        await self.clock.advance(seconds)
        while not task.done():
            await asyncio.wait({task}, timeout=0.01)
            await self.clock.advance(0.5)
        await task

    async def leap(self, name: str, step: float, over: Awaitable[object]) -> None:
        """Jump by so many seconds, whenever an endpoint has nothing under way, until it is over."""

        async def at_rest() -> bool:
            return not await self.claimed(name)

        task = asyncio.ensure_future(over)
        while not task.done():
            await asyncio.wait({task}, timeout=0.01)
            await until(at_rest)
            self.clock.move(step)
            await self.clock.advance(0)
        await task


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only asking can tell."""
    while not await condition():  # noqa: ASYNC110 - nothing here would set an event
        await asyncio.sleep(0)


async def publish_once_it_is_back(redis: Redis, *events: Event, keys: Keys) -> None:
    """Publish as soon as the store takes writes again."""

    async def published() -> bool:
        try:
            await publish(redis, *events, keys=keys)
        except RedisError:
            return False
        return True

    await until(published)


def arrived(receiver: Receiver) -> Counter[str]:
    """How often each event arrived."""
    return Counter(request.headers["webhook-id"] for request in receiver.requests)
