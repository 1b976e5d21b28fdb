"""What an endpoint says to one shard's lane, for its lanes of all the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from watcher.errors import StoreUnavailable
from watcher.state.keys import Keys
from watcher.webhooks.control import pass_on
from watcher.webhooks.outage import Outage

_DRAIN_SECONDS: Final = 2.0


class Word:
    """Passes it on: until when the endpoint is held, and that it is paused.

    A script cannot, since in a cluster each shard's keys may lie on a server of their own. It is read from the store
    when it is passed on, so that a pause that has ended meanwhile is not; and once at first, since the process
    before may have died between the two. ``shards`` gives the keys of all, those that are retired too.
    """

    def __init__(
        self, redis: Redis, keys: Keys, endpoint: str, shards: Callable[[], Sequence[Keys]], outage: Outage
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._endpoint = endpoint
        self._shards = shards
        self._outage = outage
        self._news = asyncio.Event()
        self._news.set()
        self._tried = asyncio.Event()

    def spread(self) -> None:
        """There is something to pass on."""
        self._news.set()
        self._tried.clear()

    async def told(self) -> None:
        """Wait until whatever there was to pass on has been, to all lanes whose part of the store answers."""
        await self._tried.wait()

    async def run(self) -> None:
        """Pass on whatever there is until cancelled."""
        while True:
            await self._news.wait()
            await self._outage.through(f"pass on {self._endpoint}", self.run_once)

    async def run_once(self) -> None:
        """Pass on what stands now.

        Raises:
            StoreUnavailable: the store does not answer; whichever lanes could be told have been.
        """
        self._news.clear()
        others = [keys for keys in self._shards() if keys.tag != self._keys.tag]
        try:
            if others:
                await pass_on(self._redis, self._keys, self._endpoint, others)
        except BaseException:
            self._news.set()
            self._tried.set()
            raise
        if not self._news.is_set():  # else there is more by now
            self._tried.set()

    async def drain(self) -> None:
        """Pass on what is left, if that is possible at once."""
        if self._news.is_set():
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self.run_once()
