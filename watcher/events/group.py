"""A consumer group on the event stream that survives the server's losing it.

Beside the group stands its cursor, the id up to which everything has been acknowledged. A server that was
restarted without its data, or failed over, may have lost the group; it is then made again from the cursor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors

FORGET_AFTER: Final = 86_400.0
"""Seconds after which an idle consumer that has nothing pending is forgotten."""

_AT_ONCE: Final = 500
"""Entries acknowledged in one step; ``acknowledge.lua`` takes twice as many at most."""

First = Literal["oldest", "newest"]
"""Where a group begins that never was: with the oldest entry, or after the newest, with what comes from now on."""

Entry = tuple[str, dict[bytes, bytes] | None]
"""A stream entry: its id and its fields, which are None when it has been deleted since it was given."""


class GroupLost(Exception):  # noqa: N818 - a state of the server, not a fault of the caller
    """The server does not know the group (any more): ``join`` makes it again."""


class ConsumerGroup:
    """One group on one shard's stream. Every method raises ``StoreUnavailable`` when the store does not answer."""

    def __init__(self, redis: Redis, keys: Keys, name: str) -> None:
        self._redis = redis
        self._name = name
        self._events = keys.events
        self._cursor = keys.cursor(name)
        self._join = redis.register_script(script(__package__, "join"))
        self._read = redis.register_script(script(__package__, "read"))
        self._acknowledge = redis.register_script(script(__package__, "acknowledge"))

    async def join(self, *, first: First) -> str | None:
        """Make sure that there is a group. Returns the id after which it begins if it had to be made.

        A group that was there before begins after its cursor, one that never was as ``first`` says.
        """
        with store_errors():
            state, start = await self._join(
                keys=[self._events, self._cursor], args=[self._name, first, round(FORGET_AFTER * 1000)]
            )
        return start.decode() if state == b"created" else None

    async def read(self, consumer: str, reached: str, count: int) -> list[Entry]:
        """The next entries for a consumer that has come as far as ``reached`` (``0-0``: it begins).

        These are the ones after that id that it was given and has not acknowledged; when there are none of
        those, new ones. They stay pending until they are acknowledged.

        Raises:
            GroupLost: see there.
        """
        with store_errors(), may_be_lost():
            answer: Any = await self._read(keys=[self._events], args=[self._name, consumer, reached, count])
        return [(entry_id.decode(), _fields(flat)) for entry_id, flat in answer]

    async def pending(self, consumer: str, end: str, count: int) -> list[str]:
        """The oldest entries that a consumer was given and has not acknowledged, up to the id ``end``.

        ``end`` itself belongs to them unless it is written with ``(`` before it.

        Raises:
            GroupLost: see there.
        """
        with store_errors(), may_be_lost():
            answer: Any = await self._redis.xpending_range(
                self._events, self._name, min="-", max=end, count=count, consumername=consumer
            )
        return [one["message_id"].decode() for one in answer]

    async def acknowledge(self, entry_ids: Sequence[str]) -> int:
        """Acknowledge entries and move the cursor; the number of those that were pending."""
        done = 0
        for start in range(0, len(entry_ids), _AT_ONCE):
            batch = entry_ids[start : start + _AT_ONCE]
            with store_errors():
                done += await self._acknowledge(keys=[self._events, self._cursor], args=[self._name, *batch])
        return done

    async def cursor(self) -> str | None:
        """The id up to which everything has been acknowledged; None where there never was a group."""
        with store_errors():
            value: Any = await self._redis.get(self._cursor)
        return None if value is None else value.decode()


@contextmanager
def may_be_lost() -> Iterator[None]:
    """Tell the server's word that it does not know the group from its other refusals.

    Raises:
        GroupLost: from the body's ``NOGROUP``.
    """
    try:
        yield
    except ResponseError as error:
        if str(error).startswith("NOGROUP"):
            raise GroupLost from error
        raise


def _fields(flat: list[bytes] | None) -> dict[bytes, bytes] | None:
    return None if flat is None else dict(zip(flat[::2], flat[1::2], strict=True))
