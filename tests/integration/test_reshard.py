"""Changing the number of shards, on a real server: nothing is lost on the way, wherever it is broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.fakes import FakeClock
from tests.unit.webhooks.builders import SECRET, event, publish
from tests.unit.webhooks.receiver import answer, receiving
from tests.unit.webhooks.world import arrived, until
from watcher.app import App
from watcher.cli.common import open_store
from watcher.clock import SystemClock
from watcher.errors import StoreError
from watcher.fleet.leadership import Quota
from watcher.fleet.registry import Doing, Registry
from watcher.fleet.sharing import Fleet, Member
from watcher.fleet.slots import Shares
from watcher.metrics import Metrics
from watcher.model import EntityId, Micros, Scope, TaskId
from watcher.ops.checks import Finding, run_checks
from watcher.ops.reshard import Progress, reshard, survey
from watcher.polling.lifetimes import Histogram
from watcher.retired import Retired
from watcher.settings import Settings
from watcher.shard import Site
from watcher.state.backfill import Request, begun
from watcher.state.backfills import ask, call_off
from watcher.state.connection import connect
from watcher.state.coverage import Coverage, Interval
from watcher.state.keys import BUCKET_WIDTH, Keys, shard_of
from watcher.state.layout import Layout, shards_of
from watcher.state.lease import Lease, LeaseLostError, break_leases
from watcher.state.moving import BATCH, Mover, misplaced
from watcher.state.records import Known, Start
from watcher.state.scope import ScopeState
from watcher.state.spread import LOOK, Spread, change_layout, fitting, read_layout
from watcher.state.store import Change, Commit, Outcome, Store
from watcher.webhooks import control
from watcher.webhooks.letters import Choice, drop, letters

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
        return await self._execute(*args, **options)  # type: ignore[no-untyped-call] # the client's own


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


async def test_what_the_shards_know_in_common_comes_along(redis: Redis) -> None:
    await fill(redis, 2, SCOPES[:1], hours=1)
    one, two = shards_of(NAMESPACE, 2)
    much, little = Histogram().add([12.0] * 50), Histogram().add([3.0])
    for keys, learned in ((one, {"a": little, "b": much}), (two, {"a": much})):
        await redis.set(keys.lease, "n")
        await Store(redis, keys).save_lifetimes({name: each.encode() for name, each in learned.items()}, "n")
        await redis.delete(keys.lease)
    await redis.set(one.hinted, "900-0")
    await redis.set(two.hinted, "1000-0")
    for keys in (one, two):
        await redis.sadd(keys.endpoints, "shop", "crm")
    await control.pause(redis, two, "shop", 5.0)
    # What an earlier layout had left under a tag that is of use again must not come back.
    stale = Keys(NAMESPACE, 2, 3)
    await redis.hset(stale.format, "version", "0")
    await redis.sadd(stale.endpoints, "crm")
    await control.pause(redis, stale, "crm", 1.0)
    await redis.hset(stale.lifetimes, "c", much.encode())
    await change(redis, 3)
    assert await Store(redis, stale).load_lifetimes() == {"a": much.encode(), "b": much.encode()}
    assert [await redis.get(keys.hinted) for keys in shards_of(NAMESPACE, 3)] == [b"900-0"] * 3
    assert await redis.hgetall(stale.lane("shop")) == {b"paused": b"by hand", b"paused_at": b"5000"}
    assert not await redis.exists(stale.lane("crm"), stale.format)


async def test_it_waits_for_everybody_else_to_end(redis: Redis) -> None:
    clock = SystemClock()
    await fill(redis, 2, SCOPES[:3], hours=1)
    before = await state_of(redis, 2, SCOPES[:3])
    keys = shards_of(NAMESPACE, 2)
    registry, lease = Registry(redis, keys[0]), Lease(redis, Keys(NAMESPACE), clock)
    job = begun(Request(0, 5, ("-",), 1.0), 5)

    await registry.beat(Doing("1"))
    with pytest.raises(StoreError, match=f"still runs: {registry.replica.rpartition('/')[0]}; stop it first"):
        await change(redis, 1)
    await registry.leave()
    assert await lease.acquire()
    with pytest.raises(StoreError, match=r"holds \{m\}:lease"):
        await change(redis, 1)
    await lease.release()
    await ask(redis, keys[1], job)
    with pytest.raises(StoreError, match="a backfill is under way in shard 1"):
        await change(redis, 1)
    await call_off(redis, keys[1])
    assert [await redis.exists(each.lease) for each in keys] == [0, 0]
    assert await fitting(redis, NAMESPACE, 2) == Layout(NAMESPACE, 2)
    assert await state_of(redis, 2, SCOPES[:3]) == before
    await change(redis, 1)


@pytest.mark.parametrize("whose", [0, -1], ids=["a source's", "a target's"])
async def test_who_has_lost_a_lease_moves_nothing_more(redis: Redis, whose: int) -> None:
    await fill(redis, 1, SCOPES[:5], hours=1)
    found = await survey(redis, NAMESPACE, 3)
    assert found is not None
    taken: list[Any] = []
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def steal(_: Progress) -> None:
        if not told.is_set():
            told.set()
            taken.append(loop.create_task(stolen()))

    async def stolen() -> list[bytes]:
        for keys in found.layout.all if whose else found.layout.active:
            await redis.set(keys.lease, "another")
        names: Any = await redis.keys("*:scope:*")
        return sorted(names)

    with pytest.raises(StoreError, match="do it again"):
        await reshard(redis, SystemClock(), found, steal)
    left = await taken[0]
    names: Any = await redis.keys("*:scope:*")
    assert abs(len(names) - len(left)) <= 1  # a copy that was on its way, whose source stayed
    assert (await redis.scard(Keys(NAMESPACE).scopes)) >= 3
    await break_leases(redis, found.layout.all)
    await change(redis, 3)
    assert set(await state_of(redis, 3, SCOPES[:5])) == set(SCOPES[:5])


async def test_nothing_leaves_its_place_before_the_stores_replicas_have_it(redis: Redis) -> None:
    """Of which there are none here."""
    await fill(redis, 1, SCOPES[:2], hours=1)
    before = await state_of(redis, 1, SCOPES[:2])
    found = await survey(redis, NAMESPACE, 2)
    assert found is not None
    changing = asyncio.create_task(reshard(redis, SystemClock(), found, lambda _: None, wait_replicas=1))

    async def noted() -> bool:
        return await read_layout(redis, NAMESPACE) == found.layout

    await until(noted)
    changing.cancel()
    await asyncio.wait([changing])
    assert await state_of(redis, 1, SCOPES[:2]) == before
    assert [await redis.exists(keys.lease) for keys in found.layout.all] == [0, 0, 0]

    for keys in found.layout.all:
        await redis.set(keys.lease, "n")
    move = (await misplaced(redis, found.layout))[0][0]
    mover = Mover(redis, {keys.tag: "n" for keys in found.layout.all}, wait_replicas=1)
    moving = asyncio.create_task(mover.move(move))

    async def arrived_there() -> bool:
        return move.scope in await Store(redis, move.target).scopes()

    await until(arrived_there)
    moving.cancel()
    await asyncio.wait([moving])
    assert await Store(redis, move.source).load(move.scope) == await Store(redis, move.target).load(
        move.scope
    )
    assert move.scope in await Store(redis, move.source).scopes()
    await break_leases(redis, found.layout.all)
    await change(redis, 2)
    assert await state_of(redis, 2, SCOPES[:2]) == before


async def test_where_nothing_is_stored_nothing_is_moved(redis: Redis) -> None:
    with pytest.raises(StoreError, match="set WATCHER_REDIS__SHARDS=3 and start the daemon"):
        await survey(redis, NAMESPACE, 3)
    assert await redis.keys() == []
    await redis.hset(Keys(NAMESPACE).layout, "shards", "many")
    with pytest.raises(StoreError, match="set another WATCHER_REDIS__NAMESPACE"):
        await survey(redis, NAMESPACE, 3)


# --- the daemon --------------------------------------------------------------------------------------------


async def test_the_first_daemon_says_how_many_shards_there_are(redis: Redis) -> None:
    spreads = [Spread(redis, NAMESPACE, shards, FakeClock()) for shards in (2, 2, 2)]
    assert set(await asyncio.gather(*(each.look() for each in spreads))) == {Layout(NAMESPACE, 2)}
    with pytest.raises(StoreError, match="over 2 shards and WATCHER_REDIS__SHARDS says 1"):
        await Spread(redis, NAMESPACE, 1, FakeClock()).look()
    await spreads[0].confirm()


async def test_a_daemon_ends_when_somebody_changes_it_and_holds_no_lease_till_then(redis: Redis) -> None:
    clock = FakeClock()
    spread = Spread(redis, NAMESPACE, 2, clock)
    before = await spread.look()
    watching = asyncio.create_task(spread.guard())
    assert await change_layout(redis, before, before.begun(3))
    with pytest.raises(LeaseLostError):
        await spread.confirm()
    while not watching.done():
        await asyncio.sleep(0.001)
        await clock.advance(LOOK)
    with pytest.raises(StoreError, match="from 2 to 3 shards was broken off or is under way"):
        await watching


def settings_for(redis_url: str, shards: int, *webhooks: dict[str, object]) -> Settings:
    return Settings.model_validate(
        {
            "monite": {"base_url": "http://127.0.0.1:9/v1", "token": "x"},
            "redis": {"url": redis_url, "shards": shards, "namespace": NAMESPACE},
            "http": {"port": 0},
            "webhooks": webhooks,
        }
    )


async def test_with_another_number_of_shards_nothing_is_touched(redis: Redis, redis_url: str) -> None:
    await fill(redis, 2, SCOPES[:2], hours=1)
    before = sorted(await redis.keys())
    settings = settings_for(redis_url, 3)
    with pytest.raises(StoreError, match="over 2 shards and WATCHER_REDIS__SHARDS says 3"):
        await asyncio.wait_for(App(settings).run(asyncio.Event()), 20)
    assert sorted(await redis.keys()) == before
    with pytest.raises(StoreError, match="watcher reshard --to 3"):
        async with open_store(settings):
            pass
    shown: list[Finding] = []
    await run_checks(settings, shown.append)
    assert [finding.good for finding in shown if finding.name == "store" and not finding.doubt] == [False]


async def test_a_retired_shard_is_emptied_and_forgotten(redis: Redis, redis_url: str) -> None:
    """Of two events one is delivered and one dies; while its letter is kept, so is the shard."""
    clock, whole = FakeClock(), Keys(NAMESPACE)
    await fill(redis, 1, SCOPES[:1], hours=1)
    await publish(redis, event(1), event(2), keys=whole)
    await change(redis, 2)
    async with receiving(answer(400), answer(204)) as receiver:
        hook = {
            "name": "one",
            "url": receiver.url,
            "secrets": [SECRET],
            "retry_schedule": [0],
            "concurrency": 1,
        }
        settings, shares, metrics = settings_for(redis_url, 2, hook), Shares(), Metrics()
        shares.adopt(Fleet("me", 100.0, (Member("me", 0.0),)))
        spread = Spread(redis, NAMESPACE, 2, clock)
        nobody: Any = None  # no poller, so nothing is asked
        site = Site(settings, redis, nobody, clock, metrics, nobody, Quota(), shares, spread)
        retired = Retired(spread, lambda keys: site.shard(keys, retired=True), clock)
        running = asyncio.create_task(retired.run())

        async def passes(condition: Callable[[], Awaitable[bool]]) -> None:
            while not await condition():
                await asyncio.sleep(0.001)
                await clock.advance(1)

        async def trimmed() -> bool:
            return not await redis.xlen(whole.events) and await redis.xlen(whole.dead("one")) == 1

        await passes(trimmed)
        assert sorted(arrived(receiver).values()) == [1, 1]
        for _ in range(3 * 60):
            await asyncio.sleep(0)
            await clock.advance(1)
        assert [keys.tag for keys in retired.keys] == ["{m}"]
        assert (await fitting(redis, NAMESPACE, 2)).retired == (whole,)
        [letter] = [each.id async for each in letters(redis, whole, "one", Choice())]
        assert await drop(redis, whole, "one", [letter]) == 1

        async def over() -> bool:
            return running.done()

        await passes(over)
        await running
    assert retired.keys == []
    assert await fitting(redis, NAMESPACE, 2) == Layout(NAMESPACE, 2)
