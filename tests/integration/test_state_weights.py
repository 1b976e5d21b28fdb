"""Shards share the budget by what their scopes weigh, whoever polls them."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from watcher.model import EntityId, Scope
from watcher.polling.pacer import LOAD, Pacer
from watcher.state.keys import Keys
from watcher.state.lease import TERM
from watcher.state.weights import Weights

SHARDS = [Keys("t", number, 3) for number in range(3)]


async def test_each_shard_is_told_what_the_others_weigh(redis: Redis) -> None:
    first, second, third = (Weights(redis, keys) for keys in SHARDS)
    assert await first.exchange(1.5) == 0
    assert await second.exchange(2.0) == 1.5
    assert await third.exchange(4.0) == 3.5
    assert await first.exchange(1.0) == 6.0
    assert await second.exchange(2.0) == 5.0


async def test_the_weight_of_a_shard_that_nobody_polls_is_forgotten_with_its_lease(redis: Redis) -> None:
    await Weights(redis, SHARDS[0]).exchange(1.0)
    assert 0 < await redis.pttl(SHARDS[0].weight) <= TERM * 1000


@pytest.mark.parametrize("told", ["", "much", "nan", "inf", "-3", b"\xff"])
async def test_what_is_no_weight_counts_for_nothing(redis: Redis, told: str | bytes) -> None:
    await redis.set(SHARDS[1].weight, told)
    assert await Weights(redis, SHARDS[0]).exchange(1.0) == 0


async def test_all_shards_together_plan_with_one_budget(redis: Redis) -> None:
    pacers = [Pacer(10) for _ in SHARDS]
    scopes = [Scope(EntityId(str(number))) for number in range(6)]
    for _ in range(2):
        for pacer, keys in zip(pacers, SHARDS, strict=True):
            for scope in scopes:
                pacer.pace(scope, 4.0)
            pacer.elsewhere = await Weights(redis, keys).exchange(pacer.weight)
    paces = [pacer.pace(scope, 4.0) for pacer in pacers for scope in scopes]
    assert sum(paces) == pytest.approx(10 * LOAD)
    assert min(paces) == pytest.approx(max(paces))
