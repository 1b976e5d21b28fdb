"""Pausing an endpoint, letting it go on, and forgetting one that is configured no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis

from watcher.model import Pause
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors
from watcher.webhooks.stats import lane_stats

BATCH: Final = 500
"""Deliveries in one step, about: the server stands still for it."""


async def pause(redis: Redis, keys: Keys, endpoint: str, now: float) -> None:
    """Send nothing more to an endpoint; what is due is kept. ``now`` is in unix seconds.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    with store_errors():
        await redis.hset(keys.lane(endpoint), mapping={"paused": Pause.BY_HAND, "paused_at": int(now * 1000)})


async def pass_on(redis: Redis, keys: Keys, endpoint: str, others: Sequence[Keys]) -> None:
    """Have an endpoint's lanes of other shards held and paused as this one is, if it is.

    Raises:
        StoreUnavailable: the store does not answer for one of them; the others have been told.
    """
    step = redis.register_script(script("watcher.webhooks", "heed"))
    with store_errors():
        lane: Any = await redis.hmget(
            keys.lane(endpoint), "hold", "paused", "paused_at", "failing_since", "paused_by"
        )
        hold, paused, paused_at, failing_since, paused_by = lane
        if hold is None and paused is None:
            return
        words = [hold or 0, paused or "", paused_at or 0, failing_since or 0, paused_by or keys.tag]
        told = await asyncio.gather(
            *(step(keys=[other.lane(endpoint)], args=words) for other in others), return_exceptions=True
        )
        for trouble in told:
            if isinstance(trouble, BaseException):
                raise trouble


async def note_refusal(redis: Redis, keys: Keys, endpoint: str, why: str) -> None:
    """Keep for people why an endpoint does not permit that it is sent to; an empty text: it does, or is not asked.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    with store_errors():
        if why:
            await redis.hset(keys.lane(endpoint), "refused", why)
        else:
            await redis.hdel(keys.lane(endpoint), "refused")


async def resume(redis: Redis, keys: Keys, endpoint: str, now: float) -> int:
    """Send to an endpoint again, at once: everything that waits, in the stream's order. How much that is.

    Raises:
        StoreUnavailable: the store does not answer; it is still paused, and may be resumed again.
    """
    step = redis.register_script(script("watcher.webhooks", "reorder"))
    let_go = redis.register_script(script("watcher.webhooks", "resume"))
    places = [keys.due(endpoint), keys.waiting(endpoint), keys.ordered(endpoint)]
    first = "0"
    with store_errors():
        while first:
            first = (await step(keys=places, args=[int(now * 1000), first, BATCH])).decode()
        waiting = (await lane_stats(redis, keys, endpoint)).depth
        await let_go(keys=[keys.lane(endpoint)], args=[int(now * 1000)])
    return waiting


async def forget(redis: Redis, keys: Keys, endpoint: str) -> int:
    """Drop everything that is kept for an endpoint, dead letters too. How many deliveries waited.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    step = redis.register_script(script("watcher.webhooks", "forget"))
    places = [
        keys.lagging,
        keys.endpoints,
        keys.due(endpoint),
        keys.claimed(endpoint),
        keys.waiting(endpoint),
        keys.line(endpoint),
        keys.ordered(endpoint),
        keys.attempts(endpoint),
        keys.lane(endpoint),
        keys.kept(endpoint),
        keys.replay(endpoint),
        keys.dead(endpoint),
    ]
    with store_errors():
        waited = (await lane_stats(redis, keys, endpoint)).depth
        await step(keys=places, args=[endpoint])
    return waited
