"""What was left on the stream for an endpoint that lags (``scripts/lag.lua``), claimed straight from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Final, NamedTuple

from redis.asyncio import Redis

from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.webhooks.delivery import Claim
from watcher.webhooks.pace import Portion, size_of

Wanted = Callable[[str, Mapping[bytes, bytes]], str | None]
"""A stream entry as ``draw.lua`` takes it, if the endpoint wants it."""

_LEAST_SHARE: Final = 0.01
"""Of what is read, the least that an endpoint is thought to want: else it would never again be thought to want more."""


class Left(NamedTuple):
    """What of the stream was left between two ids, as ``claim.lua`` reads it, and how many of it could be claimed."""

    most: int
    after: bytes
    upto: bytes
    entries: Sequence[tuple[bytes, Sequence[bytes]]]


class Backlog:
    """One endpoint's events that are no deliveries yet, in one shard."""

    def __init__(
        self, redis: Redis, keys: Keys, endpoint: str, wanted: Wanted, threshold: int, *, coalesce: bool
    ) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._threshold = threshold
        self._coalesce = int(coalesce)
        self._share = 1.0
        self._portion = Portion()
        self._draw = redis.register_script(script("watcher.webhooks", "draw"))
        self._keys = [keys.due(endpoint), keys.claimed(endpoint), keys.waiting(endpoint), keys.lane(endpoint)]
        self._keys += [keys.line(endpoint), keys.ordered(endpoint), keys.lagging]

    def number(self, most: int) -> int:
        """How many entries to read for so many claims, going by the size of the last ones and what share was wanted."""
        return min(self._portion.number, ceil(most / self._share))

    async def draw(self, left: Left, *, now: float, ends: int) -> list[Claim]:
        """Claim what is wanted of what was left, until ``ends`` (unix milliseconds); ``now`` is in unix seconds.

        Where somebody else has drawn it meanwhile, or the lane is to give nothing, nothing is claimed. Of what keeps an
        order nothing is either: it is due then.

        Raises:
            redis.RedisError: the store is in trouble. What was claimed all the same comes back by itself.
        """
        words: list[str] = []
        entries: dict[str, dict[bytes, bytes]] = {}
        for entry_id, flat in left.entries:
            if len(words) == left.most:
                break
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            entries[entry_id.decode()] = fields
            word = self._wanted(entry_id.decode(), fields)
            words += [] if word is None else [word]
        self._portion.came(len(entries), sum(map(size_of, entries.values())))
        self._share = max(_LEAST_SHARE, len(words) / max(1, len(entries)))
        reached = left.upto if len(entries) == len(left.entries) else next(reversed(entries))
        lane = (int(now * 1000), ends, left.most, self._threshold, self._coalesce, self._endpoint)
        drawn = await self._draw(keys=self._keys, args=(*lane, left.after, reached, len(entries), *words))
        return [Claim(one.decode(), ends, due, None, entries[one.decode()]) for one, due in drawn]
