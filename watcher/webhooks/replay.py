"""Delivering a past range of the stream to an endpoint again. It goes on where it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final

from redis.asyncio import Redis

from watcher.settings import Endpoint
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors
from watcher.webhooks.delivery import asked_again
from watcher.webhooks.routing import Router

BATCH: Final = 500
"""Stream entries in one step."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A range of the stream, ``[low, high)`` in unix milliseconds, of which all before ``reached`` is done.

    ``read`` counts entries and ``delivered`` those that are delivered again; the others do not match the
    endpoint, or wait for it anyhow.
    """

    low: int
    high: int
    reached: str
    read: int = 0
    delivered: int = 0

    @property
    def share_done(self) -> float:
        """How much has been read, by time: from 0 to 1."""
        at = int(self.reached.strip("(").partition("-")[0])
        return min(1.0, max(0.0, (at - self.low) / (self.high - self.low)))


async def replay(
    redis: Redis, keys: Keys, endpoint: Endpoint, *, low: int, high: int, now: float
) -> AsyncIterator[Replay]:
    """Have everything in ``[low, high)`` (unix milliseconds) that the endpoint wants delivered again.

    It yields how far it has come, first as it begins: where a range that begins at ``low`` was left unfinished, it
    goes on there, wherever that one was to end. ``now`` is in unix seconds.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    step = redis.register_script(script("watcher.webhooks", "redeliver"))
    name = endpoint.name
    places = [keys.due(name), keys.waiting(name), keys.attempts(name), keys.endpoints]
    places += [keys.line(name), keys.ordered(name), keys.events, keys.lagging]
    router, at = Router((endpoint,)), Replay(low, high, f"{low}-0")
    with store_errors():
        kept: Any = await redis.hmget(keys.replay(name), "low", "reached")
        began, reached = kept
        if reached and int(began) == low:
            at = replace(at, reached=reached.decode())
        yield at
        while entries := await _entries(redis, keys, at):
            wanted = [word for entry_id, fields in entries if (word := router.word(entry_id, fields))]
            words: list[str | bytes | int] = [
                int(now * 1000),
                name,
                asked_again(now),
                int(endpoint.coalesce),
                *wanted,
            ]
            again = await step(keys=places, args=words) if wanted else 0
            at = Replay(low, high, f"({entries[-1][0]}", at.read + len(entries), at.delivered + again)
            # After the step, so that nothing is passed over; a step done twice changes nothing.
            await redis.hset(keys.replay(name), mapping={"low": low, "reached": at.reached})
            yield at
        await redis.unlink(keys.replay(name))


async def _entries(redis: Redis, keys: Keys, at: Replay) -> list[tuple[str, dict[bytes, bytes]]]:
    found: Any = await redis.xrange(keys.events, at.reached, f"({at.high}-0", count=BATCH)
    return [(entry_id.decode(), fields) for entry_id, fields in found]
