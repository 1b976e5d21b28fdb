"""That the state is spread over as many shards as the settings say: whoever was told another number touches nothing."""

from __future__ import annotations

from typing import Any, Final

import structlog
from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.errors import StoreError, StoreUnavailable
from watcher.state.keys import Keys
from watcher.state.layout import FIELDS, Layout, LayoutError, refusal
from watcher.state.lease import LeaseLostError
from watcher.state.lua import script
from watcher.state.release import release
from watcher.state.store import store_errors

LOOK: Final = 5.0
"""Seconds between two looks at whether it has changed."""
RETRY: Final = 1.0

log = structlog.get_logger()


async def read_layout(redis: Redis, namespace: str) -> Layout | None:
    """What is stored; None where nothing is yet.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreError: it holds what is not the watcher's.
    """
    key = Keys(namespace).layout
    with store_errors():
        values: Any = await redis.hmget(key, *FIELDS)
    if values[0] is None:
        return None
    try:
        return Layout.decode(namespace, (value or b"" for value in values))
    except LayoutError as error:
        raise StoreError(
            f"{key} in the store is not the watcher's; set another WATCHER_REDIS__NAMESPACE"
        ) from error


async def change_layout(redis: Redis, before: Layout | None, after: Layout) -> bool:
    """Note another layout; False if it is no longer as it was before. Raises ``StoreUnavailable``."""
    was = ("", "", "") if before is None else before.encode()
    step = redis.register_script(script(__package__, "layout"))
    with store_errors():
        return bool(await step(keys=[Keys(after.namespace).layout], args=[*was, *after.encode()]))


async def fitting(redis: Redis, namespace: str, shards: int) -> Layout:
    """The layout, if it is one of so many shards, or nothing is stored yet.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreError: there is another number of shards, or it is being changed.
    """
    layout = await read_layout(redis, namespace) or Layout(namespace, shards)
    if (why := refusal(layout, shards)) is not None:
        raise StoreError(why)
    return layout


class Spread:
    """The layout as a daemon sees that was told of so many shards.

    Everything that works on the store waits for it, so it is here that a store which is too old is refused first.
    """

    def __init__(self, redis: Redis, namespace: str, shards: int, clock: Clock) -> None:
        self._redis = redis
        self._namespace = namespace
        self._shards = shards
        self._clock = clock
        self._new_enough = False

    async def look(self) -> Layout:
        """The layout. Where nothing is stored yet it is this daemon's from here on, or another's that was quicker.

        Raises:
            StoreUnavailable: the store does not answer.
            StoreError: it is too old, there is another number of shards, or it is being changed.
        """
        if not self._new_enough:
            await release(self._redis)
            self._new_enough = True
        if await read_layout(self._redis, self._namespace) is None:
            await change_layout(self._redis, None, Layout(self._namespace, self._shards))
        return await fitting(self._redis, self._namespace, self._shards)

    async def until(self) -> Layout:
        """The layout, once it is this daemon's. Another is waited out in silence: ``guard`` tells of that one."""
        while True:
            try:
                return await self.look()
            except StoreError:
                await self._clock.sleep(RETRY)

    async def guard(self) -> None:
        """Look again and again, for ever.

        Raises:
            StoreError: the store is too old, there is another number of shards, or it is being changed: this daemon
                must end.
        """
        seen = said = False
        while True:
            try:
                await self.look()
                seen = True
            except StoreUnavailable as error:
                # Whoever has begun its work says so itself. Nobody has before the layout was seen.
                if not (seen or said):
                    log.warning(
                        "store.unavailable",
                        error=str(error),
                        mend="start the store, or mend WATCHER_REDIS__URL",
                    )
                    said = True
            await self._clock.sleep(LOOK)

    async def confirm(self) -> None:
        """See, holding a lease, that it is of a shard of this layout: nobody changes the layout until it is given up.

        Raises:
            StoreUnavailable: the store does not answer.
            LeaseLostError: the layout is another: nothing may be written.
        """
        try:
            await self.look()
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise LeaseLostError from error

    async def forget(self, layout: Layout, keys: Keys) -> bool:
        """Forget a retired tag; False if the layout has changed since it was read. Raises ``StoreUnavailable``."""
        return await change_layout(self._redis, layout, layout.without(keys))
