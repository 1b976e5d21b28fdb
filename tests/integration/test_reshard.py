"""Changing the number of shards, on a real server: nothing is lost on the way, wherever it is broken off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.fakes import FakeClock
from watcher.clock import SystemClock
from watcher.errors import StoreError
from watcher.model import EntityId, Micros, Scope, TaskId
from watcher.ops.reshard import Progress, reshard, survey
from watcher.state.connection import connect
from watcher.state.coverage import Coverage, Interval
from watcher.state.keys import BUCKET_WIDTH, shard_of
from watcher.state.layout import shards_of
from watcher.state.lease import break_leases
from watcher.state.moving import BATCH
from watcher.state.records import Known, Start
from watcher.state.scope import ScopeState
from watcher.state.spread import Spread, fitting, read_layout
from watcher.state.store import Change, Commit, Outcome, Store

pytestmark = pytest.mark.every_server

NAMESPACE = "m"
SCOPES = [Scope(), *(Scope(EntityId(f"entity-{number}")) for number in range(9))]
HOURS = BATCH + 3
"""More hours of records than are copied at once."""


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with aclosing(connect(redis_url)) as redis:
        yield redis


async def fill(redis: Redis, shards: int, scopes: Sequence[Scope] = SCOPES, hours: int = HOURS) -> None:
    """As a daemon would leave it that had so many shards."""
    keys = shards_of(NAMESPACE, shards)
    await Spread(redis, NAMESPACE, shards, FakeClock()).look()
    for number, scope in enumerate(scopes):
        store = Store(redis, keys[shard_of(scope, shards)])
        await redis.set(store.keys.lease, "n")
        await store.register(scope)
        start = Start(1, 2, 3 + number)
        state = ScopeState(
            start,
            Coverage().add(Interval(Micros(3), Micros(9 + number))),
            adopted=True,
            ladder={1: Micros(4)},
        )
        changes = [
            Change(
                TaskId(f"{scope.key}-{hour}"),
                Micros(hour * BUCKET_WIDTH),
                None,
                Known("success", 0, Micros(hour)),
            )
            for hour in range(hours)
        ]
        flight = {TaskId(f"{scope.key}-{hour}"): Micros(hour * BUCKET_WIDTH) for hour in range(0, hours, 2)}
        commit = Commit(scope, changes, flight, before=ScopeState(), after=state)
        assert await store.commit(commit, "n") is Outcome.APPLIED
        await redis.delete(store.keys.lease)


async def state_of(redis: Any, shards: int, scopes: Sequence[Scope] = SCOPES) -> dict[Scope, list[object]]:
    """Everything that is remembered of each scope, where it belongs; it is an error if it lies elsewhere too."""
    places = shards_of(NAMESPACE, shards)
    found = {}
    for scope in scopes:
        keys = places[shard_of(scope, shards)]
        assert scope in await Store(redis, keys).scopes()
        buckets = await redis.zrange(keys.buckets(scope), 0, -1, withscores=True)
        records = [await redis.hgetall(keys.tasks(scope, int(bucket))) for bucket, _ in buckets]
        assert all(records)
        flight = await redis.zrange(keys.in_flight(scope), 0, -1, withscores=True)
        found[scope] = [await redis.hgetall(keys.scope(scope)), flight, buckets, records]
        names = {name.decode() for name in await redis.keys(f"*:{scope.key}*")}
        ours = {keys.scope(scope), keys.in_flight(scope), keys.buckets(scope)}
        assert names == ours | {keys.tasks(scope, int(bucket)) for bucket, _ in buckets}
    return found


async def change(redis: Redis, shards: int) -> Progress:
    found = await survey(redis, NAMESPACE, shards)
    assert found is not None
    told: list[Progress] = []
    done = await reshard(redis, SystemClock(), found, told.append)
    assert [each.moved for each in told] == list(range(1, done.moved + 1))
    return done


async def test_every_scope_is_what_it_was_after_any_number_of_changes(redis: Redis) -> None:
    await fill(redis, 1)
    before = await state_of(redis, 1)
    retired = []
    for shards in (4, 3, 1, 8, 4):
        done = await change(redis, shards)
        assert await state_of(redis, shards) == before
        assert done.keys >= done.moved * (HOURS + 3)
        layout = await fitting(redis, NAMESPACE, shards)
        retired.append([keys.tag for keys in layout.retired])
        assert [await redis.exists(keys.lease) for keys in layout.all] == [0] * len(layout.all)
    assert retired == [
        ["{m}"],
        ["{m}", "{m:3}"],
        ["{m:3}", "{m:0}", "{m:1}", "{m:2}"],
        ["{m}"],
        ["{m}", "{m:4}", "{m:5}", "{m:6}", "{m:7}"],
    ]
    assert await survey(redis, NAMESPACE, 4) is None


class Dying:
    """A client whose process is killed after so many of the commands that go out."""

    def __init__(self, redis: Redis, lives: int) -> None:
        self.lives = lives
        self.dead = False
        self._execute = redis.execute_command
        redis.execute_command = self._counted  # type: ignore[method-assign]

    async def _counted(self, *args: Any, **options: Any) -> Any:
        if self.lives == 0:
            self.dead = True
        if self.dead:
            raise KilledError
        self.lives -= 1
        return await self._execute(*args, **options)


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("of", "to"), [(1, 3), (3, 2), (2, 1)])
async def test_broken_off_anywhere_it_is_ended_by_doing_it_again(
    redis: Redis, redis_url: str, of: int, to: int
) -> None:
    few, began, ended = SCOPES[:4], 0, False
    lives = 0
    while not ended:
        await redis.flushall()
        await fill(redis, of, few, hours=2)
        before = await state_of(redis, of, few)
        found = await survey(redis, NAMESPACE, to)
        assert found is not None
        async with aclosing(connect(redis_url)) as client:
            dying = Dying(client, lives)
            with suppress(KilledError):
                await reshard(client, SystemClock(), found, lambda _: None)
            ended = not dying.dead
        await break_leases(redis, found.layout.all)  # they have lapsed meanwhile
        layout = await read_layout(redis, NAMESPACE)
        assert layout is not None
        if layout.upcoming is not None:
            began += 1
            for setting in (of, to):
                with pytest.raises(StoreError, match=f"finish it with `watcher reshard --to {to}`"):
                    await fitting(redis, NAMESPACE, setting)
            with pytest.raises(StoreError, match="broken off"):
                await survey(redis, NAMESPACE, 7)
        if layout.shards == of:
            await change(redis, to)
        assert await state_of(redis, to, few) == before
        assert await fitting(redis, NAMESPACE, to) == found.layout.done()
        lives += 1
    assert began > 10
