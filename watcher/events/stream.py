"""Reading the event stream, and trimming it to what is still needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis

from watcher.events.envelope import EventFormatError, from_fields
from watcher.model import Event, Micros
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors

BATCH: Final = 500
"""Entries read at once."""
BLOCK_MS: Final = 1000
"""Milliseconds that one read waits for news: less than the connection's own time-out."""

BEGINNING: Final = "0"
NOW: Final = "$"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event and its id on the stream."""

    id: str
    event: Event


async def follow(redis: Redis, keys: Keys, after: str, *, wait: bool = True) -> AsyncIterator[Entry]:
    """Entries after a stream id (``0``: all there are, ``$``: only what comes), in order.

    Without ``wait`` it ends where the stream does. Entries that the watcher did not write are passed over.
    Raises ``StoreUnavailable`` when the store does not answer.
    """
    at = await _last_id(redis, keys) if after == NOW else after
    while True:
        with store_errors():
            answer = await redis.xread({keys.events: at}, count=BATCH, block=BLOCK_MS if wait else None)
        streams = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer or [])
        entries = [entry for _, batch in streams for entry in batch]
        for entry_id, fields in entries:
            at = entry_id.decode()
            try:
                yield Entry(at, from_fields(fields))
            except EventFormatError:
                continue
        if not entries and not wait:
            return


async def trim(redis: Redis, keys: Keys, before: Micros, needed: str | None) -> int:
    """Remove what is older than an instant, but nothing from the id ``needed`` on or that waits for delivery.

    It returns how many were removed.

    Raises ``StoreUnavailable`` when the store does not answer.
    """
    limit = f"{before // 1000}-0"
    if needed is not None and order(needed) < order(limit):
        limit = needed
    step = redis.register_script(script(__package__, "trim"))
    with store_errors():
        while True:
            found: Any = await redis.smembers(keys.endpoints)
            names = [name.decode() for name in found]
            places = [keys.events, keys.endpoints, *(keys.waiting(name) for name in names)]
            removed = int(await step(keys=places, args=[limit, *names]))
            if removed >= 0:
                return removed


def order(entry_id: str) -> tuple[int, int]:
    """A stream id as numbers that sort as the stream does."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


async def _last_id(redis: Redis, keys: Keys) -> str:
    with store_errors():
        newest = cast("list[tuple[bytes, object]]", await redis.xrevrange(keys.events, count=1))
    return newest[0][0].decode() if newest else BEGINNING
