"""The shards that an earlier layout had: what is left in them is delivered, and then they are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from watcher.clock import Clock
from watcher.errors import StoreError
from watcher.settings import Endpoint
from watcher.shard import Shard
from watcher.state.keys import Keys
from watcher.state.spread import LOOK, Spread

log = structlog.get_logger()


class Retired:
    """All of them, in this process. None is added while a daemon runs. ``make`` makes one's parts."""

    def __init__(self, spread: Spread, make: Callable[[Keys], Shard], clock: Clock) -> None:
        self._spread = spread
        self._make = make
        self._clock = clock
        self._shards: dict[str, Shard] = {}

    @property
    def keys(self) -> list[Keys]:
        """The keys of those that are left."""
        return [shard.keys for shard in self._shards.values()]

    async def run(self) -> None:
        """Work on them until nothing is left of any, or until cancelled.

        Raises:
            ConfigurationError: an endpoint's certificate file cannot be used.
        """
        for keys in (await self._spread.until()).retired:
            if keys.tag not in self._shards:
                log.info("shard.retired", tag=keys.tag)
                self._shards[keys.tag] = self._make(keys)
        async with asyncio.TaskGroup() as group:
            works = {tag: group.create_task(_work(shard), name=tag) for tag, shard in self._shards.items()}
            while works:
                await self._clock.sleep(LOOK)
                try:
                    layout = await self._spread.look()
                except StoreError:
                    continue  # away, or a reason to end, which `guard` tells
                for tag in works.keys() - {keys.tag for keys in layout.retired}:
                    works.pop(tag).cancel()
                    del self._shards[tag]

    async def reload(self, endpoints: Sequence[Endpoint], grace_seconds: float) -> None:
        """Go on with other endpoints. Raises ``ConfigurationError``."""
        await asyncio.gather(
            *(shard.webhooks.reload(endpoints, grace_seconds) for shard in self._shards.values())
        )

    async def stop(self, grace_seconds: float) -> None:
        """Claim no more, and let the attempts under way end within the grace."""
        await asyncio.gather(*(shard.webhooks.stop(grace_seconds) for shard in self._shards.values()))


async def _work(shard: Shard) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(shard.deliver())
        group.create_task(shard.lead())
