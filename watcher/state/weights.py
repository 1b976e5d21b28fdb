"""What the scopes of each shard weigh in the sharing of the request budget, told from holder to holder."""

from __future__ import annotations

import math
from dataclasses import replace

from redis.asyncio import Redis

from watcher.model import Weight
from watcher.state.keys import Keys
from watcher.state.lease import TERM
from watcher.state.store import store_errors


class Weights:
    """The weights of all shards, each told by the holder of its lease and forgotten like the lease."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._own = keys.weight
        self._others = [
            replace(keys, shard=number).weight for number in range(keys.shards) if number != keys.shard
        ]

    async def exchange(self, own: Weight) -> Weight:
        """Tell this shard's weight; the sum of what was told of the others. Raises ``StoreUnavailable``.

        Nothing fences this: a weight that is wrong for a moment only makes somebody ask too often or too rarely.
        """
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._own, f"{own.traffic} {own.scopes}", px=round(TERM * 1000))
                for key in self._others:
                    pipe.get(key)
                _, *answers = await pipe.execute()
        told = [_weight(answer) for answer in answers]
        return Weight(sum(each.traffic for each in told), sum(each.scopes for each in told))


def _weight(answer: bytes | None) -> Weight:
    """A weight as it was told; what is none counts for nothing."""
    try:
        traffic, scopes = (answer or b"0 0").split()
        weight = Weight(float(traffic), int(scopes))
    except ValueError:
        return Weight()
    return weight if weight.scopes >= 0 and 0 <= weight.traffic < math.inf else Weight()
