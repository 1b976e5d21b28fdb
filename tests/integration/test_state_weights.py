"""Shards share the budget by what their scopes weigh, whoever polls them."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from watcher.model import SECOND, EntityId, Scope, Weight
from watcher.polling.learned import Arrivals
from watcher.polling.pacer import LOAD, Pacer
from watcher.state.keys import Keys
from watcher.state.lease import TERM
from watcher.state.weights import Weights

pytestmark = pytest.mark.every_server

SHARDS = [Keys("t", number, 3) for number in range(3)]


async def test_each_shard_is_told_what_the_others_weigh(redis: Redis) -> None:
    first, second, third = (Weights(redis, keys) for keys in SHARDS)
    assert await first.exchange(Weight(1.5, 2)) == Weight()
    assert await second.exchange(Weight(2.0, 3)) == Weight(1.5, 2)
    assert await third.exchange(Weight(4.0, 0)) == Weight(3.5, 5)
    assert await first.exchange(Weight(1.0, 1)) == Weight(6.0, 3)
    assert await second.exchange(Weight(2.0, 3)) == Weight(5.0, 1)


async def test_the_weight_of_a_shard_that_nobody_polls_is_forgotten_with_its_lease(redis: Redis) -> None:
    await Weights(redis, SHARDS[0]).exchange(Weight(1.0, 1))
    assert 0 < await redis.pttl(SHARDS[0].weight) <= TERM * 1000


@pytest.mark.parametrize(
    "told", ["", "much", "1", "1 2 3", "nan 1", "inf 1", "-3 1", "1 -1", "1 x", b"\xff 1"]
)
async def test_what_is_no_weight_counts_for_nothing(redis: Redis, told: str | bytes) -> None:
    await redis.set(SHARDS[1].weight, told)
    assert await Weights(redis, SHARDS[0]).exchange(Weight(1.0, 1)) == Weight()


FOUR_A_SECOND = Arrivals().read(4 * 3600, 3600 * SECOND)


@pytest.mark.parametrize("interval", [0.5, 2.0, 60.0])
async def test_all_shards_together_plan_with_one_budget(redis: Redis, interval: float) -> None:
    pacers = [Pacer(10, interval) for _ in SHARDS]
    scopes = [Scope(EntityId(str(number))) for number in range(6)]
    for _ in range(2):
        for pacer, keys in zip(pacers, SHARDS, strict=True):
            for scope in scopes:
                pacer.pace(scope, FOUR_A_SECOND)
            pacer.elsewhere = await Weights(redis, keys).exchange(pacer.weight)
    paces = [pacer.pace(scope, FOUR_A_SECOND) for pacer in pacers for scope in scopes]
    assert sum(paces) == pytest.approx(10 * LOAD, rel=1e-3)
    assert min(paces) == pytest.approx(max(paces), rel=1e-3)
