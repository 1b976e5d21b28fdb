"""What ``watcher status`` shows, read from the store alone: it works beside any number of daemons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from watcher.fleet.registry import Replica, read_replicas
from watcher.model import SECOND, Micros, Scope
from watcher.state.keys import Keys
from watcher.state.lease import holder_of
from watcher.state.store import Store, store_errors
from watcher.webhooks.stats import LaneStats, all_stats


@dataclass(frozen=True, slots=True)
class ScopeStatus:
    """A scope's progress. ``lag`` is the seconds since the oldest instant not covered, None before a start."""

    scope: str
    shard: int
    in_flight: int
    lag: float | None


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """Who polls a shard (None: nobody), for how many seconds the lease lasts, and the events kept."""

    shard: int
    holder: str | None
    lease_seconds: float
    events: int


@dataclass(frozen=True, slots=True)
class RetiredStatus:
    """The hash tag of a shard that is no more, and the events that are still kept there."""

    tag: str
    events: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that ``watcher status`` shows."""

    replicas: tuple[Replica, ...]
    shards: tuple[ShardStatus, ...]
    retired: tuple[RetiredStatus, ...]
    scopes: tuple[ScopeStatus, ...]
    endpoints: dict[str, LaneStats]


async def read_status(
    redis: Redis, shards: Sequence[Keys], endpoints: Sequence[str], now: Micros, retired: Sequence[Keys] = ()
) -> Status:
    """The present state of all shards, and of what is left in ``retired`` ones.

    Raises:
        StoreError: the store is away, or holds what is not the watcher's.
    """
    scopes = [status for keys in shards for status in await _scopes(redis, keys, now)]
    with store_errors():
        return Status(
            replicas=await read_replicas(redis, shards[0]),
            shards=tuple([await _shard(redis, keys) for keys in shards]),
            retired=tuple([RetiredStatus(keys.tag, await redis.xlen(keys.events)) for keys in retired]),
            scopes=tuple(scopes),
            endpoints=await all_stats(redis, [*shards, *retired], endpoints),
        )


async def _shard(redis: Redis, keys: Keys) -> ShardStatus:
    nonce = await redis.get(keys.lease)
    left = int(await redis.pttl(keys.lease))
    events = int(await redis.xlen(keys.events))
    holder = None if nonce is None else holder_of(nonce.decode() if isinstance(nonce, bytes) else nonce)
    return ShardStatus(keys.shard, holder, max(0, left) / 1000, events)


async def _scopes(redis: Redis, keys: Keys, now: Micros) -> list[ScopeStatus]:
    store = Store(redis, keys)
    return [await _scope(store, scope, now) for scope in await store.scopes()]


async def _scope(store: Store, scope: Scope, now: Micros) -> ScopeStatus:
    state = await store.load(scope)
    lag = None
    if state.start is not None:
        lag = max(0.0, (now - state.coverage.watermark(Micros(state.start.cover_from))) / SECOND)
    return ScopeStatus(scope.key, store.keys.shard, len(state.in_flight), lag)
