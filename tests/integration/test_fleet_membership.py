"""The replicas on a real server: who lives, what falls to each, and what is given up for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs

from tests.unit.state.heard_clock import HeardClock
from watcher.errors import StoreUnavailable
from watcher.fleet.leadership import Quota
from watcher.fleet.membership import CALM, RETRY, Membership
from watcher.fleet.registry import Doing, Registry, forget_the_dead, read_replicas
from watcher.fleet.sharing import BEAT, LIFE, SETTLED
from watcher.fleet.sight import BLIND, FIRST
from watcher.fleet.slots import Shares
from watcher.metrics import Metrics
from watcher.state.keys import Keys

pytestmark = pytest.mark.every_server

SHARDS = 4
ALL = [Keys("t", number, SHARDS) for number in range(SHARDS)]
KEYS = ALL[0]
DOING = Doing("1.2.3")


async def age(redis: Redis, seconds: float) -> None:
    """Let the store believe that everybody joined so much earlier."""
    for name in await redis.zrange(KEYS.replicas, 0, -1):
        await redis.zincrby(KEYS.replicas, -seconds * 1000, name)  # type: ignore[arg-type] # as it came


class TestRegistry:
    async def test_each_hears_of_all_the_eldest_first(self, redis: Redis) -> None:
        one, other = Registry(redis, KEYS), Registry(redis, KEYS)
        alone = await one.beat(DOING)
        assert [member.replica for member in alone.members] == [one.replica]
        await age(redis, 10)
        both = await other.beat(Doing("1.2.3", able=False))
        assert [(member.replica, member.able) for member in both.members] == [
            (one.replica, True),
            (other.replica, False),
        ]
        assert both.me == other.replica
        assert both.now - both.members[0].joined >= 10 > both.now - both.members[1].joined

    async def test_who_says_nothing_for_a_term_is_forgotten(self, redis: Redis) -> None:
        one, other = Registry(redis, KEYS), Registry(redis, KEYS)
        await one.beat(DOING)
        ends = await redis.zscore(KEYS.replica_terms, one.replica)
        joined = await redis.zscore(KEYS.replicas, one.replica)
        assert ends is not None
        assert joined is not None
        assert ends - joined == LIFE * 1000
        await redis.zadd(KEYS.replica_terms, {one.replica: 1})
        assert await read_replicas(redis, KEYS) == ()
        assert [member.replica for member in (await other.beat(DOING)).members] == [other.replica]
        assert await redis.hkeys(KEYS.replica_doing) == [other.replica.encode()]

    async def test_who_leaves_is_forgotten_at_once(self, redis: Redis) -> None:
        one, other = Registry(redis, KEYS), Registry(redis, KEYS)
        await one.beat(DOING)
        await other.beat(DOING)
        await one.leave()
        assert [member.replica for member in (await other.beat(DOING)).members] == [other.replica]
        await other.leave()
        assert await redis.exists(KEYS.replicas, KEYS.replica_terms, KEYS.replica_doing) == 0

    async def test_the_dead_can_be_cleared_away(self, redis: Redis) -> None:
        await Registry(redis, KEYS).beat(DOING)
        for keys in ALL:
            await redis.set(keys.lease, "a dead one's")
        await forget_the_dead(redis, ALL)
        assert await redis.dbsize() == 0

    async def test_people_read_what_each_does_also_of_another_release(self, redis: Redis) -> None:
        one, other = Registry(redis, KEYS), Registry(redis, KEYS)
        doing = Doing("1.2.3", shards=(0, 2), sending=7, able=False)
        await one.beat(doing)
        await age(redis, 10)
        await other.beat(DOING)
        await redis.hset(KEYS.replica_doing, other.replica, "{}")
        first, second = await read_replicas(redis, KEYS)
        assert (first.name, first.doing, second.doing) == (one.replica.rpartition("/")[0], doing, None)
        joined = await redis.zscore(KEYS.replicas, other.replica)
        assert second.since * 1000 == joined
        assert second.since - first.since >= 10
        assert [member.able for member in (await one.beat(DOING)).members] == [True, True]

    async def test_a_store_that_is_away_is_said_to_be_away(self) -> None:
        nowhere = Redis.from_url("unix:///nowhere/at/all", retry=Retry(NoBackoff(), 0))
        registry = Registry(nowhere, KEYS)
        for asking in (
            registry.beat(DOING),
            registry.leave(),
            forget_the_dead(nowhere, ALL),
            read_replicas(nowhere, KEYS),
        ):
            with pytest.raises(StoreUnavailable):
                await asking
        await nowhere.aclose()

    @pytest.mark.parametrize("arguments", [["", 1, "{}"], ["a", 0, "{}"], ["a", "soon", "{}"], ["a", 1]])
    async def test_wrong_arguments_change_nothing(self, redis: Redis, arguments: list[str | int]) -> None:
        registry = Registry(redis, KEYS)
        with pytest.raises(Exception, match="beat"):
            await registry._beat(keys=registry._keys, args=arguments)
        assert await redis.exists(KEYS.replicas, KEYS.replica_terms, KEYS.replica_doing) == 0


@dataclass
class Post:
    """A shard's leadership that takes and gives up as it is told."""

    shard: int
    held: bool = False
    given_up: int = 0

    def give_up(self) -> None:
        self.given_up += 1
        self.held = False


class Replica:
    """One process's membership, with posts of which it holds the first ``held``."""

    def __init__(self, redis: Redis, held: int = 0) -> None:
        self.clock = HeardClock()
        self.metrics = Metrics()
        self.quota = Quota()
        self.shares = Shares()
        self.blind = False
        self.posts = [Post(number, number < held) for number in range(SHARDS)]
        self.registry = Registry(redis, KEYS)
        self.membership = Membership(
            self.registry,
            self.posts,
            self.quota,
            self.shares,
            lambda: self.blind,
            self.clock,
            self.metrics,
        )

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Run from its first word on."""
        task = asyncio.create_task(self.membership.run())
        assert await self.clock.waits.get() == BEAT
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def renew(self) -> None:
        """Let a renewal pass."""
        await self.clock.advance(BEAT)
        assert await self.clock.waits.get() == BEAT

    @property
    def held(self) -> list[int]:
        return [post.shard for post in self.posts if post.held]


class TestMembership:
    async def test_one_alone_is_to_have_everything_from_its_first_word_on(self, redis: Redis) -> None:
        replica = Replica(redis)
        async with replica.living():
            assert (replica.quota.limit, replica.quota.known.is_set()) == (SHARDS, True)
            with capture_logs() as logs:
                await replica.renew()
            assert logs == [], "nothing has changed"
            assert replica.shares.of("erp", 8).size == 8
            assert replica.metrics.registry.get_sample_value("watcher_replicas") == 1
        await replica.membership.leave()
        assert await read_replicas(redis, KEYS) == ()

    async def test_why_the_store_does_not_hear_of_it_is_known_until_it_does(self, redis: Redis) -> None:
        replica = Replica(redis)
        async with replica.living():
            assert replica.membership.trouble is None
            await redis.config_set("maxmemory", "1")
            try:
                await replica.clock.advance(BEAT)
                assert await replica.clock.waits.get() == RETRY
                assert "maxmemory" in str(replica.membership.trouble)
            finally:
                await redis.config_set("maxmemory", "0")
            await replica.clock.advance(RETRY)
            assert await replica.clock.waits.get() == BEAT
            assert replica.membership.trouble is None

    async def test_a_newcomer_gets_its_part_once_all_know_of_it(self, redis: Redis) -> None:
        one, other = Replica(redis, held=4), Replica(redis)
        async with AsyncExitStack() as both:
            await both.enter_async_context(one.living())
            await age(redis, 1)  # of two that join within one millisecond either may come first
            await both.enter_async_context(other.living())
            await one.renew()
            assert (one.quota.limit, one.held) == (4, [0, 1, 2, 3])
            assert (one.shares.of("erp", 8).size, other.shares.of("erp", 8).size) == (4, 0)
            await age(redis, SETTLED)
            await one.renew()
            await other.renew()
            assert (one.quota.limit, other.quota.limit) == (2, 2)
            assert one.held == [0, 1]
            assert (one.shares.of("erp", 8).size, other.shares.of("erp", 8).size) == (4, 4)
            assert one.metrics.registry.get_sample_value("watcher_replicas") == 2
            (first, _) = await read_replicas(redis, KEYS)
            assert first.doing is not None
            assert first.doing.shards == (0, 1, 2, 3)  # as it said before it heard the answer
            await other.membership.leave()
            await one.renew()
            assert one.quota.limit == SHARDS

    async def test_what_was_given_up_and_not_taken_is_not_given_up_all_the_time(self, redis: Redis) -> None:
        idle = Registry(redis, KEYS)
        await idle.beat(DOING)  # lives, and takes nothing
        await redis.zadd(KEYS.replica_terms, {idle.replica: 1e15})
        await age(redis, SETTLED)
        replica = Replica(redis, held=4)
        async with replica.living():
            assert replica.held == [0, 1]
            replica.quota.exceeded_at = replica.clock.monotonic()
            for post in replica.posts:
                post.held = True
            for _ in range(round(CALM / BEAT) - 1):
                await replica.renew()
                assert replica.held == [0, 1, 2, 3]
            await replica.renew()
            assert replica.held == [0, 1]
            await replica.renew()
            assert replica.quota.exceeded_at < 0  # forgiven, so that the next give-up is prompt

    async def test_who_does_not_reach_the_api_leaves_the_polling_to_who_may(self, redis: Redis) -> None:
        one, other = Replica(redis, held=2), Replica(redis)
        async with one.living(), other.living():
            await age(redis, SETTLED)
            await one.renew()
            assert one.held == [0, 1]
            one.blind = True
            for _ in range(round(BLIND / BEAT)):
                await one.renew()
                assert one.held == [0, 1]
            await one.renew()
            await other.renew()
            assert (one.quota.limit, one.held, other.quota.limit) == (0, [], 4)
            one.blind = False
            for _ in range(round(FIRST / BEAT)):
                await one.renew()
            assert one.quota.limit == 2

    async def test_a_store_that_is_away_is_said_once_and_asked_again_soon(self) -> None:
        nowhere = Redis.from_url("unix:///nowhere/at/all", retry=Retry(NoBackoff(), 0))
        replica = Replica(nowhere)
        with capture_logs() as logs:
            task = asyncio.create_task(replica.membership.run())
            for _ in range(3):
                await replica.clock.wait_out(RETRY)
            task.cancel()
            await asyncio.wait([task])
            await replica.membership.leave()
        assert [line["event"] for line in logs] == ["fleet.unknown", "fleet.left_to_lapse"]
        assert (replica.quota.known.is_set(), replica.shares.of("erp", 8).size) == (False, 0)
        await nowhere.aclose()
