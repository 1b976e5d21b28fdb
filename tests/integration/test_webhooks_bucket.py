"""The token bucket on a real server: one for all shards and replicas."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from watcher.state.keys import Keys
from watcher.webhooks.bucket import Bucket, Taken

NOW = 1_800_000_000.0
pytestmark = pytest.mark.every_server

SHARDS = [Keys("t", number, 2) for number in range(2)]


async def test_what_one_shard_takes_another_does_not_get(redis: Redis) -> None:
    one, other = (Bucket(redis, keys, "erp") for keys in SHARDS)
    assert await one.take(1, rate=30, now=NOW) == Taken(1, None)
    assert await other.take(5, rate=30, now=NOW) == Taken(2, None)
    empty = await one.take(5, rate=30, now=NOW)
    assert empty.tokens == 0
    assert empty.next_at == pytest.approx(NOW + 1 / 30, abs=0.001)
    assert await other.take(5, rate=30, now=empty.next_at or 0) == Taken(1, None)
    assert await Bucket(redis, SHARDS[0], "crm").take(5, rate=30, now=NOW) == Taken(3, None)


async def test_a_slow_rate_allows_one_at_a_time(redis: Redis) -> None:
    bucket = Bucket(redis, SHARDS[0], "erp")
    assert await bucket.take(5, rate=0.1, now=NOW) == Taken(1, None)
    assert await bucket.take(5, rate=0.1, now=NOW + 9) == Taken(0, NOW + 10)
    assert await bucket.take(5, rate=0.1, now=NOW + 10) == Taken(1, None)


async def test_what_was_not_used_is_there_again_and_no_more_than_the_bucket_holds(redis: Redis) -> None:
    bucket = Bucket(redis, SHARDS[0], "erp")
    assert await bucket.take(9, rate=50, now=NOW) == Taken(5, None)
    await bucket.put_back(2, rate=50, now=NOW)
    assert await bucket.take(9, rate=50, now=NOW) == Taken(2, None)
    await bucket.put_back(100, rate=50, now=NOW)
    assert await bucket.take(9, rate=50, now=NOW) == Taken(5, None)


async def test_a_clock_that_is_behind_takes_nothing_from_the_others(redis: Redis) -> None:
    bucket = Bucket(redis, SHARDS[0], "erp")
    assert await bucket.take(2, rate=20, now=NOW) == Taken(2, None)
    assert (await bucket.take(2, rate=20, now=NOW - 60)).tokens == 0
    assert await bucket.take(2, rate=20, now=NOW + 0.05) == Taken(1, None)


async def test_a_clock_that_was_far_ahead_holds_nobody_up(redis: Redis) -> None:
    bucket = Bucket(redis, SHARDS[0], "erp")
    assert await bucket.take(9, rate=20, now=NOW + 600) == Taken(2, None)
    empty = await bucket.take(9, rate=20, now=NOW)
    assert empty.tokens == 0
    assert empty.next_at == pytest.approx(NOW + 0.05, abs=0.001)
    assert await bucket.take(9, rate=20, now=NOW + 0.05) == Taken(1, None)


@pytest.mark.parametrize("rate", [10_000, 1, 1 / 3600, 1 / 864_000, 1e-12])
async def test_it_is_kept_for_at_least_as_long_as_it_takes_to_fill(redis: Redis, rate: float) -> None:
    bucket = Bucket(redis, SHARDS[0], "erp")
    assert (await bucket.take(1, rate=rate, now=NOW)).tokens == 1
    kept: Any = await redis.pttl(bucket._key)
    assert min(1 / rate, 90 * 365 * 86_400) < kept / 1000 < 100 * 365 * 86_400


@pytest.mark.parametrize("arguments", [[], [1, 0, 1, 1], [1, 1, 0.5, 1], ["now", 1, 1, 1], [1, 1, 1]])
async def test_wrong_arguments_change_nothing(redis: Redis, arguments: list[float | str]) -> None:
    bucket = Bucket(redis, SHARDS[0], "erp")
    with pytest.raises(ResponseError, match="take"):
        await bucket._take(keys=[bucket._key], args=arguments)
    assert await redis.exists(bucket._key) == 0
