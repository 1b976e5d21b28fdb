"""What operators are told of shards that have nothing to scan, and of what is left in retired ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from redis.asyncio import Redis

from tests.fakes import FakeClock
from watcher.fleet.leadership import Leadership, Quota
from watcher.metrics import Metrics
from watcher.model import EntityId, Scope
from watcher.ops.observer import Observed, Observer
from watcher.polling.board import Board
from watcher.state.budget import SharedBudget
from watcher.state.connection import connect
from watcher.state.keys import Keys
from watcher.state.layout import shards_of
from watcher.state.lease import PATIENCE, Lease
from watcher.supervision import Supervisor
from watcher.webhooks.control import forget

SCOPE = Scope(EntityId("one"))


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with aclosing(connect(redis_url)) as redis:
        yield redis


class Stand:
    """An observer of two shards whose leases are held here."""

    def __init__(self, redis: Redis) -> None:
        self.clock, self.metrics, self.boards = FakeClock(), Metrics(), [Board(), Board()]
        self.keys = shards_of("t", 2)
        self.leases = [Lease(redis, keys, self.clock) for keys in self.keys]
        observed = [
            Observed(keys, Leadership(lease, Quota(), self.clock, self.metrics, keys.shard), board)
            for keys, lease, board in zip(self.keys, self.leases, self.boards, strict=True)
        ]
        self.observer = Observer(
            redis,
            observed,
            ["shop"],
            retired=lambda: [Keys("t")],
            refused=lambda: None,
            budget=SharedBudget(redis, self.keys[0], self.clock, limit=3, window_seconds=60),
            supervisor=Supervisor(self.clock),
            metrics=self.metrics,
            clock=self.clock,
            interval=5.0,
        )

    def gauge(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"watcher_{name}", labels)


async def test_a_shard_without_scopes_is_ready_once_that_is_known(redis: Redis) -> None:
    stand = Stand(redis)
    for lease in stand.leases:
        assert await lease.acquire()
    stand.clock.move(3)
    busy, empty = stand.boards
    busy.listed = True
    busy.report(SCOPE).completed_at = 1.0
    await stand.observer.refresh()
    assert await stand.observer.not_ready() == ["shard 1: no complete scan yet"]
    assert stand.gauge("last_complete_scan_timestamp_seconds") == 0
    empty.listed = True
    await stand.observer.refresh()
    assert await stand.observer.not_ready() == []
    assert stand.gauge("last_complete_scan_timestamp_seconds") == stand.clock.time() - 2
    busy.reports.clear()
    await stand.observer.refresh()
    assert stand.gauge("last_complete_scan_timestamp_seconds") == stand.clock.time()
    empty.trouble_discovering = "unauthorized"
    assert await stand.observer.not_ready() == ["shard 1: no complete scan yet (last trouble: unauthorized)"]


async def test_a_lease_of_its_own_that_has_yet_to_lapse_is_nobody_elses(redis: Redis) -> None:
    """As one is that could not be given up, since the store takes no writes."""
    stand = Stand(redis)
    for lease in stand.leases:
        assert await lease.acquire()
    stand.clock.move(PATIENCE)
    assert await stand.observer.not_ready() == [
        "shard 0: nobody holds the lease yet",
        "shard 1: nobody holds the lease yet",
    ]
    await redis.set(stand.keys[0].lease, "another's")
    assert await stand.observer.not_ready() == ["shard 1: nobody holds the lease yet"]


async def test_what_waits_in_a_retired_shard_counts(redis: Redis) -> None:
    stand = Stand(redis)
    for number, keys in enumerate([*stand.keys, Keys("t")]):
        await redis.zadd(keys.waiting("shop"), {f"{number + 1}-0": 1})
    await stand.observer.refresh()
    assert stand.gauge("delivery_queue_depth", endpoint="shop") == 3


async def test_the_gauges_of_an_endpoint_go_with_it(redis: Redis) -> None:
    names = (
        "delivery_queue_depth",
        "delivery_oldest_undelivered_seconds",
        "dead_letters",
        "endpoint_paused",
    )
    stand = Stand(redis)
    for keys in stand.keys:
        await redis.sadd(keys.endpoints, "old")
    for _ in range(2):
        await stand.observer.refresh()
        assert [stand.gauge(name, endpoint="old") for name in names] == [0] * 4
    for keys in stand.keys:
        await forget(redis, keys, "old")
    for _ in range(2):
        await stand.observer.refresh()
        assert [stand.gauge(name, endpoint="old") for name in names] == [None] * 4
        assert [stand.gauge(name, endpoint="shop") for name in names] == [0] * 4
