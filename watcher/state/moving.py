"""Moves a scope's state from one shard to another, so that it may be broken off anywhere and run again.

The two lie under different hash tags, which no script may touch together. So each key is copied whole, over what an
earlier try may have left, and all of the source is removed in one step only when everything has arrived. Whatever is
still at the source is therefore complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from watcher.model import Scope
from watcher.state.keys import Keys
from watcher.state.layout import Layout, Move, moves
from watcher.state.lease import LeaseLostError
from watcher.state.lua import script
from watcher.state.replicas import Replicas
from watcher.state.store import Store, store_errors

BATCH: Final = 32
"""Keys copied in one step; the largest hold an hour's records of one scope."""


class Mover:
    """Moves between shards whose leases are held under ``nonces``, given by hash tag.

    A scope leaves its source once ``wait_replicas`` replicas of the store have it at the target.

    Every method raises ``StoreUnavailable`` when the store does not answer, and ``LeaseLostError`` when another holds
    a lease: nothing more may be written.
    """

    def __init__(self, redis: Redis, nonces: Mapping[str, str], wait_replicas: int = 0) -> None:
        self._redis = redis
        self._wait_replicas = wait_replicas
        self._nonces = nonces
        self._arrive = redis.register_script(script(__package__, "arrive"))
        self._leave = redis.register_script(script(__package__, "leave"))

    async def move(self, move: Move) -> int:
        """Move a scope; the number of keys that were copied. The source keeps nothing of it."""
        scope, source, target = move.scope, move.source, move.target
        with store_errors():
            found: Any = await self._redis.zrange(source.buckets(scope), 0, -1)
        buckets = [int(each) for each in found]
        copied = 0
        pairs = list(zip(_keys(source, scope, buckets), _keys(target, scope, buckets), strict=True))
        for start in range(0, len(pairs), BATCH):
            copied += await self._copy(move, pairs[start : start + BATCH])
        with store_errors():
            await Replicas(self._redis, target, self._wait_replicas).caught_up()
        await self.remove(source, _keys(source, scope, buckets), scope)
        return copied

    async def remove(self, keys: Keys, names: Iterable[str], scope: Scope | None = None) -> None:
        """Remove some of a shard's keys, and a scope from its set of scopes, in one step."""
        args = [self._nonces[keys.tag], scope.key if scope else ""]
        with store_errors():
            held = await self._leave(keys=[keys.lease, keys.scopes, *names], args=args)
        if not held:
            raise LeaseLostError

    async def _copy(self, move: Move, names: Sequence[tuple[str, str]]) -> int:
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for source, _ in names:
                    pipe.dump(source)
                dumps: Any = await pipe.execute()
            found = [(name, dump) for (_, name), dump in zip(names, dumps, strict=True) if dump is not None]
            target = move.target
            held = await self._arrive(
                keys=[target.lease, target.scopes, *(name for name, _ in found)],
                args=[self._nonces[target.tag], move.scope.key, *(dump for _, dump in found)],
            )
        if not held:
            raise LeaseLostError
        return len(found)


async def misplaced(redis: Redis, layout: Layout) -> tuple[list[Move], int]:
    """What has to move to where the layout is to have it, and how many scopes there are. Raises ``StoreError``."""
    found = {keys: await Store(redis, keys).scopes() for keys in layout.all}
    return moves(found, layout.target), len(set().union(*found.values()))


def _keys(keys: Keys, scope: Scope, buckets: Iterable[int]) -> list[str]:
    records = [keys.tasks(scope, bucket) for bucket in buckets]
    return [keys.scope(scope), keys.in_flight(scope), keys.buckets(scope), *records]
