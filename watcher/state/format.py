"""The version of what a shard holds: an earlier program refuses what a later one wrote, a later one brings it on.

It is brought on step by step by the holder of the shard's lease. Each step is announced first, and then the holder
waits: a replica of an earlier version, which may still deliver, sees the announcement and stops before anything
has changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.errors import StoreError, StoreUnavailable
from watcher.state.keys import Keys
from watcher.state.lease import LeaseLostError
from watcher.state.lua import script
from watcher.state.store import store_errors
from watcher.state.versions import Standing, not_yet, refusal, standing

Step = Callable[[Redis, Keys], Awaitable[None]]
"""Brings a shard from one version to the next. It may be run again after it was broken off at any point."""

STEPS: Final[tuple[Step, ...]] = ()
"""The first one brings version 1 to version 2, and so on. One is added whenever stored data changes its form."""

LOOK: Final = 5.0
"""Seconds between two looks at whether a later version has come."""
NOTICE: Final = 30.0
"""Seconds from the announcement of a step to its beginning: a look, and the clean end of an earlier daemon."""
RETRY: Final = 1.0

log = structlog.get_logger()


class Format:
    """One shard's version. ``notice`` is 0 where nobody else can be at work on the store."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        clock: Clock,
        *,
        notice: float = NOTICE,
        steps: Sequence[Step] = STEPS,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._notice = notice
        self._steps = steps
        self._known = len(steps) + 1
        self._seen = False
        self._note = redis.register_script(script(__package__, "format"))

    async def look(self) -> Standing:
        """How it stands. What is fresh has this program's version from here on, or another's that was quicker.

        Raises:
            StoreUnavailable: the store does not answer.
            StoreError: a later version has written it.
        """
        version, upcoming = await _stored(self._redis, self._keys)
        if version is None:
            if self._seen:
                log.error(
                    "store.emptied",
                    shard=self._keys.shard,
                    lost="what was known of tasks, deliveries that waited, dead letters",
                    next="every scope has a first run, by WATCHER_POLL__START",
                    mend="watcher backfill --from the time before it was emptied",
                )
            with store_errors():
                await self._redis.hsetnx(self._keys.format, "version", str(self._known))
            version, upcoming = await _stored(self._redis, self._keys)
        self._seen = True
        found = standing(version, upcoming, self._known)
        if found is Standing.NEWER:
            raise StoreError(refusal(max(version or 0, upcoming or 0), self._known))
        return found

    async def until(self, *wanted: Standing) -> None:
        """Return once it stands so. A later version is waited out in silence: ``guard`` tells of that one."""
        while True:
            try:
                if await self.look() in wanted:
                    return
            except StoreError:
                pass
            await self._clock.sleep(RETRY)

    async def bring_on(self, nonce: str) -> None:
        """Bring it to this program's version; only for who holds the lease.

        Raises:
            StoreUnavailable: the store does not answer; it goes on where it was with the next holder.
            LeaseLostError: another holds the lease, or a later version has come: nothing more may be written.
        """
        try:
            found = await self.look()
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise LeaseLostError from error
        if found is Standing.CURRENT:
            return
        version, _ = await _stored(self._redis, self._keys)
        for number in range(version or self._known, self._known):
            log.warning(
                "format.step",
                shard=self._keys.shard,
                version=number,
                next=number + 1,
                in_seconds=self._notice,
            )
            await self._noted(nonce, number, str(number + 1))
            if self._notice:
                await self._clock.sleep(self._notice)
            with store_errors():
                await self._steps[number - 1](self._redis, self._keys)
            await self._noted(nonce, number + 1, "")
            log.warning("format.brought_on", shard=self._keys.shard, version=number + 1)

    async def _noted(self, nonce: str, version: int, upcoming: str) -> None:
        with store_errors():
            held = await self._note(
                keys=[self._keys.lease, self._keys.format], args=[nonce, version, upcoming]
            )
        if not held:
            raise LeaseLostError


async def guard(formats: Iterable[Format], clock: Clock) -> None:
    """Look again and again, for ever.

    Raises:
        StoreError: a later version has come, or was there: this daemon must end.
    """
    shards = list(formats)
    while True:
        for each in shards:
            try:
                await each.look()
            except StoreUnavailable:
                break
        await clock.sleep(LOOK)


async def readable(redis: Redis, shards: Iterable[Keys], steps: Sequence[Step] = STEPS) -> None:
    """See that a command may read what all shards hold.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreError: another version has written it.
    """
    known = len(steps) + 1
    for keys in shards:
        version, upcoming = await _stored(redis, keys)
        match standing(version, upcoming, known):
            case Standing.NEWER:
                raise StoreError(refusal(max(version or 0, upcoming or 0), known))
            case Standing.OLDER:
                raise StoreError(not_yet(version or 0, known))
            case Standing.FRESH | Standing.CURRENT:
                pass


async def _stored(redis: Redis, keys: Keys) -> tuple[int | None, int | None]:
    with store_errors():
        found: Any = await redis.hmget(keys.format, "version", "next")
    try:
        version, upcoming = (None if each is None else int(each) for each in found)
    except ValueError as error:
        raise StoreError(
            f"{keys.format} in the store is not the watcher's; set another WATCHER_REDIS__NAMESPACE"
        ) from error
    return version, upcoming
