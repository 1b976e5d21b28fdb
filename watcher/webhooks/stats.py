"""How deliveries stand, read from the store: for gauges, for people, and for whoever trims the stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from watcher.metrics import Metrics
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.webhooks.group import GROUP, lags


@dataclass(frozen=True, slots=True)
class LaneStats:
    """An endpoint's deliveries. ``oldest_undelivered_seconds`` is 0 where none waits.

    ``paused`` is why nothing is sent, empty if something is; ``paused_at`` since when, and ``held_until`` until
    when nothing is sent because the endpoint fails or asked to wait (unix seconds, 0: not at all). ``failures``
    counts those in a row. ``refused`` is why the endpoint does not permit that it is sent to, empty if it does.
    """

    depth: int = 0
    oldest_undelivered_seconds: float = 0.0
    dead_letters: int = 0
    paused: str = ""
    paused_at: float = 0.0
    held_until: float = 0.0
    failures: int = 0
    refused: str = ""

    def __add__(self, other: LaneStats) -> LaneStats:
        return LaneStats(
            self.depth + other.depth,
            max(self.oldest_undelivered_seconds, other.oldest_undelivered_seconds),
            self.dead_letters + other.dead_letters,
            self.paused or other.paused,
            max(self.paused_at, other.paused_at),
            max(self.held_until, other.held_until),
            max(self.failures, other.failures),
            self.refused or other.refused,
        )


async def lane_stats(redis: Redis, keys: Keys, endpoint: str) -> LaneStats:
    """An endpoint's deliveries in one shard.

    Raises:
        redis.RedisError: the store is in trouble.
    """
    read = redis.register_script(script("watcher.webhooks", "stats"))
    places = [keys.waiting(endpoint), keys.dead(endpoint), keys.lane(endpoint), keys.lagging, keys.events]
    depth, oldest, dead, paused, paused_at, held, failures, refused = await read(
        keys=places, args=[endpoint, GROUP]
    )
    return LaneStats(
        depth,
        max(0.0, _seconds(oldest)),
        dead,
        paused.decode(),
        _seconds(paused_at),
        _seconds(held),
        failures,
        refused.decode(),
    )


async def all_stats(redis: Redis, shards: Iterable[Keys], endpoints: Iterable[str]) -> dict[str, LaneStats]:
    """The deliveries of these endpoints, and of all others that ever had one, over several shards.

    Raises:
        redis.RedisError: the store is in trouble.
    """
    configured = set(endpoints)
    total: dict[str, LaneStats] = dict.fromkeys(sorted(configured), LaneStats())
    for keys in shards:
        for name in sorted(configured | await known_endpoints(redis, keys)):
            total[name] = total.get(name, LaneStats()) + await lane_stats(redis, keys, name)
    return total


async def known_endpoints(redis: Redis, keys: Keys) -> set[str]:
    """Names of the endpoints that ever had a delivery in this shard, also of those no longer configured.

    Raises:
        redis.RedisError: the store is in trouble.
    """
    names: Any = await redis.smembers(keys.endpoints)
    return {name.decode() for name in names}


def set_gauges(metrics: Metrics, stats: Mapping[str, LaneStats], shown: Iterable[str] = ()) -> None:
    """Show the figures of ``all_stats`` as metrics, and none of the endpoints ``shown`` before that are not in it."""
    for name in set(shown) - stats.keys():
        metrics.delivery_queue_depth.remove(name)
        metrics.delivery_oldest_undelivered.remove(name)
        metrics.dead_letters.remove(name)
        metrics.endpoint_paused.remove(name)
    for name, one in stats.items():
        metrics.delivery_queue_depth.labels(name).set(one.depth)
        metrics.delivery_oldest_undelivered.labels(name).set(one.oldest_undelivered_seconds)
        metrics.dead_letters.labels(name).set(one.dead_letters)
        metrics.endpoint_paused.labels(name).set(bool(one.paused))


async def needed_from(redis: Redis, keys: Keys) -> str | None:
    """The oldest stream id that a delivery or the consumer group still needs; None where nothing needs any.

    Everything below it may be trimmed. All endpoints that ever had a delivery count, configured or not.

    Raises:
        redis.RedisError: the store is in trouble.
    """
    # The cursor first: what moves from the stream into a lane meanwhile lies behind the cursor that was read.
    cursor: Any = await redis.get(keys.cursor(GROUP))
    needed = [] if cursor is None else [_after(cursor.decode())]
    # And what lags before what waits, to which it moves when it is drawn.
    lagging: Any = await redis.hgetall(keys.lagging)
    needed += [_after(after) for after in lags(lagging).values()]
    for name in await known_endpoints(redis, keys):
        oldest: Any = await redis.zrange(keys.waiting(name), 0, 0, withscores=True)
        needed += [(int(ms), 0) for _, ms in oldest]
    return "{}-{}".format(*min(needed)) if needed else None


async def nothing_left(redis: Redis, keys: Keys) -> bool:
    """Whether a shard that gets no more events has none, and nothing to deliver or to keep for anybody.

    Raises:
        redis.RedisError: the store is in trouble.
    """
    if await redis.xlen(keys.events):
        return False
    for name in await known_endpoints(redis, keys):
        lane = await lane_stats(redis, keys, name)
        if lane.depth or lane.dead_letters or await redis.exists(keys.replay(name)):
            return False
    return True


def _seconds(ms: bytes) -> float:
    return float(ms) / 1000 if ms else 0.0


def _after(entry_id: str) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition("-")
    return (int(ms) + 1, 0) if int(sequence) == 2**64 - 1 else (int(ms), int(sequence) + 1)
