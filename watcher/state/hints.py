"""The stream of hints: anybody who creates tasks may add to it; each shard's lease holder reads it.

An entry has the fields ``task_id`` and, where the task belongs to an entity, ``entity_id``. It is kept short:
a hint that nobody has read by the time ten thousand others have come is of no use any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast, get_args

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from watcher.model import Hint, HintSource
from watcher.state.keys import Keys
from watcher.state.store import store_errors

LONGEST: Final = 10_000
"""Entries kept, about: the store trims in whole nodes, which is cheaper."""
BATCH: Final = 500
"""Entries read at once."""
BLOCK_MS: Final = 1000
"""Milliseconds that one read waits for news: less than the connection's own time-out."""
BEGINNING: Final = "0"

_SOURCES: Final = frozenset(get_args(HintSource))

Entry = tuple[str, Hint | None]
"""A stream id and its hint; None for what is none."""


class HintStream:
    """Every method raises ``StoreUnavailable`` when the store does not answer."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def append(self, hints: Iterable[Hint]) -> None:
        """Add hints for whoever polls their scopes; the oldest make room."""
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for hint in hints:
                    pipe.xadd(self._keys.hints, _fields(hint), maxlen=LONGEST, approximate=True)
                await pipe.execute()

    async def reached(self) -> str:
        """The id of the last hint that this shard has taken in."""
        with store_errors():
            value = await self._redis.get(self._keys.hinted)
        return BEGINNING if value is None else cast("bytes", value).decode()

    async def read(self, after: str) -> list[Entry]:
        """The next hints after an id, in order; none if none came within a second."""
        with store_errors():
            answer = await self._redis.xread({self._keys.hints: after}, count=BATCH, block=BLOCK_MS)
        streams = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer or [])
        return [(entry_id.decode(), parse(fields)) for _, batch in streams for entry_id, fields in batch]

    async def taken(self, reached: str) -> None:
        """Note that all hints up to this id were taken in.

        Nothing fences this: should two daemons hold the lease for a moment, a hint is looked at twice.
        """
        with store_errors():
            await self._redis.set(self._keys.hinted, reached)


def parse(fields: Mapping[bytes, bytes]) -> Hint | None:
    """The hint of an entry, which anybody may have written; None if it is none."""
    try:
        task_id, entity_id, source = (
            fields.get(name, b"").decode() for name in (b"task_id", b"entity_id", b"source")
        )
        return Hint.of(task_id, entity_id, cast("HintSource", source) if source in _SOURCES else "stream")
    except ValueError:
        return None


def _fields(hint: Hint) -> dict[FieldT, EncodableT]:
    fields: dict[FieldT, EncodableT] = {"task_id": hint.task_id, "source": hint.source}
    if hint.scope.entity_id is not None:
        fields["entity_id"] = hint.scope.entity_id
    return fields
